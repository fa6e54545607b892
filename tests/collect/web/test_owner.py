"""The owner's page: invitations, progress, deletion."""

from __future__ import annotations

import re
from html import unescape
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from ethosteer.collect.store import Store
from tests.collect.web.example import PRACTICE, new_store, pair
from tests.collect.web.visitors import Visitor


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path, [PRACTICE, *(pair(index) for index in range(4))])


@pytest.fixture
def owner(store: Store) -> Visitor:
    visitor = Visitor(store)
    visitor.get(f"/owner/open/{store.new_owner_token()}")
    assert visitor.path == "/owner"
    return visitor


def rows(html: str, heading: str) -> list[list[str]]:
    """The text of a table's cells, by the id of its heading."""
    body = html.partition(f'id="{heading}"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in body.split("</tr>")]
    return [
        [unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in cells if row
    ]


def test_invitations_are_made_shown_once_used_and_revoked(owner: Visitor):
    form = {**owner.fields("/owner/invite"), "count": "2", "note": " the <b>first</b> floor "}
    owner.post("/owner/invite", form, 200)
    links = re.findall(r'value="(http://127.0.0.1:8765/join/[\w-]{40,})"', owner.html)
    assert len(set(links)) == 2
    annotator = Visitor(owner.store)
    annotator.get(links[0])
    annotator.post("/join", {**annotator.fields("/join"), "name": "Robin"})
    owner.get("/owner")
    assert not any(link in owner.html for link in links)
    states = [(row[1], row[3]) for row in rows(owner.html, "invitations")]
    note = "the <b>first</b> floor"
    assert states == [(note, "used by Robin"), (note, "not used yet")]
    for invitation in ("1", "2"):
        owner.post("/owner/revoke", {**owner.fields("/owner/revoke"), "invitation": invitation})
    assert [row[3] for row in rows(owner.html, "invitations")] == ["revoked", "revoked"]
    annotator.get("/judge", 401)
    annotator.get(links[1], 404)


@pytest.mark.parametrize("count", ["0", "101", "-1", "many", "1.5", "٣", "9" * 400])
def test_a_number_of_invitations_that_cannot_be_is_refused(owner: Visitor, count: str):
    owner.post("/owner/invite", {**owner.fields("/owner/invite"), "count": count}, 400)
    assert owner.store.invitations() == []


@pytest.mark.parametrize("identifier", ["x", "", "-1", "9" * 30, "٣", "1 OR 1=1"])
def test_a_number_that_names_nothing_is_refused(owner: Visitor, identifier: str):
    token = owner.fields("/owner/leave")["token"]
    owner.post("/owner/revoke", {"token": token, "invitation": identifier}, 400)
    if identifier:
        owner.get(f"/owner/annotators/{identifier}/delete", 400)
    owner.post("/owner/annotators/7/delete", {"token": token, "judgements": "keep"}, 404)


def test_progress_is_counted_by_annotator(owner: Visitor):
    robin, _ = Visitor(owner.store).join("Robin"), Visitor(owner.store).join("Kim")
    robin.judge("0", seconds="9.0")  # practice
    for choice, seconds in (("1", "2.0"), ("flag", "3.0"), ("0", "10.0")):
        robin.judge(choice, seconds=seconds)
    owner.get("/owner")
    table = rows(owner.html, "annotators")
    assert [row[:4] for row in table] == [["Robin", "3", "1", "1"], ["Kim", "0", "0", "0"]]
    assert [row[8] for row in table] == ["3.0", "–"], "the median time"
    assert "<strong>3</strong> judgements" in owner.html
    assert "<strong>2 of 4</strong> pairs judged" in owner.html, "a mere flag is no judgement"
    assert "<strong>1</strong> flagged" in owner.html


@pytest.mark.parametrize(("judgements", "left"), [("keep", 1), ("remove", 0)])
def test_an_annotator_is_deleted_with_judgements_kept_or_removed(
    owner: Visitor, judgements: str, left: int
):
    robin = Visitor(owner.store).join("Robin")
    robin.judge("0")
    robin.judge("1")
    owner.get("/owner/annotators/1/delete")
    assert "Delete Robin?" in owner.html
    form = owner.fields("/owner/annotators/1/delete")
    owner.post("/owner/annotators/1/delete", form, 400)
    owner.post("/owner/annotators/1/delete", {**form, "judgements": "some"}, 400)
    assert len(owner.store.judgements()) == 2
    owner.post("/owner/annotators/1/delete", {**form, "judgements": judgements})
    assert "Robin" not in owner.get("/owner")
    assert len(owner.store.judgements()) == 2 * left
    robin.get("/judge", 401)


def test_the_owner_leaves(owner: Visitor):
    owner.post("/owner/leave", owner.fields("/owner/leave"))
    owner.get("/owner", 401)


def test_the_owners_forms_are_limited(owner: Visitor):
    token = owner.fields("/owner/leave")["token"]
    statuses = [
        owner.client.post("/owner/revoke", data={"token": token, "invitation": "1"}).status_code
        for _ in range(70)
    ]
    assert 429 in statuses and statuses[:60] == [303] * 60


def test_the_export_is_an_archive_without_names(owner: Visitor):
    assert "There is nothing to export" in owner.get("/owner/export.zip", 409)
    robin = Visitor(owner.store).join("Robin")
    for choice in ("0", "1", "2"):
        robin.judge(choice)
    response = owner.client.get("/owner/export.zip")
    assert response.headers["content-type"] == "application/zip"
    with ZipFile(BytesIO(response.content)) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {"export/preferences.jsonl", "export/judgements.jsonl"} <= texts.keys()
    assert len(texts["export/judgements.jsonl"].splitlines()) == 3
    assert not any("Robin" in text for text in texts.values())

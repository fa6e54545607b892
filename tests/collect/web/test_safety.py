"""Forged, replayed, oversized and hostile requests are refused or inert."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ethosteer.collect.records import Answer
from ethosteer.collect.store import Store
from ethosteer.collect.web.guard import HEADERS, LONGEST_BODY
from tests.collect.web.example import PLANTED, PRACTICE, REVERSED, SETTINGS, new_store, pair
from tests.collect.web.visitors import ORIGIN, Visitor


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path, [pair(index) for index in range(6)])


@pytest.fixture
def visitor(store: Store) -> Visitor:
    return Visitor(store).join()


def owner_of(store: Store) -> Visitor:
    visitor = Visitor(store)
    visitor.get(f"/owner/open/{store.new_owner_token()}")
    return visitor


PATHS = ["/", "/judge", "/guidelines", "/owner", "/join/" + "x" * 43, "/no", "/static/style.css"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers_of_safety(store: Store, path: str):
    visitor = Visitor(store)
    for response in (
        visitor.client.get(path),
        visitor.client.get(path, headers={"Host": "evil.example"}),
        visitor.client.delete(path),
    ):
        for name, value in HEADERS.items():
            if name != "Cache-Control" or not path.startswith("/static"):
                assert response.headers[name] == value
        assert "server" not in response.headers


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(visitor: Visitor):
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';") and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    visitor.get("/judge")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)|javascript:", visitor.html)
    assert not re.search(r'(?:src|href|action)="(?![/#])', visitor.html)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8765", "", "127.0.0.1@evil.example", "0.0.0.0"]
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(visitor: Visitor, host: str):
    response = visitor.client.get("/judge", headers={"Host": host})
    assert response.status_code == 421
    assert "Answer A" not in response.text


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "LOCALHOST"])
def test_names_of_this_machine_are_served(visitor: Visitor, host: str):
    assert visitor.client.get("/", headers={"Host": host}).status_code in {200, 303}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:8766"},
        {"Origin": "https://127.0.0.1:8765"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(visitor: Visitor, headers: dict[str, str]):
    visitor.get("/judge")
    form = {**visitor.fields("/judge"), "seconds": "1.0", "choice": "2"}
    assert visitor.client.post("/judge", data=form, headers=headers).status_code == 403
    del visitor.client.headers["Origin"]
    assert visitor.client.post("/judge", data=form).status_code == 403, "no Origin"
    assert visitor.store.judgements() == []
    visitor.post("/judge", form, 403)
    visitor.client.headers["Origin"] = ORIGIN
    visitor.post("/judge", form)
    assert len(visitor.store.judgements()) == 1


def test_behind_a_proxy_with_tls_its_address_is_the_origin_and_cookies_are_secure(store: Store):
    visitor = Visitor(store, "https://judge.example.org")
    response = visitor.client.get(f"/join/{store.invite()}")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-ethosteer-visitor-")
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"))
    visitor.html = response.text
    form = {**visitor.fields("/join"), "name": "Robin"}
    for origin in ("http://judge.example.org", "http://127.0.0.1:8765"):
        assert (
            visitor.client.post("/join", data=form, headers={"Origin": origin}).status_code == 403
        )
    visitor.post("/join", form)
    assert visitor.path == "/guidelines"


def test_a_form_needs_the_token_of_the_page_that_it_was_on(store: Store):
    robin, kim = Visitor(store).join(), Visitor(store).join("Kim")
    robin.get("/judge"), kim.get("/judge")
    form = {**robin.fields("/judge"), "seconds": "1.0", "choice": "2"}
    for token in ("", "0" * 64, "ä" * 64, kim.fields("/judge")["token"]):
        robin.post("/judge", {**form, "token": token}, 403)
    robin.post("/judge", {name: value for name, value in form.items() if name != "token"}, 403)
    assert store.judgements() == []
    for path in ("/undo", "/leave", "/join", "/owner/invite", "/owner/revoke", "/owner/leave",
                 "/owner/annotators/1/delete"):  # fmt: skip
        robin.post(path, {"token": "0" * 64}, 403)
    assert len(store.annotators()) == 2


def test_a_forged_session_is_nobody(visitor: Visitor):
    name = next(iter(visitor.client.cookies.keys()))
    for forged in ("x" * 43, "", "a" * 5000, "%00", "' OR 1=1 --"):
        stranger = Visitor(visitor.store)
        stranger.client.cookies.set(name, forged)
        for path in ("/judge", "/guidelines", "/pause", "/practice/pair0001"):
            assert "Answer A" not in stranger.get(path, 401)


def test_an_assignment_of_somebody_else_is_unknown(store: Store):
    robin, kim = Visitor(store).join(), Visitor(store).join("Kim")
    robin.get("/judge"), kim.get("/judge")
    theirs = robin.fields("/judge")["assignment"]
    form = {**kim.fields("/judge"), "seconds": "1.0", "choice": "2"}
    for assignment in (theirs, "x" * 22, "pair0001" * 2):
        kim.post("/judge", {**form, "assignment": assignment}, 404)
    for assignment in ("", "x" * 1000, "\x00" * 20, "../../etc/passwd", "1 OR 1=1"):
        kim.post("/judge", {**form, "assignment": assignment}, 400)
    assert store.judgements() == []
    robin.get("/judge")
    assert robin.fields("/judge")["assignment"] == theirs, "it is still theirs"


def test_a_replayed_form_counts_once(visitor: Visitor):
    visitor.get("/judge")
    form = {**visitor.fields("/judge"), "seconds": "1.0", "choice": "2"}
    visitor.post("/judge", form)
    for choice in ("2", "-2", "flag"):
        visitor.post("/judge", {**form, "choice": choice})
        assert "You had judged that pair already" in visitor.html
    (judgement,) = visitor.store.judgements()
    assert judgement.preference == (2 if judgement.first_is_left else -2)
    visitor.post("/judge", {**form, "again": "yes"})
    assert "already" not in visitor.html, "the page's own retries are no news"


@pytest.mark.parametrize(
    "changed",
    [
        {"choice": "3"}, {"choice": ""}, {"choice": "2.0"}, {"choice": "٢"}, {"seconds": "soon"},
        {"seconds": "nan"}, {"seconds": "inf"}, {"shown": "yesterday", "seconds": ""},
    ],
)  # fmt: skip
def test_a_form_with_values_that_no_page_has_is_refused(visitor: Visitor, changed: dict[str, str]):
    visitor.get("/judge")
    form = {**visitor.fields("/judge"), "seconds": "1.0", "choice": "2", **changed}
    visitor.post("/judge", form, 400)
    assert visitor.store.judgements() == []


def test_times_that_cannot_be_are_bounded(visitor: Visitor):
    for seconds in ("1e300", "86401"):
        visitor.judge(seconds=seconds)
    assert [judgement.seconds for judgement in visitor.store.judgements()] == [86400.0, 86400.0]


def test_an_oversized_form_is_refused_before_it_is_read(visitor: Visitor):
    visitor.get("/judge")
    form = {**visitor.fields("/judge"), "seconds": "1.0", "choice": "flag"}
    response = visitor.client.post("/judge", data={**form, "reason": "x" * LONGEST_BODY})
    assert response.status_code == 413

    def chunks() -> Iterator[bytes]:  # no Content-Length says how much comes
        for _ in range(1000):
            yield b"reason=" + b"x" * 1000 + b"&"

    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert visitor.client.post("/judge", content=chunks(), headers=kind).status_code == 413
    many = "&".join(f"f{index}=1" for index in range(1000))
    assert visitor.client.post("/judge", content=many, headers=kind).status_code == 400
    assert visitor.client.post("/judge", content=b"\xff", headers=kind).status_code == 400
    for other in ("multipart/form-data; boundary=x", "application/json", "text/plain", ""):
        headers = {"Content-Type": other}
        assert visitor.client.post("/judge", content=b"{}", headers=headers).status_code == 415
    assert visitor.store.judgements() == []


def test_a_reason_is_cut_and_freed_of_what_cannot_be_seen(visitor: Visitor):
    visitor.judge("flag", reason="x\x00y\x1b[31m" + REVERSED + "\r\nz" + "w" * 2000)
    (judgement,) = visitor.store.judgements()
    assert judgement.flagged and judgement.preference is None
    assert judgement.reason.startswith("xy[31mgnihton\nzw")
    assert len(judgement.reason) == 1000


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(visitor: Visitor, method: str):
    assert visitor.client.request(method, "/judge").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/store.py",
        "/static/....//app.py", "/static/style.css%00.js", "/static//etc/passwd",
        "/static/%2fetc%2fpasswd", "/static/templates/owner.html.j2", "/static/", "/static",
        "/..%2f..%2fetc%2fpasswd", "//etc/passwd", "/owner/..", "/owner/annotators/..%2f1/delete",
        "/practice/../owner", "/join/../owner", "/collection.sqlite", "/.git/config",
    ],
)  # fmt: skip
def test_a_path_leads_to_no_file_and_to_no_page_of_the_owner(store: Store, path: str):
    visitor = Visitor(store).join()
    response = visitor.client.get(path, follow_redirects=True)
    assert response.status_code in {400, 401, 404} or response.url.path in {"/judge", "/join/"}
    for word in ("import", "root:", "Annotators", "SQLite", "{%"):
        assert word not in response.text


def test_texts_of_pairs_settings_and_people_are_inert(tmp_path: Path):
    text = f"{PLANTED} {REVERSED} {{{{ 7 * 7919 }}}} \x00"
    planted = {
        "prompt": (("system", text), ("human", text), ("assistant", text), ("human", text)),
        "first": Answer(PLANTED, text),
        "second": Answer(PLANTED, text),
        "explanation": text,
    }
    settings = replace(SETTINGS, title=text, guidelines=text)
    pairs = [
        pair(1, kind="practice", expected=0, **planted),
        pair(2, **planted),
        pair(3, warning=text, **planted),
    ]
    store = new_store(tmp_path, pairs, settings)
    visitor = Visitor(store).join(PLANTED)
    seen = [visitor.html]
    seen += [visitor.judge("0")]
    seen += [visitor.get("/judge")]
    seen += [visitor.judge("flag", reason=PLANTED), visitor.get("/pause")]
    owner = owner_of(store)
    seen += [owner.get("/owner"), owner.get("/owner/annotators/1/delete")]
    owner.get("/owner")
    form = {**owner.fields("/owner/invite"), "count": "1", "note": PLANTED}
    seen += [owner.post("/owner/invite", form, 200)]
    assert any("Content warning" in html for html in seen)
    for html in seen:
        assert "<script>" not in html and "<img" not in html
        assert "55433" not in html
        assert "&lt;script&gt;" in html


def test_nobody_learns_where_an_answer_comes_from(tmp_path: Path):
    store = new_store(tmp_path, [PRACTICE, *(pair(index) for index in range(4))])
    visitor = Visitor(store).join()
    pages = [visitor.judge("0"), visitor.judge("1"), visitor.judge("-1"), visitor.get("/judge")]
    for html in pages:
        assert not re.search(r"\bvirtue\b|\bbase\b|group0|first|second_|gold|repeat", html)


def test_rates_are_limited(store: Store):
    visitor = Visitor(store)
    statuses = [visitor.client.get(f"/owner/open/{index:043}").status_code for index in range(31)]
    assert statuses == [401] * 30 + [429]
    wait = visitor.client.get(f"/owner/open/{0:043}").headers["retry-after"]
    assert 1 <= int(wait) <= 6


def test_an_invitation_is_not_used_without_end(store: Store):
    visitor, token, statuses = Visitor(store), store.invite(), []
    for _ in range(11):
        visitor.client.cookies.clear()
        visitor.get(f"/join/{token}")
        form = {**visitor.fields("/join"), "name": "Robin"}
        statuses.append(visitor.client.post("/join", data=form).status_code)
    assert statuses == [303] * 10 + [429]
    assert len(store.annotators()) == 1


def test_a_name_is_needed_and_is_cut(store: Store):
    visitor = Visitor(store)
    token = store.invite()
    visitor.get(f"/join/{token}")
    form = visitor.fields("/join")
    for name in ("", "  \n ", "\x00\u202e"):
        visitor.post("/join", {**form, "name": name}, 400)
        assert "Please enter a name" in visitor.html
    visitor.post("/join", {**form, "name": "  Kim\t\u202e \n of   the Hill " + "x" * 100})
    (annotator,) = store.annotators()
    assert annotator.name == ("Kim of the Hill " + "x" * 100)[:40]


def test_the_owners_page_needs_the_owners_link(store: Store):
    visitor = Visitor(store).join()
    for path in ("/owner", "/owner/annotators/1/delete"):
        assert "Robin" not in visitor.get(path, 401)
    visitor.get("/owner/open/" + "x" * 43, 401)
    old, new = store.new_owner_token(), store.new_owner_token()
    visitor.get(f"/owner/open/{old}", 401)
    assert "Robin" in visitor.get(f"/owner/open/{new}")
    assert visitor.path == "/owner"
    assert new not in visitor.html

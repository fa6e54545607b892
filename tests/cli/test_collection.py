"""``ethosteer collection``."""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ethosteer.collect.database import collection_url
from ethosteer.collect.records import CollectionSettings
from ethosteer.collect.store import Store
from tests.collect.small import PLAIN, assigned, join, judge_all, pool

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def collection(tmp_path: Path) -> tuple[Store, str]:
    """Return a collection that one annotator judged, and its folder's name."""
    folder = str(tmp_path / "mine")
    settings = CollectionSettings(title="Which\x1b[2J?", repeat_share=0, gold_share=0)
    store = Store.create(collection_url(folder), settings, pool(4))
    annotator = join(store, "An\x1b[31mn")
    judge_all(store, annotator)
    store.undo(annotator)
    store.judge(annotator, assigned(store, annotator).id, None, True, seconds=8)
    return store, folder


def test_links_are_printed_once_and_work(call: Call, collection: tuple[Store, str]) -> None:
    store, folder = collection
    address = "https://judge.example.org/"
    status, out, error = call(
        "collection", "invite", folder, "--count", "2", "--note", "x", "--address", address
    )
    assert (status, error) == (0, "")
    tokens = re.findall(r"^https://judge\.example\.org/join/(\S{43})$", out, re.MULTILINE)
    assert len(out.splitlines()) == len(set(tokens)) == 2
    for token in tokens:
        invitation = store.invitation(token)
        assert invitation is not None and invitation.note == "x"


def test_a_collection_is_exported_imported_and_shown(
    call: Call, collection: tuple[Store, str], tmp_path: Path
) -> None:
    store, folder = collection
    assert call("collection", "status", folder)[1].splitlines() == [
        r"Which\x1b[2J?",
        "pairs: 4, of which 4 have the 1 judgements asked; 0 gold, 0 practice",
        "judgements: 4 (4 random); 0 ties, 1 flagged, 1 undone",
        "annotators: 1",
        r"  1  An\x1b[31mn: 4 judgements, median 2.0 s",
        "invitations: 1, 0 not used yet, 0 revoked",
        "export: none",
    ]
    status, out, _ = call("collection", "export", folder)
    assert status == 0
    assert out == (
        f"{folder}/export: 3 preferences of 5 judgements (left out: flagged 1, undone 1)\n"
    )
    assert call("collection", "status", folder)[1].splitlines()[-1] == f"export: {folder}/export"
    copy = str(tmp_path / "copy")
    status, out, _ = call("collection", "import", copy, f"{folder}/export")
    assert (status, out) == (0, f"{copy}/collection.sqlite: 4 pairs, 4 judgements\n")
    names = json.loads((Path(folder) / "export" / "collection.json").read_text("utf-8"))
    assert [entry["name"] for entry in names["annotators"]] == [""]

    store.undo(1)
    store.judge(1, assigned(store, 1).id, 1, seconds=1)
    shown = call("collection", "status", folder)[1].splitlines()[-1]
    assert shown == f"export: {folder}/export, of 5 judgements where there are 6; repeat it"
    status, _, _ = call("collection", "export", folder, "--out", str(tmp_path / "e"), "--names")
    assert status == 0 and "An" in (tmp_path / "e" / "collection.json").read_text("utf-8")


@pytest.mark.parametrize("command", ["invite", "export", "status"])
def test_a_folder_without_a_collection_is_one_line(
    call: Call, tmp_path: Path, command: str
) -> None:
    status, out, error = call("collection", command, str(tmp_path / "none"))
    assert (status, out) == (2, "")
    assert error == f"error: {tmp_path}/none/collection.sqlite: no such collection\n"


def test_errors_of_input_are_one_line(
    call: Call, collection: tuple[Store, str], tmp_path: Path
) -> None:
    _, folder = collection
    for words, problem in (
        (("export", "postgresql://h/n"), "--out: is needed"),
        (("import", folder, str(tmp_path)), "is no export, since it has no collection.json"),
        (("status", "oracle://h/n"), "oracle is not supported"),
        (("status", "a\0b"), "has a NUL character"),
    ):
        status, out, error = call("collection", *words)
        assert (status, out) == (2, "") and problem in error and error.count("\n") == 1


def test_without_the_extra_one_line_names_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    real = builtins.__import__

    def without_sqlalchemy(name: str, *rest: Any) -> object:
        if name.partition(".")[0] == "sqlalchemy":
            raise ModuleNotFoundError("No module named 'sqlalchemy'", name=name)
        return real(name, *rest)

    for name in list(sys.modules):
        if name.startswith(("ethosteer.collect", "sqlalchemy")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_sqlalchemy)
    for words in (("status", str(tmp_path)), ("import", str(tmp_path), str(tmp_path))):
        status, _, error = call("collection", *words)
        assert status == 2
        assert error == (
            "error: collections need the package sqlalchemy: pip install 'ethosteer[collect]'\n"
        )


def test_a_plain_collection_has_no_judgements_to_export(call: Call, tmp_path: Path) -> None:
    folder = str(tmp_path / "new")
    Store.create(collection_url(folder), PLAIN, pool(1))
    status, _, error = call("collection", "export", folder)
    assert status == 2 and "has no judgements to export yet" in error

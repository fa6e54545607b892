from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ethosteer.collect.export import COLLECTION, PAIRS, export
from ethosteer.collect.pool import make_pair
from ethosteer.collect.records import Answer, CollectionSettings
from ethosteer.collect.restore import restore
from ethosteer.collect.store import Store
from ethosteer.data.formats.collected import JUDGEMENTS
from ethosteer.errors import InputError
from tests.collect.small import assigned, join, judge_all, pool

SETTINGS = CollectionSettings(title="t", guidelines="g", overlap=2, goal=None, repeat_share=0.3)


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Store, Path]:
    """Return a collection with all kinds of judgements, and the folder of its export."""
    practice = make_pair(
        [("human", "a"), ("assistant", "b"), ("human", "c")],
        Answer("a", "Human: I quote.\n\nAssistant: You do."),
        Answer("b", "Line\u2028separator, ü and NUL-free"),
        kind="practice",
        expected=-1,
        explanation="since",
        margins=[0.1, -2.5e-7],
        warning="violence",
    )
    store = Store.create(f"sqlite:///{tmp_path / 'a.sqlite'}", SETTINGS, [practice, *pool(9)])
    for name in ("Ann", "Ben"):
        annotator = join(store, name)
        judge_all(store, annotator)
        store.undo(annotator)
        store.judge(annotator, assigned(store, annotator).id, None, True, "r\n", seconds=1 / 3)
    store.delete_annotator(1, keep_judgements=True)
    folder = tmp_path / "export"
    export(store, folder, names=True)
    return store, folder


def test_an_export_becomes_the_same_collection_again(
    exported: tuple[Store, Path], tmp_path: Path, url: str
) -> None:
    store, folder = exported
    copy = restore(folder, url)
    assert copy.settings == store.settings and copy.pairs() == store.pairs()
    assert copy.judgements(withdrawn=True) == store.judgements(withdrawn=True)
    assert copy.annotators() == store.annotators()
    export(copy, tmp_path / "again", names=True)
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    # and it goes on: a new person gets a new number, and what is judged counts
    assert join(copy) == 3
    assert copy.assign(3) is None or copy.assign(3).pair.kind == "practice"  # type: ignore[union-attr]


def _change(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    first, *others = path.read_text("utf-8").split("\n")
    row = json.loads(first)
    change(row)
    path.write_text("\n".join([json.dumps(row), *others]), "utf-8")


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        (PAIRS, lambda row: row.update(response_a="other"), "'key' is not the key of these texts"),
        (PAIRS, lambda row: row.update(response_a=" "), "is no pair that can be judged"),
        (PAIRS, lambda row: row.update(responses=["x", "y", "z"]), "is no pair that can be judged"),
        (PAIRS, lambda row: row.pop("response_b"), "has neither responses nor response_b"),
        (JUDGEMENTS, lambda row: row.update(pair="0"), "the pair '0' is not in pairs.jsonl"),
        (JUDGEMENTS, lambda row: row.update(annotator=9), "annotator 9 is not in collection.json"),
        (JUDGEMENTS, lambda row: row.update(preference=3), "column 'preference': Input should be"),
        (JUDGEMENTS, lambda row: row.update(preference=None), "neither a preference nor a flag"),
        (JUDGEMENTS, lambda row: row.update(winner="b"), "'winner' contradicts the pair or the"),
        (JUDGEMENTS, lambda row: row.update(response_a="?"), "'response_a' contradicts the pair"),
        (JUDGEMENTS, lambda row: row.pop("seconds"), "column 'seconds': Field required"),
        (JUDGEMENTS, lambda row: row.pop("pair"), "column 'pair': Field required"),
        (JUDGEMENTS, lambda row: row.update(selection="x"), "column 'selection': Input should be"),
        (JUDGEMENTS, lambda row: row.update(judged="2026-01-01T00:00:00"), "has no time zone"),
        (JUDGEMENTS, lambda row: row.update(judged="yesterday"), "column 'judged': Input should"),
        (JUDGEMENTS, lambda row: row.update(seconds=-1), "'seconds' must be a number from 0 to"),
        (JUDGEMENTS, lambda row: row.update(seconds=1e999), "'seconds' must be a number from 0"),
        (JUDGEMENTS, lambda row: row.update(assignment="x" * 99), "'assignment' must have 1 to 32"),
    ],
)
def test_a_changed_row_is_named_and_nothing_is_written(
    exported: tuple[Store, Path], tmp_path: Path, name: str, change: Any, problem: str
) -> None:
    _, folder = exported
    _change(folder / name, change)
    target = tmp_path / "new" / "collection.sqlite"
    with pytest.raises(InputError) as caught:
        restore(folder, f"sqlite:///{target}")
    assert str(caught.value).startswith(f"{folder / name}:1: ")
    assert problem in str(caught.value)
    assert not target.exists()


@pytest.mark.parametrize("name", [COLLECTION, PAIRS, JUDGEMENTS])
@pytest.mark.parametrize("damage", ["missing", "cut", "twice", "noise"])
def test_a_damaged_file_is_one_line(
    exported: tuple[Store, Path], tmp_path: Path, name: str, damage: str
) -> None:
    _, folder = exported
    path = folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        changed = {"cut": content[:-9], "twice": content * 2, "noise": b"\xff\xfe\0" + content}
        path.write_bytes(changed[damage])
    with pytest.raises(InputError, match=r"^[^\n]+$") as caught:
        restore(folder, f"sqlite:///{tmp_path / 'new.sqlite'}")
    assert name in str(caught.value)
    assert not (tmp_path / "new.sqlite").exists()


def test_an_export_of_a_newer_version_is_refused(
    exported: tuple[Store, Path], tmp_path: Path
) -> None:
    _, folder = exported
    text = (folder / COLLECTION).read_text("utf-8")
    (folder / COLLECTION).write_text(text.replace('"version": 1', '"version": 2'), "utf-8")
    with pytest.raises(InputError, match="written by a newer version of ethosteer"):
        restore(folder, f"sqlite:///{tmp_path / 'new.sqlite'}")


def test_a_collection_is_not_overwritten(exported: tuple[Store, Path], tmp_path: Path) -> None:
    store, folder = exported
    before = store.judgements()
    with pytest.raises(InputError, match="has a collection already"):
        restore(folder, f"sqlite:///{tmp_path / 'a.sqlite'}")
    assert store.judgements() == before

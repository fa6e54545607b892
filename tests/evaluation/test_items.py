"""Items come back from disk as they were, and an example shows what a model reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from ethosteer.evaluation.comparable import comparability_of
from ethosteer.evaluation.items import ITEMS, example_of, read_items, write_items
from ethosteer.records import Item

ONE = Item("a-1", ("Is it so?", "Is it so?"), (" No", " Yes"), 1, "scene", ("age", "race"))
TWO = Item("a-2", ("The «cat» sat", "The dog sät"), (" up.", " up."), None, "other")
OPEN = Item("b-1", ("Tell me\n\nall:",), (), 0, "b-1", ("x",))
GRADED = replace(OPEN, id="b-2", label=1, expected=("42.0", "forty-two"))


# --- on disk


def test_items_come_back_from_parquet_as_they_were(tmp_path: Path):
    path = tmp_path / ITEMS
    write_items(path, {"a": [ONE, TWO], "b": [OPEN, GRADED]})
    found = read_items(path)
    assert found == {"a": [ONE, TWO], "b": [OPEN, GRADED]}
    assert list(found) == ["a", "b"]
    assert [each.name for each in tmp_path.iterdir()] == [ITEMS], "nothing half-written stays"
    hashes = [comparability_of(items, "", "", "") for items in (found["a"], [ONE, TWO])]
    assert hashes[0] == hashes[1]


def test_what_may_be_shortened_is_not_kept(tmp_path: Path):
    write_items(tmp_path / ITEMS, {"a": [replace(OPEN, trim=(2, 5))]})
    assert read_items(tmp_path / ITEMS) == {"a": [OPEN]}


def test_items_that_were_stored_without_expected_answers_are_read(tmp_path: Path):
    path = tmp_path / ITEMS
    write_items(path, {"b": [GRADED]})
    pq.write_table(pq.read_table(path).drop_columns(["expected"]), path)
    assert read_items(path) == {"b": [replace(GRADED, expected=())]}


# --- an example


def test_an_example_is_what_a_model_reads():
    assert example_of(OPEN) == "Tell me\n\nall:"
    assert example_of(ONE) == "Is it so? → « No» | « Yes»"
    assert example_of(TWO) == "The «cat» sat« up.»\nThe dog sät« up.»"

"""Curation counts what it drops, keeps scenarios in one split, and comes back from disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ethosteer.data.pair_sets import (
    Dataset,
    Dropped,
    curate,
    read_set,
    split_pairs,
    write_set,
)
from ethosteer.data.readers import Row, read_jsonl
from ethosteer.data.sources import Origin, Source
from ethosteer.data.splits import split_of
from ethosteer.errors import InputError
from ethosteer.records import SPLITS, PreferencePair, PreferenceSet
from ethosteer.settings import ArmSettings, DataSettings
from tests.data.words import TEMPLATE

SOURCE = Source("rows.jsonl", "https://example.org", "MIT")


def pairs_of(rows: Iterable[Row], limit: int) -> Iterator[PreferencePair | Dropped]:
    for row in rows:
        prompt, chosen, rejected = (row.text(key) for key in ("p", "c", "r"))
        if not chosen:
            yield Dropped(row.line, "empty")
        else:
            yield PreferencePair(f"x-{row.line}", prompt, chosen, rejected, prompt, row.line)


DATASET = Dataset("x", "X", SOURCE, lambda path: read_jsonl(path, "pcr"), pairs_of, "")


def published(folder: Path, rows: Iterable[tuple[str, str, str]]) -> Origin:
    lines = [f'{{"p": "{p}", "c": "{c}", "r": "{r}"}}' for p, c, r in rows]
    (folder / SOURCE.path).write_text("\n".join(lines), "utf-8")
    return Origin("folder", folder)


def curated(origin: Origin, max_pairs: int | None = None) -> PreferenceSet:
    arm = ArmSettings(max_pairs=max_pairs)
    return curate(DATASET, arm, DataSettings(max_tokens=16), origin, TEMPLATE)


ROWS = [(f"scenario number {n}", "good answer", "a bad answer") for n in range(200)]


def test_what_is_dropped_is_counted_by_reason_and_the_rest_is_kept(tmp_path):
    long = "word " * 11
    extra = [("s", "", "b"), ROWS[3], ROWS[3], ("three words here", f"{long}w", "x")]
    whole = curated(published(tmp_path, [*ROWS, *extra, ("a b c d", long.strip(), "x")]))
    # 3 + 12 tokens fit in 16, and so do 4 + 11; the repeated rows are duplicates
    assert len(whole.pairs) == 202
    assert whole.card.dropped == {"duplicate": 2, "empty": 1}
    assert (whole.card.rows, whole.card.duplicates) == (205, 2)
    assert sum(whole.card.pairs.values()) == 202
    assert [len(whole.split(name)) for name in SPLITS] == list(whole.card.pairs.values())
    longer = curated(published(tmp_path, [*ROWS, ("a b c d e", f"{long}w", "x")]))
    assert longer.card.dropped == {"too long": 1}


def test_lengths_of_the_card_are_of_the_prompt_and_of_the_longer_response(tmp_path):
    card = curated(published(tmp_path, ROWS)).card
    assert (card.mean_prompt_tokens, card.mean_response_tokens) == (3, 3)


def test_every_pair_is_in_its_groups_split_and_in_the_files_order(tmp_path):
    whole = curated(published(tmp_path, ROWS))
    for name in SPLITS:
        pairs = whole.split(name)
        assert {split_of(pair.group) for pair in pairs} == {name}
        assert [pair.row for pair in pairs] == sorted(pair.row for pair in pairs)


def test_a_smaller_set_is_part_of_a_larger_one():
    pairs = [PreferencePair(str(n), "p", "c", "r", f"group {n // 2}", n) for n in range(400)]
    small, large = split_pairs(pairs, 8), split_pairs(pairs, 12)
    for name in SPLITS:
        assert (len(small[name]), len(large[name])) == (8, 12)
        assert set(small[name]) < set(large[name]) < set(split_pairs(pairs, None)[name])


def test_what_max_pairs_leaves_out_is_counted(tmp_path):
    card = curated(published(tmp_path, ROWS), 8).card
    assert card.pairs == {"train": 8, "validation": 8, "test": 8}
    assert card.dropped == {"over max_pairs": 200 - 24}


def test_content_hashes_change_with_the_pairs_alone(tmp_path):
    first = curated(published(tmp_path, ROWS)).card.content_hash
    assert curated(published(tmp_path, [*ROWS, ("s", "", "b")])).card.content_hash == first
    assert curated(published(tmp_path, ROWS[1:])).card.content_hash != first


def test_a_split_without_pairs_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"dataset x: curation leaves no \w+ pairs"):
        curated(published(tmp_path, ROWS[:1]))


def test_a_set_comes_back_from_disk(tmp_path):
    rows = [*ROWS, ("wörds 道徳\u2028", "good", "bad")]
    whole = curated(published(tmp_path, rows))
    write_set(whole, tmp_path)
    assert read_set(tmp_path) == whole

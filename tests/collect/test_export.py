from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ethosteer.collect.export import CARD, COLLECTION, PAIRS, PREFERENCES, export
from ethosteer.collect.pool import file_pairs, make_pair
from ethosteer.collect.records import Answer, CollectionSettings, Pair, PairKind, Preference
from ethosteer.collect.store import Store
from ethosteer.data.formats.collected import JUDGEMENTS
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.errors import InputError
from ethosteer.records import PreferencePair
from ethosteer.settings import ArmSettings
from tests.collect.small import PLAIN, assigned, join, judge_all, pool

KINDS: tuple[PairKind, ...] = ("gold", "gold", "practice")
QUOTED = "Human: I quote.\n\nAssistant: You do."
"""An answer that reads like a dialogue."""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def judged(
    url: str, pairs: list[Pair], *annotators: dict[str, Preference | None], flag: bool = False
) -> Store:
    """Make a collection in which each annotator judges as told, by the first answers' texts."""
    settings = replace(PLAIN, overlap=len(annotators), title="| <b>t", guidelines="# g\nh")
    store = Store.create(url, settings, pairs)
    for number, told in enumerate(annotators):
        annotator = join(store, f"annotator {number}")
        while (shown := store.assign(annotator)) is not None:
            preference = told[shown.pair.first.text]
            store.judge(annotator, shown.id, preference, preference is None, seconds=1.25)
    return store


def two_answers(number: int, first: str) -> Pair:
    return make_pair([("human", f"p{number}")], Answer("a", first), Answer("b", "other"))


def test_the_majority_is_chosen_and_the_strength_is_the_mean(tmp_path: Path, url: str) -> None:
    texts = ("clear", "mixed", "second", "tied", "no majority", "one tie", "flagged")
    pairs = [two_answers(number, text) for number, text in enumerate(texts)]
    store = judged(
        url,
        pairs,
        dict(zip(texts, (2, 2, -1, 0, 1, 0, None), strict=True)),
        dict(zip(texts, (2, 1, -2, 0, -2, 1, None), strict=True)),
        dict(zip(texts, (1, -2, -2, 0, None, 0, 1), strict=True)),
    )
    exported = export(store, tmp_path / "export")
    preferences = {row["prompt"]: row for row in lines(tmp_path / "export" / PREFERENCES)}
    made = {
        prompt: (row["chosen"], row["rejected"], round(row["strength"], 6), row["judgements"])
        for prompt, row in preferences.items()
    }
    assert made == {
        "p0": ("clear", "other", 1.666667, 3),
        "p1": ("mixed", "other", 0.333333, 3),
        "p2": ("other", "second", 1.666667, 3),
        "p5": ("one tie", "other", 0.333333, 3),
        "p6": ("flagged", "other", 1, 1),
    }
    assert exported.left_out == {"flagged": 3, "no majority": 1, "tied": 1}
    assert (exported.preferences, exported.judgements) == (5, 21)


def test_an_arm_reads_the_pairs_that_are_exported(tmp_path: Path, sqlite_url: str) -> None:
    """Hidden repeats, gold and practice pairs, flags and what was undone make no pair."""
    gold = [
        make_pair([("human", f"g{n}")], Answer("a", "x"), Answer("b", "y"), kind=kind, expected=1)
        for n, kind in enumerate(KINDS)
    ]
    settings = CollectionSettings(repeat_share=0.3, gold_share=0.3, overlap=2)
    odd = make_pair([("human", "odd")], Answer("a", QUOTED), Answer("b", "y"))
    dialogue = make_pair(
        [("human", "u"), ("assistant", "v"), ("human", "w")], Answer("a", "x"), Answer("b", "y")
    )
    store = Store.create(sqlite_url, settings, [*pool(20), *gold, odd, dialogue])
    for preference in (1, -2):
        annotator = join(store)
        shown = assigned(store, annotator)
        while shown.pair.kind == "practice":
            store.judge(annotator, shown.id, 1, seconds=1)
            shown = assigned(store, annotator)
        store.judge(annotator, shown.id, -2, seconds=1)
        store.undo(annotator)
        judge_all(store, annotator, preference if shown.pair != odd else 1)
    exported = export(store, tmp_path)
    shown_as = {judgement.selection for judgement in store.judgements()}
    assert shown_as == {"random", "repeat", "gold", "practice"}
    assert {"undone", "hidden repeat", "gold pair", "practice pair"} <= exported.left_out.keys()
    # both annotators judged every pair, in opposite ways
    assert exported.left_out["no majority"] == 22 and exported.preferences == 0

    third = join(store)
    store.delete_annotator(third, keep_judgements=False)
    store.delete_annotator(2, keep_judgements=False)
    exported = export(store, tmp_path)
    assert exported.preferences == 22
    arm = file_dataset("human", ArmSettings(collected=str(tmp_path)))
    made = list(arm.pairs(arm.rows(tmp_path / JUDGEMENTS), 2))
    pairs = [entry for entry in made if isinstance(entry, PreferencePair)]
    preferred = file_dataset("human", ArmSettings(file=str(tmp_path / PREFERENCES)))
    again = [
        entry
        for entry in preferred.pairs(preferred.rows(tmp_path / PREFERENCES), 2)
        if isinstance(entry, PreferencePair)
    ]
    content = [(pair.prompt, pair.chosen, pair.rejected, pair.group) for pair in pairs]
    assert content == [(pair.prompt, pair.chosen, pair.rejected, pair.group) for pair in again]
    assert {pair.chosen for pair in pairs} >= {QUOTED, "x"} and len(pairs) == 22


def test_all_is_in_the_files_but_names(tmp_path: Path, url: str) -> None:
    pairs, folder = pool(3), tmp_path / "export"
    store = Store.create(url, PLAIN, pairs)
    annotator = join(store, "Ann Onymous")
    shown = assigned(store, annotator)
    store.judge(annotator, shown.id, -1, True, "odd", seconds=0.5)
    export(store, folder)
    everything = "".join(path.read_text("utf-8") for path in folder.iterdir())
    assert "Ann Onymous" not in everything
    (row,) = lines(folder / JUDGEMENTS)
    assert row["winner"] == "b" and row["preference"] == -1 and row["reason"] == "odd"
    assert (row["pair"], row["assignment"], row["annotator"]) == (shown.pair.key, shown.id, 1)
    assert [*file_pairs(folder / PAIRS)] == pairs
    export(store, folder, names=True)
    assert "Ann Onymous" in (folder / COLLECTION).read_text("utf-8")


def test_the_card_counts_and_keeps_texts_inert(tmp_path: Path, url: str) -> None:
    texts = ("x", "y")
    pairs = [two_answers(number, text) for number, text in enumerate(texts)]
    store = judged(url, pairs, {"x": 1, "y": 1}, {"x": 1, "y": 2})
    exported = export(store, tmp_path)
    assert exported.agreement is not None and exported.agreement.alpha == 1
    card = (tmp_path / CARD).read_text("utf-8")
    assert "| judgements | 4 (and 0 undone) |" in card
    assert "| Krippendorff's alpha | 1.00 (nominal, 2 pairs with two or more judgements) |" in card
    assert "\n    | <b>t\n" in card and "\n    # g\n    h\n" in card and "\n    a, b\n" in card


def test_a_collection_without_judgements_is_not_exported(tmp_path: Path, url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    with pytest.raises(InputError, match="has no judgements to export yet"):
        export(store, tmp_path / "export")
    assert not (tmp_path / "export").exists()

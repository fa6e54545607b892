from __future__ import annotations

from ethosteer.data.sources import Origin
from ethosteer.study.load import load_study
from ethosteer.study.text_sizes import Pairs, read_texts


def test_files_that_are_not_here_are_assumed_and_noted():
    notes: list[str] = []
    texts = read_texts(load_study("llama2-13b"), Origin("hub"), notes)
    assert texts.pairs["virtue"] == Pairs(
        10_000, 1_000, 1_000, tokens=500, answer_share=0.5, longest=2 * 512
    )
    assert len(set(notes)) == 2 and all("assumed" in note for note in notes)


def test_limits_of_pairs_and_items_are_kept():
    few = load_study(
        "demo",
        ["arms={virtue={max_pairs=9}}", "benchmarks={wsc273={limit=10}}"],
    )
    every = load_study("demo", ["arms={virtue={}}", "benchmarks={wsc273={}}"])
    texts, whole = (read_texts(own, Origin("sample"), []) for own in (few, every))
    assert texts.pairs["virtue"].train == texts.pairs["virtue"].test == 9
    assert whole.pairs["virtue"].train > 100
    assert 0 < texts.item_tokens < whole.item_tokens

from __future__ import annotations

from ethosteer.data.overlap import overlap, word_ngrams
from ethosteer.records import DatasetCard, PreferencePair, PreferenceSet


def test_ngrams_are_runs_of_words_without_case_and_punctuation():
    assert word_ngrams("The cat, the DOG!", 2) == {("the", "cat"), ("cat", "the"), ("the", "dog")}
    assert word_ngrams("too short", 3) == set()


def test_pairs_overlap_where_any_text_shares_a_run_of_words():
    texts = [("p one two three", "c", "r"), ("p", "one, TWO: three", "r"), ("p", "c", "two three"),
             ("p", "c", "x One two three"), ("one two", "three", "r")]  # fmt: skip
    pairs = [PreferencePair(str(i), *text, "g", i) for i, text in enumerate(texts)]
    card = DatasetCard("a", "", "", "", 0, {}, {}, 0, "", 0.0, 0.0)
    curated = PreferenceSet("a", tuple(pairs[:3]), (pairs[3],), (pairs[4],), card)
    found = overlap(curated, "b", ["zero one two three four", "three one"], 3)
    assert (found.dataset, found.benchmark, found.n) == ("a", "b", 3)
    assert (found.pairs, found.overlapping) == (5, 3), "not where a run spans two texts"

from __future__ import annotations

import random

import pytest

from ethosteer.data.overlap import AT_ONCE, NgramHashes, overlaps, word_ngrams
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
    (found,) = overlaps([curated], {"b": ["zero one two three four", "three one"]}, 3)
    assert (found.dataset, found.benchmark, found.n) == ("a", "b", 3)
    assert (found.pairs, found.overlapping) == (5, 3), "not where a run spans two texts"


def _pairs(count: int, draw: random.Random) -> list[PreferencePair]:
    texts = [" ".join(draw.choices("abcdefgh", k=draw.randint(0, 9))) for _ in range(3 * count)]
    triples = zip(texts[::3], texts[1::3], texts[2::3], strict=True)
    return [PreferencePair(str(i), a, b, c, "g", i) for i, (a, b, c) in enumerate(triples)]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_counts_are_those_of_the_runs_themselves(n: int) -> None:
    draw = random.Random(n)
    pairs, ngrams = _pairs(AT_ONCE + 60, draw), NgramHashes(n)
    benchmarks = [[pair.prompt for pair in _pairs(size, draw)] for size in (0, 3, 40)]
    expected = [
        sum(
            any(word_ngrams(text, n) & runs for text in (pair.prompt, pair.chosen, pair.rejected))
            for pair in pairs
        )
        for runs in (
            {run for text in texts for run in word_ngrams(text, n)} for texts in benchmarks
        )
    ]
    assert ngrams.overlapping(pairs, [ngrams.of(texts) for texts in benchmarks]) == expected
    assert expected[0] == 0 < expected[1] < expected[2] <= len(pairs)


def test_hashes_are_the_same_on_every_machine() -> None:
    assert NgramHashes(2).of(["one two", "two one", "one, TWO"]).tolist() == sorted(
        NgramHashes(2).of([text])[0] for text in ("one two", "two one")
    )
    assert len(NgramHashes(2).of(["a a a a", "b"])) == 1

"""Overlap of preference data with benchmarks: runs of words that both contain."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ethosteer.records import PreferenceSet
from ethosteer.results import Overlap


def overlap(curated: PreferenceSet, benchmark: str, texts: Iterable[str], n: int) -> Overlap:
    """Count the pairs that share an n-gram of words with any text of a benchmark."""
    benchmark_ngrams = {ngram for text in texts for ngram in word_ngrams(text, n)}
    overlapping = sum(
        any(
            not benchmark_ngrams.isdisjoint(word_ngrams(text, n))
            for text in (pair.prompt, pair.chosen, pair.rejected)
        )
        for pair in curated.pairs
    )
    return Overlap(curated.name, benchmark, n, len(curated.pairs), overlapping)


def word_ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    """Return all runs of ``n`` words of a text, in lower case, without punctuation."""
    words = re.findall(r"\w+", text.lower())
    return set(zip(*(words[start:] for start in range(n)), strict=False))

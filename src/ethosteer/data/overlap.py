"""Overlap of preference data with benchmarks: runs of words that both contain.

A run of words is known by a hash of 64 bits, so that a benchmark's runs take 8 bytes each: two
different runs of a large study's 10^8 have the same hash with a probability below 10^-3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ethosteer.records import PreferencePair, PreferenceSet
from ethosteer.results.study import Overlap

T = TypeVar("T")
Hashes = NDArray[np.uint64]
MULTIPLIER = 0x9E3779B97F4A7C15
"""An odd number, of the golden ratio (Knuth 1973, "The Art of Computer Programming", 6.4)."""
AT_ONCE = 5000
"""Texts, or pairs, whose runs are in memory at once."""


class NgramHashes:
    """Hashes of the runs of ``n`` words of texts; the same on every machine."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._words: dict[str, int] = {}

    def of(self, texts: Iterable[str]) -> Hashes:
        """Return the distinct hashes of all texts, sorted."""
        chunks = [np.unique(self._runs(chunk)[0]) for chunk in _chunks(texts)]
        return np.unique(np.concatenate([np.zeros(0, np.uint64), *chunks]))

    def overlapping(self, pairs: Sequence[PreferencePair], known: Sequence[Hashes]) -> list[int]:
        """Return for each of ``known`` how many pairs have a text with one of its runs."""
        counts = [0] * len(known)
        for chunk in _chunks(pairs):
            texts = [text for pair in chunk for text in (pair.prompt, pair.chosen, pair.rejected)]
            hashes, positions = self._runs(texts)
            for index, benchmark in enumerate(known):
                shared = np.isin(hashes, benchmark, kind="sort")
                counts[index] += len(np.unique(positions[shared] // 3))
        return counts

    def _runs(self, texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
        """Return the hash of every run, and the index of its text."""
        words, owners = [], []
        for index, text in enumerate(texts):
            found = [self._word(word) for word in words_of(text)]
            words += found
            owners += [index] * len(found)
        numbers, owner = np.array(words, np.uint64), np.array(owners, np.int64)
        count = max(0, len(numbers) - self.n + 1)
        hashes = np.zeros(count, np.uint64)
        for start in range(self.n):  # modulo 2^64, as unsigned numbers are multiplied
            hashes = hashes * np.uint64(MULTIPLIER) + numbers[start : start + count]
        within = owner[:count] == owner[self.n - 1 : self.n - 1 + count]
        return hashes[within], owner[:count][within]

    def _word(self, word: str) -> int:
        if word not in self._words:
            digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            self._words[word] = int.from_bytes(digest, "little")
        return self._words[word]


def overlaps(
    curated: Sequence[PreferenceSet], benchmarks: Mapping[str, Iterable[str]], n: int
) -> Iterator[Overlap]:
    """Yield, benchmark by benchmark and set by set, the pairs that share an n-gram of words.

    ``benchmarks`` are texts by name, each asked for once; every pair's runs are made once.
    """
    ngrams = NgramHashes(n)
    known = [ngrams.of(texts) for texts in benchmarks.values()]
    counts = [ngrams.overlapping(pairs.pairs, known) for pairs in curated]
    for index, benchmark in enumerate(benchmarks):
        for pairs, overlapping in zip(curated, counts, strict=True):
            yield Overlap(pairs.name, benchmark, n, len(pairs.pairs), overlapping[index])


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Cut values into chunks of ``AT_ONCE``."""
    remaining = iter(values)
    while chunk := list(islice(remaining, AT_ONCE)):
        yield chunk


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def word_ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    """Return all runs of ``n`` words of a text, in lower case, without punctuation."""
    words = words_of(text)
    return set(zip(*(words[start:] for start in range(n)), strict=False))

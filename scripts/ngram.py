"""An interpolated Kneser-Ney n-gram model over token ids: the baseline of the pocket card."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np


class KneserNey:
    """Interpolated Kneser-Ney smoothing with one discount per order.

    Chen and Goodman 1999, equations 24 to 28: the highest order counts occurrences, each lower
    order counts the distinct tokens that come before an n-gram. Unseen unigrams share a uniform
    floor through the discount of the first order. Contexts do not cross a document's start.
    """

    def __init__(self, order: int, documents: list[np.ndarray], vocabulary: int) -> None:
        self.order = order
        self.vocabulary = vocabulary
        counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        for document in documents:
            ids = tuple(int(token) for token in document)
            counts[order].update(zip(*(ids[i:] for i in range(order)), strict=False))
            for length in range(1, order):  # the short contexts at a document's start
                counts[length][ids[:length]] += 1
        for length in range(order - 1, 0, -1):
            for gram in counts[length + 1]:
                counts[length][gram[1:]] += 1
        self.counts = counts
        self.totals: list[dict[tuple[int, ...], int]] = [{} for _ in range(order + 1)]
        self.kinds: list[dict[tuple[int, ...], int]] = [{} for _ in range(order + 1)]
        self.discounts = [0.0] * (order + 1)
        for length in range(1, order + 1):
            total: dict[tuple[int, ...], int] = defaultdict(int)
            kinds: dict[tuple[int, ...], int] = defaultdict(int)
            for gram, count in counts[length].items():
                total[gram[:-1]] += count
                kinds[gram[:-1]] += 1
            frequency = Counter(counts[length].values())
            once = max(frequency[1], 1)  # a toy text may have no singleton
            self.discounts[length] = once / (once + 2 * frequency[2])
            self.totals[length], self.kinds[length] = dict(total), dict(kinds)

    def probability(self, gram: tuple[int, ...]) -> float:
        """Return p(last token of ``gram`` | the tokens before it)."""
        p = 1.0 / self.vocabulary
        for length in range(1, len(gram) + 1):
            suffix = gram[-length:]
            total = self.totals[length].get(suffix[:-1], 0)
            if not total:
                break
            discount = self.discounts[length]
            share = max(self.counts[length].get(suffix, 0) - discount, 0.0) / total
            p = share + discount * self.kinds[length][suffix[:-1]] / total * p
        return p

    def log_probabilities(self, ids: np.ndarray) -> np.ndarray:
        """Return the natural log-probability of every token but the first, ``[len(ids) - 1]``."""
        tokens = tuple(int(token) for token in ids)
        return np.log(
            [
                self.probability(tokens[max(0, end - self.order) : end])
                for end in range(2, len(tokens) + 1)
            ]
        )

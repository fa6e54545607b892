"""Differences of two models' distances from one half, where 50 % is a metric's aim.

The quantity is ``|p_a - 1/2| - |p_b - 1/2|`` of proportions averaged over seeds. With ``u = p_a -
p_b`` and ``v = p_a + p_b - 1`` it is ``sign(u v) min(|u|, |v|)``. So the null hypothesis of equal
distances is the union of ``u = 0`` (equal proportions) and ``v = 0`` (proportions that mirror each
other). It is rejected where both are: an intersection-union test (Berger 1982).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ethosteer.results.estimates import Estimate
from ethosteer.statistics.paired import (
    LEVEL,
    Clustered,
    Difference,
    paired_difference,
)


@dataclass(frozen=True)
class DistanceDifference:
    """The difference of two distances from one half, by ``u`` and ``v`` (see the module).

    Its tests and intervals have the meaning of ``Difference``'s.
    """

    value: float
    u: Difference
    v: Difference

    @property
    def estimate(self) -> Estimate:
        """The value with its 95 % interval."""
        return Estimate(self.value, *self.interval(LEVEL), self.u.items)

    @property
    def p(self) -> float:
        """The larger p of ``u = 0`` and ``v = 0``; nan where either is unknown."""
        return float(np.maximum(self.u.p, self.v.p))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the image of the box of both intervals.

        The quantity is monotone in ``u`` for every ``v`` and in ``v`` for every ``u``, so its
        extremes lie at corners. The box needs no correction for two intervals: a bound fails only
        with the bound of whichever of ``u`` and ``v`` is nearer to 0, and where both are alike,
        one of the image's two bounds fails only if both of them do.
        """
        corners = [
            distance(u, v) for u, v in product(self.u.interval(level), self.v.interval(level))
        ]
        return float(np.min(corners)), float(np.max(corners))

    def equivalence_p(self, margin: float) -> float:
        """Return p of a difference of ``margin`` or more.

        It is within the margin where ``u`` or ``v`` is, so the smaller p counts twice (Bonferroni).
        """
        p = np.minimum(self.u.equivalence_p(margin), self.v.equivalence_p(margin))
        return float(np.minimum(1.0, 2 * p))

    def equivalence_interval(self, alpha: float) -> tuple[float, float]:
        """Return the interval that lies within a margin where ``equivalence_p`` is below alpha."""
        boxes = product(
            self.u.equivalence_interval(alpha / 2), self.v.equivalence_interval(alpha / 2)
        )
        corners = [distance(u, v) for u, v in boxes]
        return float(np.min(corners)), float(np.max(corners))

    def minimum_detectable_range(self, alpha: float) -> tuple[float, float, float]:
        """Return what the test of the nearer of u and v to 0 detects, and its range."""
        return self._nearer.minimum_detectable_range(alpha)

    def clusters_needed_range(self, effect: float, alpha: float) -> tuple[float, float, float]:
        """Return the clusters needed by the test of the nearer of u and v to 0, and their range."""
        return self._nearer.clusters_needed_range(effect, alpha)

    @property
    def _nearer(self) -> Difference:
        return min(self.u, self.v, key=lambda difference: abs(difference.centre))


def distance(u: float, v: float) -> float:
    """Return ``sign(u v) min(|u|, |v|)``; nan where either is nan."""
    return float(np.sign(u * v) * np.minimum(abs(u), abs(v)))


def distance_difference(
    a: Clustered,
    b: Clustered,
    permutations: int,
    generator: np.random.Generator,
) -> DistanceDifference:
    """Compare how far two models' proportions are from one half, on the same items and clusters.

    Raises ValueError where the models did not answer the same items.
    """
    # v is the difference of a's proportion and that of the opposite of b's answers.
    opposite = np.stack([b.sums[..., 1] - b.sums[..., 0], b.sums[..., 1]], axis=-1)
    return DistanceDifference(
        abs(a.value - 0.5) - abs(b.value - 0.5),
        paired_difference(a, b, permutations, generator),
        paired_difference(a, replace(b, sums=opposite), permutations, generator),
    )

"""Estimates, paired differences, families and verdicts: what a study may claim.

A model's value is a metric over items, averaged over its seeds. Two things could have come out
otherwise: which items were asked (whole clusters of them: Winograd twins, one scenario) and how
training went (seeds). Every uncertainty here reckons with both, as crossed random effects; with one
seed it is of the items alone. What cannot be known is nan, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ethosteer.results import Estimate, Verdict
from ethosteer.statistics.metrics import MEAN, Floats, Quantity
from ethosteer.statistics.uncertainty import Uncertainty, uncertainty

Correction = Literal["holm", "bh"]

LEVEL = 0.95
POWER = 0.8
NAN = float("nan")
MOST_CLUSTERS = 10_000_000


@dataclass(frozen=True)
class Clustered:
    """A metric's parts of one model: ``sums [seeds, clusters, k]``, over ``items`` items."""

    sums: Floats
    items: int
    quantity: Quantity

    @property
    def seeds(self) -> int:
        """How many seeds the model has."""
        return int(self.sums.shape[0])

    @property
    def clusters(self) -> int:
        """How many clusters the items form."""
        return int(self.sums.shape[1])

    @cached_property
    def by_seed(self) -> Floats:
        """The metric of each seed, ``[seeds]``; nan where it is not defined."""
        return np.asarray(self.quantity.combine(self.sums.sum(axis=1)))

    @property
    def value(self) -> float:
        """The metric, averaged over seeds."""
        return float(self.by_seed.mean())

    @cached_property
    def pseudo_values(self) -> Floats:
        """What each cluster makes of each seed's metric, ``[seeds, clusters]``.

        Jackknife pseudo-values (Tukey 1958): they average to the metric, nearly, and vary as it
        does, so that any metric is treated as a mean. For a mean over items of equal clusters they
        are the clusters' own means.
        """
        totals = self.sums.sum(axis=1, keepdims=True)
        without = self.quantity.combine(totals - self.sums)
        return self.clusters * self.by_seed[:, None] - (self.clusters - 1) * without

    def with_imagined(self, values: Sequence[float]) -> Clustered:
        """Return the same with imagined clusters of the usual size, all 1 or all 0.

        What has but one cluster stays as it is: nothing can be known of it.
        """
        if self.clusters < 2:
            return self
        size = self.items / self.clusters
        added = np.array([(value * size, size) for value in values])
        tiled = np.broadcast_to(added, (self.seeds, *added.shape))
        return Clustered(np.concatenate([self.sums, tiled], axis=1), self.items, self.quantity)


def cluster_sums(tables: Sequence[Floats], groups: Sequence[str], quantity: Quantity) -> Clustered:
    """Sum per-item parts by cluster: tables ``[items, k]``, one per seed; groups, one per item."""
    names = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    index = np.array([names[group] for group in groups])
    sums = np.zeros((len(tables), len(names), tables[0].shape[1]))
    for seed, table in enumerate(tables):
        np.add.at(sums[seed], index, table)
    return Clustered(sums, len(groups), quantity)


def estimate(model: Clustered, level: float = LEVEL) -> Estimate:
    """The metric with its interval over items and seeds; nan bounds where nothing is known of it.

    Shares get two imagined clusters of either kind (Agresti & Coull 1998 have items), so that 30
    right of 30 has an interval too.
    """
    near = model.with_imagined((1.0, 1.0, 0.0, 0.0)) if model.quantity.share else model
    half = uncertainty(near.pseudo_values).quantile((1 + level) / 2)
    low, high = np.clip([near.value - half, near.value + half], *model.quantity.bounds)
    return Estimate(model.value, float(low), float(high), model.items)


def mean_estimate(
    tables: Sequence[Sequence[float] | Floats],
    groups: Sequence[str] | None = None,
    quantity: Quantity = MEAN,
) -> Estimate:
    """The mean of values (one sequence per seed) with its interval; ``groups`` names clusters."""
    return estimate(means(tables, groups, quantity))


def means(
    tables: Sequence[Sequence[float] | Floats],
    groups: Sequence[str] | None = None,
    quantity: Quantity = MEAN,
) -> Clustered:
    """Values per item, one sequence per seed, whose metric is their mean (or SHARE of 1 and 0)."""
    columns = [np.asarray(own, dtype=float) for own in tables]
    names = [str(i) for i in range(len(columns[0]))] if groups is None else groups
    parts = [np.stack([own, np.ones_like(own)], axis=1) for own in columns]
    return cluster_sums(parts, names, quantity)


@dataclass(frozen=True)
class Difference:
    """a - b on the same items: its estimate, p of no difference, and what could have been seen.

    ``centre`` is the middle of the interval: for shares, drawn a little towards 0.
    """

    estimate: Estimate
    p: float
    centre: float
    error: Uncertainty

    def equivalence_p(self, margin: float) -> float:
        """Return p of two one-sided tests (Schuirmann 1987) that |a - b| >= ``margin``."""
        return self.error.beyond(margin - abs(self.centre))

    def minimum_detectable(self, alpha: float, power: float = POWER) -> float:
        """Return the true difference that a test at level ``alpha`` finds with ``power``."""
        return self.error.detectable(1 - alpha / 2, power)

    def clusters_needed(self, effect: float, alpha: float, power: float = POWER) -> float:
        """Return how many clusters it takes to find a true ``effect`` with ``power``.

        inf where no number would do with these seeds; nan where nothing is known.
        """
        from scipy.optimize import brentq

        if np.isnan(self.error.standard_error):
            return NAN

        def short_of(log_clusters: float) -> float:
            error = self.error.with_clusters(float(np.exp(log_clusters)))
            return replace(self, error=error).minimum_detectable(alpha, power) - abs(effect)

        fewest, most = np.log(2.0), np.log(MOST_CLUSTERS)
        if short_of(most) > 0:
            return float("inf")
        if short_of(fewest) <= 0:
            return 2.0
        return float(np.ceil(np.exp(brentq(short_of, fewest, most, xtol=1e-6)) - 1e-3))


def paired_difference(
    a: Clustered, b: Clustered, swaps: int, generator: np.random.Generator, level: float = LEVEL
) -> Difference:
    """Compare two models on the same items and clusters.

    With seeds on either side, interval and p are of items and seeds together: models with as many
    seeds are paired seed by seed, a model with one stands as it is. With one seed each they are of
    the items alone, and p is exact: McNemar's (1947) for shares of single items, else that of
    ``swaps`` random swaps of the two models within whole clusters.
    """
    if a.clusters != b.clusters or a.items != b.items:
        raise ValueError("paired models must have the same items in the same clusters")
    value = a.value - b.value
    near_a, near_b = a, b
    if a.quantity.share and b.quantity.share:
        # one imagined cluster for either side (Bonett & Price 2012 have items): equal answers
        # prove no equality
        near_a, near_b = a.with_imagined((1.0, 0.0)), b.with_imagined((0.0, 1.0))
    centre = near_a.value - near_b.value
    error = _error_of_difference(near_a, near_b)
    half = error.quantile((1 + level) / 2)
    farthest = a.quantity.bounds[1] - a.quantity.bounds[0]
    low, high = np.clip([centre - half, centre + half], -farthest, farthest)
    bounds = Estimate(value, float(low), float(high), a.items)
    if a.seeds > 1 or b.seeds > 1:
        p = float(np.minimum(1.0, 2 * error.beyond(abs(centre))))  # nan stays nan
        return Difference(bounds, p, centre, error)
    return Difference(bounds, _p_of_items(a, b, swaps, generator), centre, error)


def _error_of_difference(a: Clustered, b: Clustered) -> Uncertainty:
    """Pair seed by seed where both have as many; else seeds vary on each side by themselves."""
    if a.seeds == b.seeds or 1 in (a.seeds, b.seeds):
        return uncertainty(a.pseudo_values - b.pseudo_values)
    return uncertainty(a.pseudo_values, b.pseudo_values)


def _p_of_items(a: Clustered, b: Clustered, swaps: int, generator: np.random.Generator) -> float:
    if a.clusters < 2 or np.isnan(a.value - b.value):
        return NAN
    if a.quantity.share and b.quantity.share and a.clusters == a.items:
        return mcnemar(a.sums[0, :, 0] > 0, b.sums[0, :, 0] > 0)
    return _p_of_swaps(a, b, swaps, generator)


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """McNemar's exact two-sided p for two models' right answers to the same items."""
    from scipy.stats import binomtest

    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _p_of_swaps(a: Clustered, b: Clustered, swaps: int, generator: np.random.Generator) -> float:
    """Two-sided p of swapping a and b within clusters: (1 + as extreme) / (1 + swaps)."""
    of_a, of_b = a.sums[0], b.sums[0]
    swap = generator.integers(0, 2, size=(swaps, a.clusters)).astype(float)
    moved = swap @ (of_b - of_a)
    under_null = a.quantity.combine(of_a.sum(axis=0) + moved) - b.quantity.combine(
        of_b.sum(axis=0) - moved
    )
    observed = abs(a.value - b.value)
    extreme = int(np.sum(~(np.abs(under_null) < observed - 1e-12)))  # undefined counts as extreme
    return (1 + extreme) / (1 + swaps)


def corrected(p_values: Sequence[float], correction: Correction = "holm") -> list[float]:
    """Adjust a family's p: Holm (1979) or Benjamini & Hochberg (1995); nan stays, uncounted."""
    from scipy.stats import false_discovery_control

    p = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(p, np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjust = _holm if correction == "holm" else false_discovery_control
        adjusted[known] = adjust(p[known])
    return [float(value) for value in adjusted]


def _holm(p: Floats) -> Floats:
    """Holm's step-down adjustment (statsmodels has it, with a fifth of a second at every call)."""
    order = np.argsort(p)
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


@dataclass(frozen=True, slots=True)
class Rules:
    """What a study declared of its tests; margin and effect are None where it declared none."""

    alpha: float = 0.05
    correction: Correction = "holm"
    margin: float | None = None
    effect: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference within its family: adjusted p, adjusted p of equivalence, and the verdict.

    ``minimum_detectable`` and ``clusters_needed`` hold at the family's strictest step.
    """

    difference: Difference
    adjusted_p: float
    equivalence_p: float
    minimum_detectable: float
    clusters_needed: float
    verdict: Verdict


def judge_family(differences: Sequence[Difference], better: str, rules: Rules) -> list[Finding]:
    """Correct one family of differences and say of each what it shows."""
    p = corrected([each.p for each in differences], rules.correction)
    equivalence = [NAN] * len(differences)
    if rules.margin is not None:
        own = [each.equivalence_p(rules.margin) for each in differences]
        equivalence = corrected(own, rules.correction)
    strictest = rules.alpha / max(1, len(differences))
    return [
        Finding(
            difference=each,
            adjusted_p=adjusted,
            equivalence_p=equal,
            minimum_detectable=each.minimum_detectable(strictest),
            clusters_needed=NAN
            if rules.effect is None
            else each.clusters_needed(rules.effect, strictest),
            verdict=verdict(each.estimate, adjusted, equal, better, rules.alpha),
        )
        for each, adjusted, equal in zip(differences, p, equivalence, strict=True)
    ]


def verdict(
    difference: Estimate, adjusted_p: float, equivalence_p: float, better: str, alpha: float
) -> Verdict:
    """Say in a word what a comparison shows.

    ``better``: "higher" or "lower" for the difference of the quantity compared, "none" where
    neither side is good. A difference that is shown to lie within the margin, which was declared
    not to matter, is "equivalent" even if it is not 0. A difference is shown by an adjusted p below
    ``alpha`` and an interval that leaves out 0.
    """
    if equivalence_p < alpha:
        return "equivalent"
    if adjusted_p < alpha and (difference.low > 0 or difference.high < 0):
        if better == "none":
            return "different"
        return "better" if (difference.value > 0) == (better == "higher") else "worse"
    return "undecided"

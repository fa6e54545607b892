"""Estimates and paired differences of metrics, over items and seeds.

A model's value is a metric over items, averaged over its seeds. It varies with the items (in
whole clusters, such as Winograd twins) and with the seed of training. Every interval covers both,
as crossed random effects; with one seed it covers the items alone. What is unknown is nan, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np
from numpy.typing import NDArray

from ethosteer.results.estimates import Estimate
from ethosteer.statistics.metrics import MEAN, Floats, Quantity
from ethosteer.statistics.uncertainty import Uncertainty, uncertainty

LEVEL = 0.95
POWER = 0.8
RANGE = (0.1, 0.9)
"""The probabilities at which the range of what a study can detect is cut."""
FEWEST_INFORMATIVE = 30
"""The clusters that an error must rest on for a claim of equivalence, unless of proportions."""
NAN = float("nan")
MOST_CLUSTERS = 10_000_000
SWAPS_AT_ONCE = 50_000_000
"""Of clusters in permutation tests, 16 bytes each."""


@dataclass(frozen=True)
class Clustered:
    """One model's terms of a metric, ``sums [seeds, clusters, k]``, over ``items`` items."""

    sums: Floats
    items: int
    quantity: Quantity

    @property
    def seeds(self) -> int:
        """The number of the model's seeds."""
        return int(self.sums.shape[0])

    @property
    def clusters(self) -> int:
        """The number of clusters of items."""
        return int(self.sums.shape[1])

    @property
    def rarest_class(self) -> int:
        """The number of clusters with items of the rarest class; all where there are no classes."""
        items = np.abs(self.sums).mean(axis=0)
        classes = [items[:, list(terms)].sum(axis=1) > 0 for terms in self.quantity.classes]
        return min((int(present.sum()) for present in classes), default=self.clusters)

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
        """Jackknife pseudo-values of each seed's metric (Tukey 1958), ``[seeds, clusters]``.

        Their mean is nearly the metric, and the variance of their mean estimates the metric's, so
        any metric is treated as a mean. For means over equal clusters they are the clusters' means.
        """
        totals = self.sums.sum(axis=1, keepdims=True)
        without_cluster = self.quantity.combine(totals - self.sums)
        return self.clusters * self.by_seed[:, None] - (self.clusters - 1) * without_cluster

    @property
    def mean_size(self) -> float:
        """The mean number of items of a cluster."""
        return self.items / self.clusters

    @property
    def mean_size_by_item(self) -> float:
        """The mean size of the clusters that items lie in: large clusters hold more items."""
        sizes = self.sums[0, :, 1]
        return float(np.square(sizes).sum() / sizes.sum())

    def with_added_clusters(self, values: Sequence[float], size: float) -> Clustered:
        """Add clusters of ``size`` items in which a proportion is ``values`` (0 or 1).

        A single cluster stays as it is: adding would make its unknown variance look known.
        """
        if self.clusters < 2:
            return self
        added = np.array([(value * size, size) for value in values])
        tiled = np.broadcast_to(added, (self.seeds, *added.shape))
        return Clustered(np.concatenate([self.sums, tiled], axis=1), self.items, self.quantity)


def cluster_sums(tables: Sequence[Floats], groups: Sequence[str], quantity: Quantity) -> Clustered:
    """Sum terms by cluster: a table ``[items, k]`` per seed, and the group of each item."""
    clusters = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    index = np.array([clusters[group] for group in groups])
    sums = np.zeros((len(tables), len(clusters), tables[0].shape[1]))
    for seed, table in enumerate(tables):
        np.add.at(sums[seed], index, table)
    return Clustered(sums, len(groups), quantity)


def clustered_values(
    values: Sequence[Sequence[float] | Floats],
    groups: Sequence[str] | None = None,
    quantity: Quantity = MEAN,
) -> Clustered:
    """Cluster one value per item, a sequence per seed; the metric is their mean, or PROPORTION.

    Without ``groups`` every item is a cluster.
    """
    columns = [np.asarray(column, dtype=float) for column in values]
    names = [str(index) for index in range(len(columns[0]))] if groups is None else groups
    tables = [np.stack([column, np.ones_like(column)], axis=1) for column in columns]
    return cluster_sums(tables, names, quantity)


def estimate(model: Clustered, level: float = LEVEL) -> Estimate:
    """The metric with its interval over items and seeds; nan bounds where it has no known error.

    Proportions get two added successes and two added failures (Agresti & Coull 1998), here whole
    clusters, so that 30 correct of 30 have an interval too.
    """
    adjusted = (
        model.with_added_clusters((1.0, 1.0, 0.0, 0.0), model.mean_size)
        if model.quantity.is_proportion
        else model
    )
    error = uncertainty(adjusted.pseudo_values).of_class(model.rarest_class / model.clusters)
    half = error.quantile((1 + level) / 2)
    low, high = np.clip([adjusted.value - half, adjusted.value + half], *model.quantity.bounds)
    return Estimate(model.value, float(low), float(high), model.items)


def mean_estimate(
    values: Sequence[Sequence[float] | Floats],
    groups: Sequence[str] | None = None,
    quantity: Quantity = MEAN,
) -> Estimate:
    """The mean of values (one sequence per seed) with its interval; ``groups`` names clusters."""
    return estimate(clustered_values(values, groups, quantity))


@dataclass(frozen=True)
class Difference:
    """a - b on the same ``items``: its value and error.

    ``centre`` is the middle of the interval; for proportions, added clusters shrink it towards 0.
    ``equivalence_error`` is the error that claims of equivalence rest on: for proportions that of
    larger added clusters. ``exact_p`` is the p of an exact test, None where p comes from the error.
    ``largest`` is the largest absolute difference that the quantity's bounds allow. ``informative``
    is the effective number of clusters that the error rests on; inf for proportions, whose added
    clusters keep their error from being too small.
    """

    value: float
    items: int
    centre: float
    error: Uncertainty
    equivalence_error: Uncertainty
    exact_p: float | None = None
    largest: float = inf
    informative: float = inf

    @property
    def p(self) -> float:
        """The two-sided p of no difference; nan where nothing is known."""
        if self.exact_p is not None:
            return self.exact_p
        return float(np.minimum(1.0, 2 * self.error.tail_probability(abs(self.centre))))

    @property
    def estimate(self) -> Estimate:
        """The value with its 95 % interval."""
        return Estimate(self.value, *self.interval(LEVEL), self.items)

    def interval(self, level: float) -> tuple[float, float]:
        """Return the two-sided interval of that confidence level; nan where nothing is known."""
        return self._within(self.error.quantile((1 + level) / 2))

    def equivalence_p(self, margin: float) -> float:
        """Return p of two one-sided tests (Schuirmann 1987) of |a - b| >= ``margin``.

        nan with fewer than ``FEWEST_INFORMATIVE`` informative clusters: where the values that
        matter are rare, a sample without them looks like equivalence, and no test can tell
        (Bahadur & Savage 1956).
        """
        if self.informative < FEWEST_INFORMATIVE:
            return NAN
        return self.equivalence_error.cautious_tail_probability(margin - abs(self.centre))

    def equivalence_interval(self, alpha: float) -> tuple[float, float]:
        """Return the interval that lies within a margin where ``equivalence_p`` is below alpha."""
        return self._within(self.equivalence_error.cautious_quantile(1 - alpha))

    def _within(self, half: float) -> tuple[float, float]:
        low, high = np.clip([self.centre - half, self.centre + half], -self.largest, self.largest)
        return float(low), float(high)

    def minimum_detectable(self, alpha: float, power: float = POWER) -> float:
        """Return the true difference that a two-sided test at ``alpha`` detects with ``power``."""
        return self.error.minimum_detectable(1 - alpha / 2, power)

    def clusters_needed(self, effect: float, alpha: float, power: float = POWER) -> float:
        """Return the number of clusters with which a true ``effect`` is detected with ``power``.

        inf where no number suffices with these seeds; nan where nothing is known.
        """
        from scipy.optimize import brentq

        if np.isnan(self.error.standard_error):
            return NAN

        def excess(log_clusters: float) -> float:
            error = self.error.with_clusters(float(np.exp(log_clusters)))
            return replace(self, error=error).minimum_detectable(alpha, power) - abs(effect)

        fewest, largest = np.log(2.0), np.log(MOST_CLUSTERS)
        if excess(largest) > 0:
            return float("inf")
        if excess(fewest) <= 0:
            return 2.0
        # Rounded up; 1e-3 absorbs the root finder's error at whole numbers.
        return float(np.ceil(np.exp(brentq(excess, fewest, largest, xtol=1e-6)) - 1e-3))

    def minimum_detectable_range(self, alpha: float) -> tuple[float, float, float]:
        """Return the minimum detectable difference and its 10 and 90 % bounds, ``POWER`` each."""
        value = self.minimum_detectable(alpha)
        low, high = self.error.relative_errors(RANGE)
        return value, value * low, value * high

    def clusters_needed_range(self, effect: float, alpha: float) -> tuple[float, float, float]:
        """Return the clusters needed and their 10 and 90 % bounds by the variances' uncertainty."""
        value = self.clusters_needed(effect, alpha)
        # A standard error c times as large needs what an effect 1 / c times as large does.
        low, high = (
            self.clusters_needed(effect / factor, alpha)
            for factor in self.error.relative_errors(RANGE)
        )
        return value, low, high


def paired_difference(
    a: Clustered,
    b: Clustered,
    permutations: int,
    generator: np.random.Generator,
) -> Difference:
    """Compare two models on the same items and clusters.

    With seeds on either side, interval and p are of items and seeds together: models with as many
    seeds are paired seed by seed, a model with one seed is taken as fixed. With one seed each they
    are of the items alone, and p is exact: McNemar's (1947) for proportions of unclustered items,
    else that of a permutation test with random swaps of the two models within whole clusters.
    Where swaps are not valid (the quantity is not separable), p comes from the error's quantiles.

    Raises ValueError where the models did not answer the same items.
    """
    if a.clusters != b.clusters or a.items != b.items:
        raise ValueError("paired models must have the same items in the same clusters")
    value = a.value - b.value
    proportions = a.quantity.is_proportion and b.quantity.is_proportion
    adjusted_a, adjusted_b = a, b
    if proportions:
        # One added discordant pair either way (Bonett & Price 2012), here whole clusters: without
        # it, models with the same answers would have a difference of exactly 0, without an error.
        adjusted_a, adjusted_b = _with_discordant_clusters(a, b, a.mean_size)
    error = equivalence_error = _error_of_difference(adjusted_a, adjusted_b)
    if proportions and a.mean_size_by_item > a.mean_size:
        # Answers that agree in all of a few large clusters may yet differ in the next.
        equivalence_error = _error_of_difference(
            *_with_discordant_clusters(a, b, a.mean_size_by_item)
        )
    exact_p = None
    if a.seeds == b.seeds == 1 and a.quantity.is_separable:
        if a.clusters < 2 or np.isnan(value):
            exact_p = NAN
        elif proportions and a.clusters == a.items:
            exact_p = mcnemar(a.sums[0, :, 0] > 0, b.sums[0, :, 0] > 0)
        else:
            exact_p = _permutation_p(a, b, permutations, generator)
    return Difference(
        value,
        a.items,
        adjusted_a.value - adjusted_b.value,
        error,
        equivalence_error,
        exact_p,
        largest=a.quantity.bounds[1] - a.quantity.bounds[0],
        informative=inf if proportions else min(error.kurtosis_df + 1, a.rarest_class),
    )


def _with_discordant_clusters(
    a: Clustered, b: Clustered, size: float
) -> tuple[Clustered, Clustered]:
    """Add a cluster of ``size`` items that a alone answers correctly, and one that b alone does."""
    return a.with_added_clusters((1.0, 0.0), size), b.with_added_clusters((0.0, 1.0), size)


def _error_of_difference(a: Clustered, b: Clustered) -> Uncertainty:
    if a.seeds == b.seeds or 1 in (a.seeds, b.seeds):
        error = uncertainty(a.pseudo_values - b.pseudo_values)
    else:
        error = uncertainty(a.pseudo_values, b.pseudo_values)
    return error.of_class(a.rarest_class / a.clusters)


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """McNemar's exact two-sided p for two models' correct answers to the same items."""
    from scipy.stats import binomtest

    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _permutation_p(
    a: Clustered, b: Clustered, permutations: int, generator: np.random.Generator
) -> float:
    """Two-sided p of random swaps of a and b within clusters.

    It is (1 + permutations as extreme) / (1 + permutations), never 0 (Phipson & Smyth 2010).
    """
    sums_a, sums_b = a.sums[0], b.sums[0]
    # in chunks, which draw the same numbers: all swaps of 100,000 clusters would take 16 GB
    rows = max(1, SWAPS_AT_ONCE // a.clusters)
    chunks = [min(rows, permutations - start) for start in range(0, max(1, permutations), rows)]
    moved = np.concatenate(
        [
            generator.integers(0, 2, size=(count, a.clusters)).astype(float) @ (sums_b - sums_a)
            for count in chunks
        ]
    )
    differences = a.quantity.combine(sums_a.sum(axis=0) + moved) - b.quantity.combine(
        sums_b.sum(axis=0) - moved
    )
    observed = abs(a.value - b.value)
    # Ties count as extreme despite rounding, and so does nan, which is no evidence of a difference.
    extreme = int(np.sum(~(np.abs(differences) < observed - 1e-12)))
    return (1 + extreme) / (1 + permutations)

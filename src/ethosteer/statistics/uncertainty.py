"""The uncertainty of a mean over items and seeds.

Items and seeds are crossed random effects: every seed answers the same items. A mean over both
varies with the items sampled, with the seeds, and with their interaction. Taking one of the two as
fixed is the language-as-fixed-effect fallacy (Clark 1973). With three seeds the variance among
seeds is itself poorly known, and an interval must reflect that. A two-level bootstrap of
three seeds does not, nor do Satterthwaite's degrees of freedom. A generalised confidence interval
(Weerahandi 1993) does: it replaces each variance by its generalised pivot ``df s^2 / chi^2_df`` and
integrates over the chi-squares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import inf, nan

import numpy as np

from ethosteer.statistics.metrics import Floats

SEED_NODES = 240
ITEM_NODES = 48
MERGED_NODES = 400
LARGEST_LOGIT = 22.0
"""The outermost quadrature nodes lie at chi-squared probabilities of these log odds."""


@dataclass(frozen=True)
class Uncertainty:
    """The error of an estimate: normal, with a variance that is itself only estimated.

    ``item_variance``, ``seed_variance`` and ``interaction_variance`` are the estimated variances of
    the mean over items of the seed averages, of the mean over seeds of the item averages, and of
    the mean over both of the interaction; the first two contain the third. ``seed_df`` is 0 where
    there is one seed. All variances are nan where nothing is known. ``kurtosis_df`` are the degrees
    of freedom of ``item_variance`` by the kurtosis of the values of clusters, and ``skewness`` is
    the absolute skewness of these values; claims of equivalence rest on both. ``class_share`` is
    the share of clusters that the degrees of freedom rest on: those of the rarest class, where a
    metric is made of classes.
    """

    item_variance: float
    item_df: float
    seed_variance: float = 0.0
    seed_df: float = 0.0
    interaction_variance: float = 0.0
    kurtosis_df: float = inf
    skewness: float = 0.0
    class_share: float = 1.0

    @property
    def clusters(self) -> float:
        """The number of clusters of items."""
        return (self.item_df + 1) / self.class_share

    def of_class(self, share: float) -> Uncertainty:
        """Return the uncertainty of a metric whose rarest class has that share of the clusters."""
        if share == 1:
            return self
        df = max((self.item_df + 1) * share - 1, 1.0)
        return replace(self, item_df=df, class_share=(df + 1) / self.clusters)

    @property
    def standard_error(self) -> float:
        """The estimated standard deviation of the estimate."""
        return float(
            np.sqrt(
                _total_variance(self.item_variance, self.seed_variance, self.interaction_variance)
            )
        )

    def tail_probability(self, distance: float) -> float:
        """Return the probability of an error above ``distance``; nan where nothing is known."""
        from scipy.special import ndtr

        if np.isnan(distance) or np.isnan(self.item_variance):
            return nan
        deviations, weights = self._plausible_errors
        return float(weights @ ndtr(-distance / deviations))

    def quantile(self, level: float) -> float:
        """Return the error that is exceeded with probability ``1 - level`` (``level`` > 0.5)."""
        if np.isnan(self.standard_error):
            return nan
        return _root(lambda x: 1 - level - self.tail_probability(x), self.standard_error)

    def cautious_tail_probability(self, distance: float) -> float:
        """Return the probability of an error above ``distance`` with skewness and heavy tails.

        Where large values are rare, a sample that misses them has a mean nearer to 0 and a variance
        far too small. So the variance has the degrees of freedom that the kurtosis leaves, and
        Student's t is ``t + s (1 + 2 t^2) / 6`` for an estimate of skewness s (Hall 1983).
        """
        skewness = self._estimate_skewness
        # The root of Hall's quadratic in a form that holds without skewness too.
        excess = distance / self.standard_error - skewness / 6
        t = 2 * excess / (1 + np.sqrt(np.maximum(1 + 4 / 3 * skewness * excess, 0)))
        return self._heavy_tailed.tail_probability(t * self.standard_error)

    def cautious_quantile(self, level: float) -> float:
        """Return the error whose ``cautious_tail_probability`` is ``1 - level``."""
        quantile = self._heavy_tailed.quantile(level)
        t = quantile / self.standard_error
        return quantile + self.standard_error * self._estimate_skewness * (1 + 2 * t**2) / 6

    @property
    def _heavy_tailed(self) -> Uncertainty:
        return replace(self, item_df=min(self.item_df, self.kurtosis_df))

    @property
    def _estimate_skewness(self) -> float:
        """The skewness of the estimate: that of a mean of clusters, in its share of the error."""
        share = self.item_variance / self.standard_error**2
        return float(self.skewness / np.sqrt(self.clusters) * share**1.5)

    def minimum_detectable(self, level: float, power: float) -> float:
        """Return the true value whose estimate exceeds ``quantile(level)`` with ``power``.

        The variances that a study estimates vary, and its quantile with them. With one seed this is
        the power of Student's test; with more, the quantile is taken to be proportional to the
        standard error.
        """
        from scipy.special import ndtr

        true_error = self.standard_error
        if np.isnan(true_error):
            return nan
        estimated, weights = self._estimated_errors
        thresholds = self.quantile(level) / true_error * estimated
        return _root(
            lambda x: float(weights @ ndtr((x - thresholds) / true_error)) - power, true_error
        )

    def relative_errors(self, probabilities: tuple[float, float]) -> tuple[float, float]:
        """Return quantiles of the plausible true standard errors, as multiples of the estimate."""
        if np.isnan(self.standard_error):
            return nan, nan
        errors, weights = self._plausible_errors
        order = np.argsort(errors)
        low, high = np.interp(probabilities, np.cumsum(weights[order]), errors[order])
        return float(low / self.standard_error), float(high / self.standard_error)

    def with_clusters(self, clusters: float) -> Uncertainty:
        """Return the uncertainty with so many clusters of items and the same seeds."""
        factor = self.clusters / clusters
        # More items shrink the interaction within the seed variance, but not the seeds' own part.
        seeds_alone = max(self.seed_variance - self.interaction_variance, 0.0)
        return Uncertainty(
            self.item_variance * factor,
            max(clusters * self.class_share - 1, 1.0),
            seeds_alone + min(self.seed_variance, self.interaction_variance) * factor,
            self.seed_df,
            self.interaction_variance * factor,
            class_share=self.class_share,
        )

    @cached_property
    def _plausible_errors(self) -> tuple[Floats, Floats]:
        """True standard errors that agree with the estimate, and their weights: ``[nodes]``."""
        return self._mixture(lambda pivot: pivot)

    @cached_property
    def _estimated_errors(self) -> tuple[Floats, Floats]:
        """Standard errors as studies estimate them if this one is true: ``[nodes]``, weights."""
        return self._mixture(lambda pivot: 1 / pivot)

    def _mixture(self, factor: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
        """Standard errors with each variance times ``factor`` of ``df / chi^2_df``, and weights."""
        if not self.seed_df:
            pivots, weights = _pivots(self.item_df, SEED_NODES)
            return np.sqrt(self.item_variance * factor(pivots)), weights
        item_pivots, item_weights = _pivots(self.item_df, ITEM_NODES)
        seed_pivots, seed_weights = _pivots(self.seed_df, SEED_NODES)
        variances = _total_variance(
            self.item_variance * factor(item_pivots)[None, :],
            self.seed_variance * factor(seed_pivots)[:, None],
            self.interaction_variance,
        )
        merged, weights = _merged(variances.ravel(), np.outer(seed_weights, item_weights).ravel())
        return np.sqrt(merged), weights


def _root(increasing: Callable[[float], float], scale: float) -> float:
    """Return the positive root of an increasing function; it is of the order of ``scale``."""
    from scipy.optimize import brentq

    high = scale
    while increasing(high) < 0:
        high *= 2
    return float(brentq(increasing, 0, high, xtol=1e-10 * scale, rtol=1e-10))


def _total_variance(items: Floats | float, seeds: Floats | float, interaction: float) -> Floats:
    """The variance of a mean over items and seeds.

    Both variances contain the interaction, so it is subtracted once. The true variance is at least
    each of the two, but with estimates (and pivots) the difference may be less than either: hence
    the largest of the three.
    """
    total: Floats = np.maximum(np.maximum(items, seeds), items + seeds - interaction)
    return total


@lru_cache(maxsize=256)
def _pivots(df: float, nodes: int) -> tuple[Floats, Floats]:
    """``df / chi^2_df`` at quadrature nodes that reach far into its tails, and their weights."""
    from scipy.special import expit, logit
    from scipy.stats import chi2

    edges = expit(np.linspace(-LARGEST_LOGIT, LARGEST_LOGIT, nodes + 1))
    # Even in log odds, since with 1 or 2 degrees of freedom the tails of the pivot decide.
    middles = expit((logit(edges[:-1]) + logit(edges[1:])) / 2)
    weights = np.diff(edges)
    return np.asarray(df / chi2.ppf(middles, df)), weights / weights.sum()


def _merged(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Merge nodes of nearly equal value into their weighted mean, so that lookups cost little."""
    logs = np.log(values)
    low, high = logs.min(), logs.max()
    bins = ((logs - low) * ((MERGED_NODES - 1) / (high - low))).astype(int)
    total = np.bincount(bins, weights).astype(np.float64)
    sums = np.bincount(bins, weights * values)
    return sums[total > 0] / total[total > 0], total[total > 0]


UNKNOWN = Uncertainty(nan, 1.0)


def uncertainty(values: Floats, subtracted: Floats | None = None) -> Uncertainty:
    """Return how well the mean of ``values [seeds, clusters]`` is known.

    With ``subtracted [other seeds, clusters]``, the uncertainty of the difference of the two means,
    on the same clusters but with unrelated seeds; the smaller number of seeds then gives the
    degrees of freedom. UNKNOWN for values that are all alike, or nan, or of one cluster.
    """
    sides = [values] if subtracted is None else [values, subtracted]
    if values.shape[1] < 2 or any(np.isnan(side).any() for side in sides):
        return UNKNOWN
    by_item = values.mean(axis=0) - (0.0 if subtracted is None else subtracted.mean(axis=0))
    items = _variance_of_mean(by_item)
    item_df = len(by_item) - 1.0
    shape = _shape(by_item)
    several = [side for side in sides if len(side) > 1]
    if not several:
        return Uncertainty(items, item_df, 0.0, 0.0, 0.0, *shape) if items > 0 else UNKNOWN
    seeds = sum(_variance_of_mean(side.mean(axis=1)) for side in several)
    interaction = sum(_interaction_variance(side) for side in several)
    seed_df = min(len(side) for side in several) - 1.0
    if not max(items, seeds) > 0:
        return UNKNOWN
    return Uncertainty(items, item_df, seeds, seed_df, interaction, *shape)


def _variance_of_mean(values: Floats) -> float:
    """The estimated variance of the mean of ``values``; 0 where they differ by rounding alone."""
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return 0.0
    return float(values.var(ddof=1) / len(values))


def _shape(values: Floats) -> tuple[float, float]:
    """The degrees of freedom of a sample variance by the kurtosis, and the absolute skewness.

    The variance of a sample variance gives ``2 n / (kurtosis - (n - 3) / (n - 1))`` degrees of
    freedom (O'Neill 2014), n - 1 for normal values; they are at least 1.
    """
    n = len(values)
    deviations = values - values.mean()
    variance = float(np.square(deviations).mean())
    if variance == 0:
        return n - 1.0, 0.0
    kurtosis = float(np.power(deviations, 4).mean()) / variance**2
    skewness = float(np.power(deviations, 3).mean()) / variance**1.5
    excess = max(kurtosis, 3.0) - (n - 3) / (n - 1)
    return max(2 * n / excess, 1.0), abs(skewness)


def _interaction_variance(values: Floats) -> float:
    """The variance that the interaction of seeds and clusters brings to the mean of all."""
    seeds, clusters = values.shape
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    residuals = values - rows - columns + values.mean()
    return float(np.square(residuals).sum() / ((seeds - 1) * (clusters - 1)) / values.size)

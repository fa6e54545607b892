"""How far a mean over items and seeds may lie from the truth.

Items and seeds are crossed: every seed answers the same items. A mean over both varies with the
items drawn, with the seeds drawn, and with what a seed does to an item; to take items for all that
varies is the language-as-fixed-effect fallacy (Clark 1973). With three seeds the variance among
seeds is itself hardly known, and an interval must say so. A two-level bootstrap of three seeds does
not, nor do Satterthwaite's degrees of freedom; a generalised confidence interval (Weerahandi 1993)
does: it takes each variance for ``df s^2 / chi^2_df`` and averages over the chi-squares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SEED_NODES = 240
ITEM_NODES = 48
MERGED_NODES = 400
FARTHEST = 22.0
"""The outermost nodes lie where a chi-square's log odds are this far from even."""


@dataclass(frozen=True)
class Uncertainty:
    """The error of an estimate: normal, with a variance that is itself only estimated.

    items, seeds, both: the estimated variances that items, seeds, and a seed's effect on single
    items bring to the estimate (the first two contain the third); 0 seeds where there is one seed.
    All nan where nothing is known.
    """

    items: float
    item_df: float
    seeds: float = 0.0
    seed_df: float = 0.0
    both: float = 0.0

    @property
    def standard_error(self) -> float:
        """The estimated standard deviation of the estimate."""
        return float(np.sqrt(_total(self.items, self.seeds, self.both)))

    def beyond(self, distance: float) -> float:
        """Return the probability of an error above ``distance``; nan where nothing is known."""
        from scipy.special import ndtr

        if np.isnan(distance) or np.isnan(self.items):
            return float("nan")
        deviations, weights = self._nodes
        return float(weights @ ndtr(-distance / deviations))

    def quantile(self, level: float) -> float:
        """Return the error that is exceeded with probability ``1 - level`` (``level`` > 0.5)."""
        if np.isnan(self.standard_error):
            return float("nan")
        return _rising_to(lambda x: 1 - level - self.beyond(x), self.standard_error)

    def detectable(self, level: float, power: float) -> float:
        """Return the true value whose estimate exceeds ``quantile(level)`` with ``power``.

        A study's own estimates of the variances vary, and its quantile with them; of one seed this
        is the power of Student's test. With seeds too the quantile is taken to grow as the error.
        """
        from scipy.special import ndtr

        own = self.standard_error
        if np.isnan(own):
            return float("nan")
        estimated, weights = self._nodes_of_estimates
        thresholds = self.quantile(level) / own * estimated
        return _rising_to(lambda x: float(weights @ ndtr((x - thresholds) / own)) - power, own)

    def with_clusters(self, clusters: float) -> Uncertainty:
        """Return what it would be with so many clusters of items and the same seeds."""
        factor = (self.item_df + 1) / clusters
        lone = max(self.seeds - self.both, 0.0)
        return Uncertainty(
            self.items * factor,
            max(clusters - 1, 1.0),
            lone + min(self.seeds, self.both) * factor,
            self.seed_df,
            self.both * factor,
        )

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats]:
        """Standard errors that may be the true one, with their weights, both ``[nodes]``."""
        return self._mixture(lambda inflation: inflation)

    @cached_property
    def _nodes_of_estimates(self) -> tuple[Floats, Floats]:
        """Standard errors that may be estimated if this is the true one, with their weights."""
        return self._mixture(lambda inflation: 1 / inflation)

    def _mixture(self, factor: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
        if not self.seed_df:
            inflation, weights = _inflations(self.item_df, SEED_NODES)
            return np.sqrt(self.items * factor(inflation)), weights
        of_items, item_weights = _inflations(self.item_df, ITEM_NODES)
        of_seeds, seed_weights = _inflations(self.seed_df, SEED_NODES)
        variances = _total(
            self.items * factor(of_items)[None, :],
            self.seeds * factor(of_seeds)[:, None],
            self.both,
        )
        merged, weights = _merged(variances.ravel(), np.outer(seed_weights, item_weights).ravel())
        return np.sqrt(merged), weights


def _rising_to(excess: Callable[[float], float], scale: float) -> float:
    """Return where above 0 a rising function is 0, which lies about at ``scale``."""
    from scipy.optimize import brentq

    high = scale
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, 0, high, xtol=1e-10 * scale, rtol=1e-10))


def _total(items: Floats | float, seeds: Floats | float, both: float) -> Floats:
    """The variance of a mean over items and seeds: what both contain is counted once."""
    total: Floats = np.maximum(np.maximum(items, seeds), items + seeds - both)
    return total


@lru_cache(maxsize=256)
def _inflations(df: float, nodes: int) -> tuple[Floats, Floats]:
    """``df / chi^2_df`` at nodes that reach far into its tails, and the nodes' weights."""
    from scipy.special import expit, logit
    from scipy.stats import chi2

    edges = expit(np.linspace(-FARTHEST, FARTHEST, nodes + 1))
    middles = expit((logit(edges[:-1]) + logit(edges[1:])) / 2)
    weights = np.diff(edges)
    return np.asarray(df / chi2.ppf(middles, df)), weights / weights.sum()


def _merged(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Few nodes for many: each the mean of those about as large, so that a lookup costs little."""
    logs = np.log(values)
    low, high = logs.min(), logs.max()
    place = ((logs - low) * ((MERGED_NODES - 1) / (high - low))).astype(int)
    total = np.bincount(place, weights).astype(np.float64)
    sums = np.bincount(place, weights * values)
    return sums[total > 0] / total[total > 0], total[total > 0]


UNKNOWN = Uncertainty(float("nan"), 1.0)


def uncertainty(values: Floats, less: Floats | None = None) -> Uncertainty:
    """Return how well the mean of ``values [seeds, clusters]`` is known.

    With ``less [other seeds, clusters]``, of the difference of the two means: the same clusters,
    seeds of their own; the fewer seeds then say how well their variance is known. Nothing is known
    of a mean whose values are all alike, are nan, or are of one cluster.
    """
    sides = [values] if less is None else [values, less]
    if values.shape[1] < 2 or any(np.isnan(side).any() for side in sides):
        return UNKNOWN
    by_item = sides[0].mean(axis=0) - (0.0 if less is None else less.mean(axis=0))
    items = _variance(by_item)
    item_df = len(by_item) - 1.0
    several = [side for side in sides if len(side) > 1]
    if not several:
        return Uncertainty(items, item_df) if items > 0 else UNKNOWN
    seeds = sum(_variance(side.mean(axis=1)) for side in several)
    both = sum(_interaction(side) for side in several)
    seed_df = min(len(side) for side in several) - 1.0
    if not max(items, seeds) > 0:
        return UNKNOWN
    return Uncertainty(items, item_df, seeds, seed_df, both)


def _variance(values: Floats) -> float:
    """The variance of the mean of ``values``; rounding does not count as variance."""
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return 0.0
    return float(values.var(ddof=1) / len(values))


def _interaction(values: Floats) -> float:
    """The variance that seeds' effects on single clusters bring to the mean of all."""
    seeds, clusters = values.shape
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = values - rows - columns + values.mean()
    return float(np.square(rest).sum() / ((seeds - 1) * (clusters - 1)) / values.size)

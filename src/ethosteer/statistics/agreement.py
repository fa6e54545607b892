"""How far annotators agree: Krippendorff's alpha, Cohen's kappa, and shares that agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray

from ethosteer.results.estimates import Estimate
from ethosteer.statistics.metrics import Floats
from ethosteer.statistics.paired import LEVEL

Distances = Callable[[Floats], Floats]
"""Squared distances ``[..., categories, categories]`` by the judgements in each category."""
Counts = Sequence[Sequence[int]] | NDArray[np.int64]
"""``[units, categories]``: how many annotators put a unit into a category."""


def nominal_alpha(counts: Counts) -> float:
    """Return Krippendorff's alpha for nominal data (Krippendorff 2011, section C).

    Units with fewer than two judgements do not count. NaN where there is no such unit, or one
    category only.
    """
    return float(_alpha(_coincidences(counts).sum(axis=0), _nominal))


def ordinal_alpha(counts: Counts) -> float:
    """Return Krippendorff's alpha for categories in order (Krippendorff 2011, section D).

    Two categories are as far apart as there are judgements between them, those in the two counted
    as half. The rest is as in ``nominal_alpha``.
    """
    return float(_alpha(_coincidences(counts).sum(axis=0), _ordinal))


def both_orders(counts: Counts) -> NDArray[np.int64]:
    """Return the units followed by the same with their categories in reverse.

    Where categories are for the first and the second of two answers, alpha of these does not
    depend on which answer is called the first.
    """
    table = np.asarray(counts, dtype=np.int64)
    return np.concatenate([table, table[:, ::-1]])


def alpha_estimate(
    counts: Counts,
    groups: Sequence[str],
    resamples: int,
    generator: np.random.Generator,
    *,
    ordinal: bool = False,
) -> Estimate:
    """Return alpha of preferences, in both orders, with a bootstrap interval over groups of units.

    Units of one prompt share a group and are drawn together; the interval is the percentile
    bootstrap's (Hayes & Krippendorff 2007 draw units). ``n`` is the number of units with two or
    more judgements. Without a value, or without variation among resamples, it has no bounds.
    """
    table = np.asarray(counts, dtype=np.int64)
    several = table.sum(axis=1) >= 2
    units = int(several.sum())
    if not units:
        return Estimate(nan, nan, nan, 0)
    _, index = np.unique(np.asarray(groups)[several], return_inverse=True)
    by_unit = _coincidences(table[several])
    by_unit = by_unit + by_unit[:, ::-1, ::-1]
    size = int(index.max()) + 1
    by_group = np.zeros((size, *by_unit.shape[1:]))
    np.add.at(by_group, index, by_unit)
    distances = _ordinal if ordinal else _nominal
    value = float(_alpha(by_group.sum(axis=0), distances))
    weights = generator.multinomial(size, np.full(size, 1 / size), size=resamples)
    sums = np.tensordot(weights.astype(float), by_group, axes=1)
    drawn = _alpha(sums, distances)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn) or np.ptp(drawn) < 1e-12:
        return Estimate(value, nan, nan, units)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), units)


def _coincidences(counts: Counts) -> Floats:
    """Return each unit's ordered pairs of judgements, over those that each can be paired with.

    ``[units, categories, categories]``; 0 for units with fewer than two judgements.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim < 2:
        return np.zeros((0, 1, 1))
    pairs = table[:, :, None] * table[:, None, :]
    diagonal = np.arange(table.shape[1])
    pairs[:, diagonal, diagonal] -= table
    return np.asarray(pairs / np.maximum(table.sum(axis=1) - 1, 1)[:, None, None])


def _alpha(coincidences: Floats, distances: Distances) -> Floats:
    """Return alpha of sums of coincidences, ``[..., categories, categories]`` -> ``[...]``."""
    totals = coincidences.sum(axis=-1)
    far = distances(totals)
    observed = (coincidences * far).sum(axis=(-2, -1))
    expected = (totals[..., :, None] * totals[..., None, :] * far).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - (totals.sum(axis=-1) - 1) * observed / expected, np.nan)


def _nominal(totals: Floats) -> Floats:
    return 1 - np.eye(totals.shape[-1])


def _ordinal(totals: Floats) -> Floats:
    """Return squared distances of categories: the judgements from the middle of one to another."""
    middles = totals.cumsum(axis=-1) - totals / 2
    return np.asarray(np.square(middles[..., :, None] - middles[..., None, :]))


def weighted_kappa(table: Floats) -> Estimate:
    """Return Cohen's kappa with quadratic weights (1968) of two annotators' preferences.

    ``table [categories, categories]`` counts units by both annotators' categories. It is averaged
    with its mirror image, both orders of categories reversed, so that kappa does not depend on
    which answer is called the first. The interval is Fleiss, Cohen & Everitt's (1969). NaN without
    units, or where one category is all there is; without a variance there are no bounds.
    """
    from scipy.stats import norm

    table = np.asarray(table, dtype=np.float64)
    units = int(table.sum())
    if not units:
        return Estimate(nan, nan, nan, 0)
    p = (table + table[::-1, ::-1]) / (2 * units)
    categories = np.arange(len(p))
    weights = 1 - np.square((categories[:, None] - categories) / (len(p) - 1))
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed = float((weights * p).sum())
    expected = float(rows @ weights @ columns)
    if expected > 1 - 1e-12:
        return Estimate(nan, nan, nan, units)
    kappa = (observed - expected) / (1 - expected)
    means = (weights @ columns)[:, None] + (rows @ weights)
    spread = (p * np.square(weights * (1 - expected) - means * (1 - observed))).sum()
    centre = (observed * expected - 2 * expected + observed) ** 2
    variance = float(spread - centre) / (units * (1 - expected) ** 4)
    if variance < 1e-12:
        return Estimate(kappa, nan, nan, units)
    half = float(norm.ppf((1 + LEVEL) / 2)) * variance**0.5
    return Estimate(kappa, max(kappa - half, -1.0), min(kappa + half, 1.0), units)


def wilson(successes: int, trials: int) -> Estimate:
    """Return a proportion with Wilson's interval (1927); NaN without trials."""
    from scipy.stats import binomtest

    if not trials:
        return Estimate(nan, nan, nan, 0)
    bounds = binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return Estimate(successes / trials, float(bounds.low), float(bounds.high), trials)


def even_p(successes: int, trials: int) -> float:
    """Return the exact two-sided p of a probability of 1/2; NaN without trials."""
    from scipy.stats import binomtest

    return float(binomtest(successes, trials).pvalue) if trials else nan

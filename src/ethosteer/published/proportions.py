"""Statistics of counts without items: intervals, exact tests, power, and bounds on paired tests.

Two models that answered the same items cannot be paired without the items. But how many each had
right bounds the number of discordant items, those that exactly one of them had right, and with it
the exact p of McNemar's test.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ethosteer.results.estimates import Estimate
from ethosteer.statistics.metrics import CORRELATION
from ethosteer.statistics.paired import NAN, POWER, cluster_sums, estimate
from ethosteer.statistics.verdicts import adjusted_p_values


def wilson(right: int, items: int) -> Estimate:
    """A proportion with its 95 % score interval (Wilson 1927); nan of no items."""
    from statsmodels.stats.proportion import proportion_confint

    if not items:
        return Estimate(NAN, NAN, NAN, 0)
    low, high = proportion_confint(right, items, method="wilson")
    return Estimate(right / items, float(low), float(high), items)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of McNemar's exact p that two models' counts allow.

    ``fewest`` and ``most`` discordant items are possible; the p-values are those at the two ends.
    """

    fewest: int
    most: int
    lowest_p: float
    highest_p: float


def mcnemar_bounds(a: int, b: int, items: int) -> Bounds:
    """Bound McNemar's exact p of two models with ``a`` and ``b`` of the same ``items`` right."""
    # fewest: every item that the weaker model has right, the other has right too;
    # most: no item is right (or none is wrong) for both
    lead, limit = abs(a - b), min(a + b, 2 * items - a - b)
    return Bounds(lead, limit, _mcnemar(lead, lead), _mcnemar(lead, limit))


def _mcnemar(lead: int, discordant: int) -> float:
    """Exact two-sided p of ``discordant`` items, ``lead`` more of them one way than the other."""
    from scipy.stats import binomtest

    if discordant == 0:
        return 1.0
    return float(binomtest((discordant + lead) // 2, discordant).pvalue)


def most_discordant(family: Sequence[Bounds], alpha: float) -> list[int | None]:
    """The largest number of discordant items with which each pair is significant after Holm.

    The other pairs of the family have their lowest p, so that with more discordant items
    significance is ruled out. None where no possible number gives it.
    """
    lowest = [bounds.lowest_p for bounds in family]

    def largest(index: int, bounds: Bounds) -> int | None:
        def adjusted_p(discordant: int) -> float:
            p = _mcnemar(bounds.fewest, discordant)
            return adjusted_p_values([*lowest[:index], p, *lowest[index + 1 :]])[index]

        # With the lead fixed, discordant items come in twos, one each way. Each two raise p: of a
        # symmetric walk, more mass enters the tail from just below the lead than leaves it. So the
        # significant numbers come first, and bisection finds their end.
        possible = range(bounds.fewest, bounds.most + 1, 2)
        significant = bisect_left(possible, alpha, key=adjusted_p)
        return possible[significant - 1] if significant else None

    return [largest(index, bounds) for index, bounds in enumerate(family)]


def detectable_rates(
    rate: float, items: int, other_items: int, alpha: float, power: float = POWER
) -> tuple[float, float]:
    """The nearest rates below and above ``rate`` that a test of two samples detects with ``power``.

    By Cohen's (1988) h, the difference of ``2 asin(sqrt(rate))``; nan where not even 0 or 1 is far
    enough.
    """
    from statsmodels.stats.power import NormalIndPower

    if not items or not other_items:
        return NAN, NAN
    effect = NormalIndPower().solve_power(
        nobs1=items, ratio=other_items / items, alpha=alpha, power=power
    )
    angle, half = math.asin(math.sqrt(rate)), float(effect) / 2
    below, above = (
        math.sin(end) ** 2 if 0 <= end <= math.pi / 2 else NAN
        for end in (angle - half, angle + half)
    )
    return below, above


def detectable_lead(discordant: float, items: int, alpha: float, power: float = POWER) -> float:
    """The lead, as a proportion of ``items``, that McNemar's test detects with ``power``.

    ``discordant`` is the proportion of discordant items. The inverse of ``paired_sample_size``; nan
    where not even a lead on all discordant items is detected.
    """
    from scipy.optimize import brentq

    def items_short(lead: float) -> float:
        return _sample_size(lead, alpha, power, discordant, discordant - lead**2) - items

    if items_short(discordant) > 0:
        return NAN
    # A lead of discordant / items is below a single item, which no test detects: a bracket's end.
    return float(brentq(items_short, discordant / items, discordant))


def sample_size(a: float, b: float, alpha: float, power: float = POWER) -> float:
    """The items that each of two samples needs to detect rates ``a`` and ``b``; inf if equal.

    By Cohen's (1988) h.
    """
    from statsmodels.stats.proportion import proportion_effectsize

    effect = abs(float(proportion_effectsize(a, b)))
    # 2 asin(sqrt(rate)) has variance 1 / n whatever the rate, so the difference of two has 2 / n
    return math.ceil(_sample_size(effect, alpha, power, 2.0, 2.0)) if effect else math.inf


def paired_sample_size(lead: float, discordant: float, alpha: float, power: float = POWER) -> float:
    """The items that McNemar's test needs to detect ``lead`` with a proportion ``discordant``.

    By Connett, Smith and McHugh (1987). inf without a lead; nan for one larger than ``discordant``,
    which is impossible.
    """
    if lead == 0:
        return math.inf
    if abs(lead) > discordant:
        return NAN
    return math.ceil(_sample_size(abs(lead), alpha, power, discordant, discordant - lead**2))


def _sample_size(
    effect: float, alpha: float, power: float, null: float, alternative: float
) -> float:
    """The items that detect ``effect``, given one item's variances under null and alternative."""
    from statsmodels.stats.power import normal_sample_size_one_tail

    deviations = math.sqrt(null), math.sqrt(alternative)
    return float(normal_sample_size_one_tail(effect, power, alpha / 2, *deviations))


def unpaired_difference(a: int, a_items: int, b: int, b_items: int) -> tuple[Estimate, float]:
    """Difference of proportions of separate samples with Newcombe's (1998) interval, Fisher's p.

    nan where either sample is empty.
    """
    from scipy.stats import fisher_exact
    from statsmodels.stats.proportion import confint_proportions_2indep

    items = a_items + b_items
    if not a_items or not b_items:
        return Estimate(NAN, NAN, NAN, items), NAN
    low, high = confint_proportions_2indep(a, a_items, b, b_items, method="newcomb", compare="diff")
    p = fisher_exact(np.array([[a, a_items - a], [b, b_items - b]])).pvalue
    return Estimate(a / a_items - b / b_items, float(low), float(high), items), float(p)


def correlation(tp: int, tn: int, fp: int, fn: int) -> tuple[Estimate, float]:
    """Matthews correlation of a confusion table with its interval, and Fisher's p of independence.

    The interval is of jackknife pseudo-values over items, as in a study's own results.
    """
    from scipy.stats import fisher_exact

    table = np.repeat(np.eye(4), [tp, tn, fp, fn], axis=0)
    model = cluster_sums([table], [str(item) for item in range(len(table))], CORRELATION)
    return estimate(model), float(fisher_exact(np.array([[tp, fn], [fp, tn]])).pvalue)

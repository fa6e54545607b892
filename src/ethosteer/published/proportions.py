"""What can be asked of counts alone, where no item was kept: bounds, intervals, power.

Two models that answered the same items cannot be paired without the items. But their margins bound
on how many items they can have parted, and so McNemar's exact p from both sides.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ethosteer.results import Estimate
from ethosteer.statistics.metrics import CORRELATION
from ethosteer.statistics.paired import NAN, POWER, cluster_sums, estimate
from ethosteer.statistics.verdicts import adjusted_p_values


def wilson(right: int, items: int) -> Estimate:
    """A share with Wilson's interval (1927); nan of no items."""
    from statsmodels.stats.proportion import proportion_confint

    if not items:
        return Estimate(NAN, NAN, NAN, 0)
    low, high = proportion_confint(right, items, method="wilson")
    return Estimate(right / items, float(low), float(high), items)


@dataclass(frozen=True, slots=True)
class Bounds:
    """McNemar's exact p between which the truth lies, by how many items the models parted on.

    ``fewest``: all those items went one way; ``most``: as many as the margins allow.
    """

    fewest: int
    most: int
    lowest_p: float
    highest_p: float


def mcnemar_bounds(a: int, b: int, items: int) -> Bounds:
    """Bound the exact p of two models with ``a`` and ``b`` right answers to the same items."""
    fewest = abs(a - b)
    most = min(a + b, 2 * items - a - b)
    return Bounds(fewest, most, _mcnemar(fewest, fewest), _mcnemar(fewest, most))


def _mcnemar(lead: int, parted: int) -> float:
    from scipy.stats import binomtest

    if parted == 0:
        return 1.0
    return float(binomtest((parted + lead) // 2, parted).pvalue)


def most_parted(family: Sequence[Bounds], alpha: float) -> list[int | None]:
    """Return of each pair on how many items it may have parted and yet be significant by Holm.

    The other pairs of its family are taken at their best, so that more items than these rule
    significance out. None where no number would do.
    """
    best = [bounds.lowest_p for bounds in family]
    return [_most_parted(bounds, best, place, alpha) for place, bounds in enumerate(family)]


def _most_parted(own: Bounds, best: list[float], place: int, alpha: float) -> int | None:
    def adjusted(parted: int) -> float:
        p = [*best[:place], _mcnemar(own.fewest, parted), *best[place + 1 :]]
        return adjusted_p_values(p)[place]

    amounts = range(own.fewest, own.most + 1, 2)
    significant = bisect_left(amounts, alpha, key=adjusted)  # p rises with the items parted on
    return amounts[significant - 1] if significant else None


def smallest_unpaired(
    rate: float, items: int, others: int, alpha: float, power: float = POWER
) -> tuple[float, float]:
    """The nearest rates below and above ``rate`` that two samples tell from it with ``power``.

    ``rate`` is of ``items`` items, the other of ``others``; nan where even 0 or 1 is too near.
    """
    from statsmodels.stats.power import NormalIndPower

    if not items or not others:
        return NAN, NAN
    effect = NormalIndPower().solve_power(
        nobs1=items, ratio=others / items, alpha=alpha, power=power
    )
    angle, half = math.asin(math.sqrt(rate)), float(effect) / 2
    return _rate_at(angle - half), _rate_at(angle + half)


def _rate_at(angle: float) -> float:
    """Return the rate whose arcsine (of its root, Cohen's scale) is ``angle``; nan beyond 0, 1."""
    return math.sin(angle) ** 2 if 0 <= angle <= math.pi / 2 else NAN


def items_unpaired(a: float, b: float, alpha: float, power: float = POWER) -> float:
    """How many items each of two samples needs to tell rates ``a`` and ``b``; inf if equal."""
    from statsmodels.stats.proportion import proportion_effectsize

    effect = abs(float(proportion_effectsize(a, b)))
    return math.ceil(_needed(effect, alpha, power, 2.0, 2.0)) if effect else math.inf


def items_paired(lead: float, parted: float, alpha: float, power: float = POWER) -> float:
    """How many items McNemar's test needs to find ``lead``, ``parted`` being the share parted on.

    By Connett, Smith and McHugh (1987); inf without a lead, nan where the models cannot part on so
    few items and have such a lead.
    """
    if lead == 0:
        return math.inf
    if abs(lead) > parted:
        return NAN
    return math.ceil(_needed(abs(lead), alpha, power, parted, parted - lead**2))


def smallest_paired(parted: float, items: int, alpha: float, power: float = POWER) -> float:
    """The lead that McNemar's test finds with ``power``, ``parted`` being the share parted on.

    As ``items_paired`` has it; nan where even a lead on all of those is too small.
    """
    from scipy.optimize import brentq

    def missing(lead: float) -> float:
        return _needed(lead, alpha, power, parted, parted - lead**2) - items

    if missing(parted) > 0:
        return NAN
    return float(brentq(missing, parted / items, parted))


def _needed(effect: float, alpha: float, power: float, null: float, alternative: float) -> float:
    """How many items find ``effect``, given one item's variances under null and alternative."""
    from statsmodels.stats.power import normal_sample_size_one_tail

    deviations = math.sqrt(null), math.sqrt(alternative)
    return float(normal_sample_size_one_tail(effect, power, alpha / 2, *deviations))


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Two shares of different items: difference with Newcombe's interval (1998), Fisher's p."""

    estimate: Estimate
    p: float


def unpaired_difference(a: int, of_a: int, b: int, of_b: int) -> Unpaired:
    """Compare shares of items that are not the same; nan where either has none."""
    from scipy.stats import fisher_exact
    from statsmodels.stats.proportion import confint_proportions_2indep

    if not of_a or not of_b:
        return Unpaired(Estimate(NAN, NAN, NAN, of_a + of_b), NAN)
    low, high = confint_proportions_2indep(a, of_a, b, of_b, method="newcomb", compare="diff")
    p = fisher_exact(np.array([[a, of_a - a], [b, of_b - b]])).pvalue
    value = Estimate(a / of_a - b / of_b, float(low), float(high), of_a + of_b)
    return Unpaired(value, float(p))


def correlation_of(tp: int, tn: int, fp: int, fn: int) -> tuple[Estimate, float]:
    """Matthews correlation of a confusion table with its interval, and Fisher's exact p of none."""
    from scipy.stats import fisher_exact

    kinds = np.eye(4)
    table = np.repeat(kinds, [tp, tn, fp, fn], axis=0)
    model = cluster_sums([table], [str(item) for item in range(len(table))], CORRELATION)
    return estimate(model), float(fisher_exact(np.array([[tp, fn], [fp, tn]])).pvalue)

"""What can be asked of counts alone, where no item was kept: bounds, intervals, power.

Two models that answered the same items cannot be paired without the items. But their margins bound
on how many items they can have parted, and so McNemar's exact p from both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ethosteer.maths.metrics import CORRELATION
from ethosteer.maths.statistics import POWER, cluster_sums, estimate
from ethosteer.records import Estimate


def wilson(right: int, items: int) -> Estimate:
    """A share with Wilson's interval (1927)."""
    from statsmodels.stats.proportion import proportion_confint

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


def most_parted(a: int, b: int, items: int, alpha: float) -> int | None:
    """Return on how many items two models may have parted for p to be below ``alpha`` still.

    None where no number would do.
    """
    bounds = mcnemar_bounds(a, b, items)
    found = None
    for parted in range(bounds.fewest, bounds.most + 1, 2):
        if _mcnemar(bounds.fewest, parted) >= alpha:
            break
        found = parted
    return found


def smallest_unpaired(rate: float, items: int, alpha: float, power: float = POWER) -> float:
    """The lead over ``rate`` that two samples of ``items`` items each find with ``power``."""
    from statsmodels.stats.power import NormalIndPower

    effect = NormalIndPower().solve_power(nobs1=items, alpha=alpha, power=power)
    return float(math.sin(math.asin(math.sqrt(rate)) + effect / 2) ** 2 - rate)


def items_unpaired(a: float, b: float, alpha: float, power: float = POWER) -> float:
    """How many items each of two samples needs to tell rates ``a`` and ``b``; inf if equal."""
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.proportion import proportion_effectsize

    effect = abs(proportion_effectsize(a, b))
    if effect == 0:
        return math.inf
    needed = NormalIndPower().solve_power(effect_size=effect, alpha=alpha, power=power)
    return float(math.ceil(needed))


def smallest_paired(parted: float, items: int, alpha: float, power: float = POWER) -> float:
    """The lead that McNemar's test finds with ``power``, ``parted`` being the share parted on.

    Connett, Smith and McHugh (1987). nan where even a lead on all of those is too small.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    first, second = float(ndtri(1 - alpha / 2)), float(ndtri(power))

    def short_of(lead: float) -> float:
        spread = math.sqrt(max(parted - lead**2, 0.0))
        return first * math.sqrt(parted) + second * spread - lead * math.sqrt(items)

    if short_of(parted) > 0:
        return math.nan
    return float(brentq(short_of, 0, parted))


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Two shares of different items: difference with Newcombe's interval (1998), Fisher's p."""

    estimate: Estimate
    p: float


def unpaired_difference(a: int, of_a: int, b: int, of_b: int) -> Unpaired:
    """Compare shares of items that are not the same."""
    from scipy.stats import fisher_exact
    from statsmodels.stats.proportion import confint_proportions_2indep

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

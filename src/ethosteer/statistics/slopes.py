"""How fast a reward rises over the steps of training, over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ethosteer.results import Slope

PER = 100
"""Steps that a slope is quoted for."""
FEWEST = 4
FEWEST_WORTH = 3.0
MOST_CARRIED = 0.95
EXACT = 1e-24
"""Share of the squares that is rounding: a series without noise."""


def slope(series: Sequence[tuple[Sequence[float], Sequence[float]]], level: float = 0.95) -> Slope:
    """The least-squares rise per 100 steps of ``(steps, values)``, one series per seed.

    With several seeds, each has a slope of its own and the interval and p are Student's over them.
    With one, they are of the regression, adjusted for noise that carries over from step to step:
    they say nothing of other seeds. In simulations of 12, 30 and 100 points such intervals hold the
    truth in 95, 96 and 96 % of series with independent noise, in 88, 93 and 94 % where half of it
    carries over, and in 83, 90 and 93 % where four fifths do. nan where a series is too short.
    """
    from scipy import stats  # slow to import

    nan = float("nan")
    if any(len(steps) < FEWEST for steps, _ in series) or not series:
        return Slope(nan, nan, nan, nan, len(series))
    if len(series) == 1:
        return _of_one(*series[0], level)
    own = np.array([PER * np.polyfit(steps, values, 1)[0] for steps, values in series])
    value, spread = float(own.mean()), float(own.std(ddof=1) / np.sqrt(len(own)))
    if spread == 0:
        return Slope(value, value, value, float(value == 0), len(own))
    half = float(stats.t.ppf((1 + level) / 2, len(own) - 1)) * spread
    p = float(stats.ttest_1samp(own, 0).pvalue)
    return Slope(value, value - half, value + half, p, len(own))


def _of_one(steps: Sequence[float], values: Sequence[float], level: float) -> Slope:
    """One series' slope, its error and degrees of freedom adjusted for autocorrelated noise.

    n points whose noise has correlation r from step to step are worth ``n (1 - r) / (1 + r)``
    (Santer et al. 2000); r of the residuals is corrected for its bias (Kendall 1954).
    """
    from scipy import stats

    fit = stats.linregress(steps, values)
    count = len(steps)
    noise = np.asarray(values) - fit.intercept - fit.slope * np.asarray(steps)
    power = float(noise @ noise)
    if power <= EXACT * float(np.square(values).sum()):
        value = PER * float(fit.slope)
        return Slope(value, value, value, float(value == 0), 1)
    carry = float(noise[:-1] @ noise[1:]) / power
    carry = min(max(carry + (1 + 4 * carry) / count, 0.0), MOST_CARRIED)
    worth = max(count * (1 - carry) / (1 + carry), FEWEST_WORTH)
    error = PER * float(fit.stderr) * np.sqrt((count - 2) / (worth - 2))
    value, half = PER * float(fit.slope), float(stats.t.ppf((1 + level) / 2, worth - 2)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, worth - 2))
    return Slope(value, value - half, value + half, p, 1)

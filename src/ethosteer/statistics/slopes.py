"""Slopes of rewards over the steps of training, over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ethosteer.results.estimates import Slope

STEPS = 100
"""A slope is per so many steps."""
FEWEST_POINTS = 4
FEWEST_EFFECTIVE_POINTS = 3.0
LARGEST_AUTOCORRELATION = 0.95
ROUNDING = 1e-24
"""A smaller residual sum of squares, relative to the values', is rounding: there is no noise."""


def slope(series: Sequence[tuple[Sequence[float], Sequence[float]]], level: float = 0.95) -> Slope:
    """The least-squares slope per 100 steps of ``(steps, values)``, one series per seed.

    With several seeds the interval and p are Student's over the seeds' slopes. With one they are
    those of the regression, adjusted for autocorrelated noise, and do not cover other seeds. In
    simulations of 12, 30 and 100 points such intervals cover the truth in 95, 96 and 96 % of series
    with independent noise, in 88, 93 and 94 % with an autocorrelation of 0.5, and in 83, 90 and
    93 % with one of 0.8. nan where a series has fewer than four points.
    """
    from scipy import stats  # slow to import

    nan = float("nan")
    if any(len(steps) < FEWEST_POINTS for steps, _ in series) or not series:
        return Slope(nan, nan, nan, nan, len(series))
    if len(series) == 1:
        return _slope_of_one(*series[0], level)
    slopes = np.array([STEPS * np.polyfit(steps, values, 1)[0] for steps, values in series])
    value, error = float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(len(slopes)))
    if error == 0:
        return Slope(value, value, value, float(value == 0), len(slopes))
    half = float(stats.t.ppf((1 + level) / 2, len(slopes) - 1)) * error
    p = float(stats.ttest_1samp(slopes, 0).pvalue)
    return Slope(value, value - half, value + half, p, len(slopes))


def _slope_of_one(steps: Sequence[float], values: Sequence[float], level: float) -> Slope:
    """One series' slope; its error and degrees of freedom allow for autocorrelated noise.

    n points whose noise has lag-one autocorrelation r have the information of
    ``n (1 - r) / (1 + r)`` independent ones (Santer et al. 2000); the r of the residuals is
    corrected for its bias (Kendall 1954).
    """
    from scipy import stats

    fit = stats.linregress(steps, values)
    count = len(steps)
    residuals = np.asarray(values) - fit.intercept - fit.slope * np.asarray(steps)
    squares = float(residuals @ residuals)
    if squares <= ROUNDING * float(np.square(values).sum()):
        value = STEPS * float(fit.slope)
        return Slope(value, value, value, float(value == 0), 1)
    r = float(residuals[:-1] @ residuals[1:]) / squares
    r = min(max(r + (1 + 4 * r) / count, 0.0), LARGEST_AUTOCORRELATION)
    effective = max(count * (1 - r) / (1 + r), FEWEST_EFFECTIVE_POINTS)
    # linregress divides the sum of squares by count - 2, as if all points were independent.
    error = STEPS * float(fit.stderr) * np.sqrt((count - 2) / (effective - 2))
    value = STEPS * float(fit.slope)
    half = float(stats.t.ppf((1 + level) / 2, effective - 2)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, effective - 2))
    return Slope(value, value - half, value + half, p, 1)

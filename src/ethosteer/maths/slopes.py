"""How fast a reward rises over the steps of training, over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ethosteer.records import Slope

PER = 100
"""Steps that a slope is quoted for."""
FEWEST = 4


def slope(series: Sequence[tuple[Sequence[float], Sequence[float]]], level: float = 0.95) -> Slope:
    """The least-squares rise per 100 steps of ``(steps, values)``, one series per seed.

    With several seeds, each has a slope of its own and the interval and p are Student's over them.
    With one, they are of the regression, with standard errors that hold under autocorrelated noise
    (Newey and West 1987): they say nothing of other seeds. nan where a series is too short.
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
    """One series' slope; lags as Newey and West 1994 advise, ``4 (n / 100)^(2/9)``."""
    import statsmodels.api as sm  # slow to import

    lags = int(4 * (len(steps) / 100) ** (2 / 9))
    design = sm.add_constant(np.asarray(steps, dtype=float) / PER)
    fit = sm.OLS(np.asarray(values, dtype=float), design).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
    )
    low, high = fit.conf_int(alpha=1 - level)[1]
    return Slope(float(fit.params[1]), float(low), float(high), float(fit.pvalues[1]), 1)

"""The largest power that any test can have which knows the seeds of one arm, or of arms alike.

An arm's estimate is normal about its true difference. Its variance is 1 with many items, of which
``interaction`` comes from the interaction of seeds and items, plus an unknown variance v of seeds.
The mean square of ``df`` degrees of freedom is all that is known of v: it estimates ``interaction``
+ v. A test rejects by the estimate and that mean square, and is wrong in at most ``alpha`` of
studies for every v. The most powerful such test where v = 0 is the solution of a linear programme
over rejection thresholds, one distribution of thresholds for every bin of the mean square (compare
Elliott, Mueller and Watson 2015, Econometrica 83).
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

BINS = np.concatenate([[0.0], np.geomspace(0.01, 3000, 59), [np.inf]])
"""Edges of the mean square as a multiple of the interaction."""
THRESHOLDS = np.concatenate([np.linspace(1.0, 6.0, 51), np.geomspace(6.2, 400, 60)])
SEED_VARIANCES = np.concatenate([[0.0], np.geomspace(0.01, 1000, 50)])


def power_bound(interaction: float, df: int, alpha: float, known: float = 0.77) -> float:
    """Return the largest power where z with the known error has the power ``known``."""
    effect = stats.norm.isf(alpha / 2) + stats.norm.ppf(known)

    def bins(variance: float) -> np.ndarray:
        scale = interaction * df / (interaction + variance)
        return np.diff(stats.chi2.cdf(BINS * scale, df))

    detected = stats.norm.sf(THRESHOLDS - effect) + stats.norm.cdf(-THRESHOLDS - effect)
    gain = np.outer(bins(0.0), detected)
    errors = [
        np.outer(bins(v), 2 * stats.norm.sf(THRESHOLDS / np.sqrt(1 + v))).ravel()
        for v in SEED_VARIANCES
    ]
    each_bin = np.kron(np.eye(len(BINS) - 1), np.ones(len(THRESHOLDS)))
    solution = optimize.linprog(
        -gain.ravel(),
        A_ub=np.array(errors),
        b_ub=np.full(len(errors), alpha),
        A_eq=each_bin,
        b_eq=np.ones(len(each_bin)),
        method="highs",
    )
    assert solution.success
    return -float(solution.fun or 0.0)

"""Davidson's model against work by hand and statsmodels' log-linear model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import log, sqrt

import numpy as np
import pytest

from ethosteer.statistics.davidson import fit_davidson

COUNTS = {
    (0, 1): (30, 12, 8),
    (0, 2): (25, 20, 15),
    (1, 2): (9, 11, 20),
    (1, 3): (14, 6, 10),
    (2, 3): (22, 5, 13),
}
"""Wins of the first, ties and wins of the second; sources 0 and 3 never met."""


def table(counts: Mapping[tuple[int, int], tuple[float, ...]], size: int, times: float = 1.0):
    found = np.zeros((size, size, 3))
    for pair, row in counts.items():
        found[pair] = np.asarray(row) * times
    return found


@pytest.mark.parametrize("row", [(20, 5, 8), (20, 0, 0), (0, 7, 0), (3, 0, 9), (1, 0, 0)])
def test_two_sources_by_hand(row):
    """Jeffreys' prior adds 1/2 to each of three counts, and the model fits them exactly."""
    win, tie, loss = (count + 0.5 for count in row)
    fit = fit_davidson(table({(0, 1): row}, 2))
    assert fit.strengths[0] - fit.strengths[1] == pytest.approx(log(win / loss), abs=1e-6)
    assert fit.nu == pytest.approx(tie / sqrt(win * loss), rel=1e-6)
    # the variance of a difference of logits, by the fitted proportions
    share_win, _, share_loss = np.array([win, tie, loss]) / (win + tie + loss)
    covariance = np.linalg.inv(fit.information)[0, 0]
    contrast = fit.basis[0, 0] - fit.basis[1, 0]
    assert covariance * contrast**2 == pytest.approx(
        (1 / share_win + 1 / share_loss) / sum(row), rel=1e-5
    )


def test_many_judgements_agree_with_the_log_linear_model():
    """Davidson's model is a Poisson model with an effect of each pair (Fienberg & Larntz 1976)."""
    from statsmodels.api import GLM
    from statsmodels.genmod.families import Poisson

    rows, counts = [], []
    for index, ((i, j), row) in enumerate(COUNTS.items()):
        for outcome, count in zip((1, 0, -1), row, strict=True):
            strengths = np.zeros(4)
            strengths[[i, j]] = outcome / 2, -outcome / 2
            rows.append([*strengths[1:], float(outcome == 0), *np.eye(len(COUNTS))[index]])
            counts.append(count * 1e4)
    model = GLM(np.array(counts), np.array(rows), family=Poisson()).fit(tol=1e-12)
    fit = fit_davidson(table(COUNTS, 4, 1e4))
    assert fit.strengths[1:] - fit.strengths[0] == pytest.approx(model.params[:3], abs=1e-3)
    assert log(fit.nu) == pytest.approx(model.params[3], abs=1e-3)
    contrasts = np.hstack([fit.basis[1:] - fit.basis[0], np.zeros((3, 1))])
    covariance = contrasts @ np.linalg.inv(fit.information) @ contrasts.T
    assert covariance == pytest.approx(model.cov_params()[:3, :3], rel=2e-3)


def test_the_order_in_which_two_sources_are_counted_changes_nothing():
    turned = {pair[::-1]: row[::-1] for pair, row in COUNTS.items()}
    one, other = (fit_davidson(table(counts, 4)) for counts in (COUNTS, turned))
    assert one.strengths == pytest.approx(other.strengths, abs=1e-6)
    assert one.nu == pytest.approx(other.nu, rel=1e-6)


def test_the_fit_is_where_the_penalised_likelihood_is_highest():
    """By the likelihood and the information written anew, with a derivative-free search."""
    from scipy.optimize import minimize

    def loss(x):
        strengths, log_nu = np.array([0.0, *x[:3]]), x[3]
        total, information = 0.0, np.zeros((4, 4))
        for (i, j), row in COUNTS.items():
            d = strengths[i] - strengths[j]
            p = np.exp([d / 2, log_nu, -d / 2])
            p /= p.sum()
            total += np.dot(row, np.log(p))
            features = np.zeros((3, 4))
            for source, sign in ((i, 1), (j, -1)):
                if source:
                    features[0, source - 1], features[2, source - 1] = sign / 2, -sign / 2
            features[1, 3] = 1
            mean = p @ features
            information += sum(row) * ((features.T * p) @ features - np.outer(mean, mean))
        return -total - np.linalg.slogdet(information)[1] / 2

    search = minimize(
        loss, np.zeros(4), method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 10_000, "maxfev": 10_000},
    )  # fmt: skip
    fit = fit_davidson(table(COUNTS, 4))
    assert fit.strengths[1:] - fit.strengths[0] == pytest.approx(search.x[:3], abs=1e-4)
    assert log(fit.nu) == pytest.approx(search.x[3], abs=1e-4)


def test_a_source_that_won_or_lost_everything_has_a_finite_strength():
    counts = dict.fromkeys(combinations(range(4), 2), (40, 0, 0))
    strengths = fit_davidson(table(counts, 4)).strengths
    assert (np.diff(strengths) < 0).all()
    assert np.abs(strengths).max() < 20

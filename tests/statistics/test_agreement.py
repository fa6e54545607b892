"""Alpha and kappa against published examples, statsmodels and work by hand."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest

from ethosteer.statistics.agreement import (
    alpha_estimate,
    both_orders,
    even_p,
    nominal_alpha,
    ordinal_alpha,
    weighted_kappa,
    wilson,
)

KRIPPENDORFF = {
    "A": (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    "B": (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    "C": (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    "D": (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
}
"""The reliability data of Krippendorff (2011), Computing Krippendorff's Alpha-Reliability."""
COUNTS = [
    [values.count(category) for category in range(1, 6)]
    for values in zip(*KRIPPENDORFF.values(), strict=True)
]


def test_alpha_of_krippendorffs_example() -> None:
    """Nominal and ordinal alpha as he gives them in sections C and D."""
    assert round(nominal_alpha(COUNTS), 3) == 0.743
    assert round(ordinal_alpha(COUNTS), 3) == 0.815


def test_alpha_without_disagreement_or_without_judgements() -> None:
    for alpha in (nominal_alpha, ordinal_alpha):
        assert alpha([[2, 0], [0, 3]]) == 1
        assert math.isnan(alpha([[1, 0], [0, 1]]))
        assert math.isnan(alpha([[2, 0], [3, 0]]))
        assert math.isnan(alpha([]))


def test_two_categories_are_the_same_in_order_or_not() -> None:
    counts = [[3, 1], [2, 0], [1, 2], [0, 4]]
    assert ordinal_alpha(counts) == pytest.approx(nominal_alpha(counts))


def test_a_near_miss_counts_less_in_order() -> None:
    near = [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 2]]
    far = [[1, 0, 0, 1], [0, 2, 0, 0], [0, 0, 2, 0], [1, 0, 0, 1]]
    assert ordinal_alpha(near) > nominal_alpha(near)
    assert ordinal_alpha(far) < nominal_alpha(far)


def test_the_estimate_is_alpha_in_both_orders() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 3, (40, 5))
    groups = [f"prompt {unit // 2}" for unit in range(40)]
    for ordinal, alpha in ((False, nominal_alpha), (True, ordinal_alpha)):
        estimates = [
            alpha_estimate(table, groups, 500, np.random.default_rng(1), ordinal=ordinal)
            for table in (counts, counts[:, ::-1])
        ]
        assert astuple(estimates[0]) == pytest.approx(astuple(estimates[1]))
        assert estimates[0].value == pytest.approx(alpha(both_orders(counts)))
        assert estimates[0].low < estimates[0].value < estimates[0].high
        assert estimates[0].n == (counts.sum(axis=1) >= 2).sum()


def test_the_interval_is_the_bootstraps() -> None:
    """Against alpha of resampled prompts, drawn one by one."""
    generator = np.random.default_rng(5)
    counts = generator.integers(0, 3, (60, 3))
    groups = [str(unit // 3) for unit in range(60)]
    found = alpha_estimate(counts, groups, 4_000, generator)
    drawn = []
    for _ in range(2_000):
        chosen = generator.integers(0, 20, 20)
        drawn.append(nominal_alpha(both_orders(counts.reshape(20, 3, 3)[chosen].reshape(-1, 3))))
    low, high = np.quantile(drawn, [0.025, 0.975])
    # a quantile of 2,000 draws has a standard error of about 0.04 standard deviations
    tolerance = float(0.25 * np.std(drawn))
    assert found.low == pytest.approx(low, abs=tolerance)
    assert found.high == pytest.approx(high, abs=tolerance)


def test_perfect_agreement_has_no_interval() -> None:
    found = alpha_estimate([[2, 0], [0, 2]], ["a", "b"], 100, np.random.default_rng(0))
    assert found.value == 1 and math.isnan(found.low) and found.n == 2


def test_kappa_is_statsmodels_of_the_table_in_both_orders() -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.array([[11, 3, 1, 0, 1], [2, 9, 4, 1, 0], [0, 3, 8, 2, 0], [1, 0, 3, 7, 5],
                      [0, 0, 1, 2, 12]])  # fmt: skip
    expected = cohens_kappa((table + table[::-1, ::-1]) / 2, wt="quadratic")
    found = weighted_kappa(table)
    assert found.value == pytest.approx(expected.kappa)
    half = 1.959963985 * expected.std_kappa
    assert (found.low, found.high) == pytest.approx((expected.kappa - half, expected.kappa + half))
    assert found.n == table.sum()
    for same in (table[::-1, ::-1], table.T):
        assert astuple(weighted_kappa(same)) == pytest.approx(astuple(found))


def test_kappa_where_there_is_nothing_to_tell() -> None:
    assert math.isnan(weighted_kappa(np.zeros((5, 5))).value)
    ties = np.zeros((5, 5))
    ties[2, 2] = 9
    assert math.isnan(weighted_kappa(ties).value)
    assert weighted_kappa(np.diag([3, 0, 2, 0, 4])).value == pytest.approx(1)
    assert math.isnan(weighted_kappa(np.diag([3, 0, 2, 0, 4])).low)


def test_the_interval_of_a_proportion_is_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for successes, trials in ((7, 9), (0, 5), (5, 5), (120, 240)):
        found = wilson(successes, trials)
        bounds = proportion_confint(successes, trials, method="wilson")
        assert (found.low, found.high) == pytest.approx(bounds, abs=1e-9)
    assert math.isnan(wilson(0, 0).value) and wilson(0, 0).n == 0


def test_the_exact_p_by_hand() -> None:
    assert even_p(5, 5) == pytest.approx(2 / 32)
    assert even_p(1, 4) == pytest.approx(10 / 16)
    assert math.isnan(even_p(0, 0))

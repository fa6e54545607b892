"""Estimates, differences, families, verdicts: held to scipy, statsmodels, scikit-learn and hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import matthews_corrcoef
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from ethosteer.maths.metrics import BALANCED, CORRELATION, MEAN, SHARE, Quantity
from ethosteer.maths.statistics import (
    Clustered,
    Difference,
    Rules,
    cluster_sums,
    corrected,
    estimate,
    judge_family,
    mcnemar,
    mean_estimate,
    means,
    paired_difference,
    verdict,
)
from ethosteer.maths.uncertainty import UNKNOWN, Uncertainty
from ethosteer.records import Estimate

Floats = NDArray[np.float64]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shares(*seeds: list[int] | Floats, groups: list[str] | None = None) -> Clustered:
    return means([np.asarray(own, dtype=float) for own in seeds], groups, SHARE)


def confusions(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> Floats:
    return np.column_stack(
        [
            (predicted == 1) & (labels == 1),
            (predicted == 0) & (labels == 0),
            (predicted == 1) & (labels == 0),
            (predicted == 0) & (labels == 1),
        ]
    ).astype(float)


def correlation(
    labels: NDArray[np.int64], *answers: NDArray[np.int64], groups: list[str] | None = None
) -> Clustered:
    names = groups or [str(i) for i in range(len(labels))]
    return cluster_sums([confusions(labels, own) for own in answers], names, CORRELATION)


def width(found: Estimate) -> float:
    return found.high - found.low


# --- clusters and pseudo-values


def test_parts_are_summed_by_cluster_and_seed():
    tables = [np.array([[1.0, 1], [0, 1], [1, 1], [1, 1]]), np.array([[0.0, 1]] * 4)]
    found = cluster_sums(tables, ["twin", "alone", "twin", "other"], SHARE)
    assert found.sums.tolist() == [[[2, 2], [0, 1], [1, 1]], [[0, 2], [0, 1], [0, 1]]]
    assert (found.items, found.clusters, found.seeds) == (4, 3, 2)
    assert found.by_seed.tolist() == [0.75, 0.0]
    assert found.value == 3 / 8


def test_pseudo_values_of_a_mean_are_the_items_themselves():
    values = rng(1).normal(size=(2, 9))
    np.testing.assert_allclose(means(list(values)).pseudo_values, values)


def test_pseudo_values_of_a_correlation_are_those_of_leaving_out_each_cluster():
    generator = rng(2)
    labels, predicted = generator.integers(0, 2, (2, 24))
    groups = [str(i // 3) for i in range(24)]
    found = correlation(labels, predicted, groups=groups).pseudo_values
    whole = matthews_corrcoef(labels, predicted)
    for cluster in range(8):
        kept = np.array([i for i in range(24) if i // 3 != cluster])
        without = matthews_corrcoef(labels[kept], predicted[kept])
        assert found[0, cluster] == pytest.approx(8 * whole - 7 * without)


# --- one model


def test_the_interval_of_a_mean_is_students():
    values = rng(3).gamma(1.5, 1.0, 60)
    found = mean_estimate([values])
    low, high = stats.t.interval(0.95, 59, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-3)
    assert found.n == 60


def test_the_interval_of_a_share_is_that_of_two_more_items_of_either_kind():
    # 7 of 10 and two more of each: 9 of 14, with Student's t for 14 items
    found = estimate(shares([1] * 7 + [0] * 3))
    near = 9 / 14
    half = stats.t.ppf(0.975, 13) * math.sqrt(near * (1 - near) / 13)
    assert found.value == 0.7
    assert (found.low, found.high) == pytest.approx((near - half, near + half), rel=2e-3)


def test_all_right_is_not_certain():
    small, large = estimate(shares([1] * 30)), estimate(shares([1] * 300))
    assert small.value == large.value == 1.0
    assert small.high == large.high == 1.0
    assert 0.8 < small.low < large.low < 1.0


def test_twins_that_agree_count_as_one_item():
    single = rng(5).normal(size=100)
    alone = mean_estimate([single])
    clustered = mean_estimate([np.repeat(single, 2)], [f"pair {i // 2}" for i in range(200)])
    assert clustered.value == pytest.approx(alone.value)
    assert clustered.n == 200
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    naive = mean_estimate([np.repeat(single, 2)])
    assert width(clustered) / width(naive) == pytest.approx(math.sqrt(2), rel=0.02)


def test_seeds_that_differ_widen_the_interval_and_equal_seeds_do_not():
    base = (rng(9).random(200) < 0.5).astype(float)
    one, same = estimate(shares(base)), estimate(shares(base, base, base))
    assert width(same) == pytest.approx(width(one), rel=1e-2)
    apart = estimate(shares(base, np.ones(200), np.ones(200)))
    assert width(apart) > 5 * width(one)
    assert apart.high == 1.0, "a share stays one"


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (means([[1.0, 0.0, 1.0]], ["same"] * 3), 2 / 3),
        (means([[0.4] * 5]), 0.4),
        (correlation(np.array([0, 1] * 4), np.ones(8, dtype=np.int64)), 0.0),
    ],
    ids=["one cluster", "all values alike", "one answer to everything"],
)
def test_what_cannot_vary_has_a_value_and_no_interval(model, value):
    found = estimate(model)
    assert found.value == pytest.approx(value)
    assert math.isnan(found.low) and math.isnan(found.high)


def test_an_undefined_metric_has_neither():
    labels = np.ones(6, dtype=np.int64)
    names = [str(i) for i in range(6)]
    for quantity in (BALANCED, CORRELATION):
        found = estimate(cluster_sums([confusions(labels, labels)], names, quantity))
        assert all(math.isnan(number) for number in (found.value, found.low, found.high))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(values, random):
    groups = [str(i % 4) for i in range(len(values))]
    order = list(range(len(values)))
    random.shuffle(order)
    plain = mean_estimate([np.array(values, dtype=float)], groups)
    moved = mean_estimate(
        [np.array([values[i] for i in order], dtype=float)], [groups[i] for i in order]
    )
    np.testing.assert_allclose(
        [moved.value, moved.low, moved.high], [plain.value, plain.low, plain.high], atol=1e-9
    )


# --- paired differences


def test_the_interval_of_a_mean_difference_is_the_paired_t_interval():
    generator = rng(12)
    a = generator.normal(size=80)
    b = 0.9 * a + generator.normal(0.1, 0.3, size=80)
    found = paired_difference(means([a]), means([b]), 200, rng(13))
    theirs = stats.ttest_rel(a, b).confidence_interval()
    assert found.estimate.value == pytest.approx(np.mean(a - b))
    assert (found.estimate.low, found.estimate.high) == pytest.approx(
        (theirs.low, theirs.high), rel=1e-3
    )
    unpaired = math.hypot(np.std(a, ddof=1), np.std(b, ddof=1)) / math.sqrt(80)
    assert found.error.standard_error < 0.4 * unpaired, "pairing is what makes it narrow"


def test_the_interval_of_two_shares_is_bonetts_and_prices_by_hand():
    # 15 items right in a alone, 5 in b alone, 80 alike. With one more of each: 16, 6 of 102;
    # difference 10 / 102, its variance (22 / 102 - (10 / 102)^2) / 102, here over 101 and with t
    a = shares([1] * 15 + [0] * 5 + [1] * 40 + [0] * 40)
    b = shares([0] * 15 + [1] * 5 + [1] * 40 + [0] * 40)
    found = paired_difference(a, b, 200, rng())
    centre = 10 / 102
    half = stats.t.ppf(0.975, 101) * math.sqrt((22 / 102 - centre**2) / 101)
    assert found.estimate.value == pytest.approx(0.1)
    assert found.centre == pytest.approx(centre)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(
        (centre - half, centre + half), rel=2e-3
    )
    # McNemar: 2 P(X <= 5), X of 20 fair coins = 2 (1 + 20 + 190 + 1140 + 4845 + 15504) / 2^20
    assert found.p == pytest.approx(2 * 21700 / 2**20)


def test_equal_answers_prove_no_equality_but_more_of_them_come_nearer():
    few, many = ([1, 0] * 10, [1, 0] * 500)
    small = paired_difference(shares(few), shares(few), 200, rng())
    large = paired_difference(shares(many), shares(many), 200, rng())
    assert small.estimate.value == large.estimate.value == 0.0
    assert small.p == large.p == 1.0
    assert width(small.estimate) > 10 * width(large.estimate) > 0
    assert small.equivalence_p(0.05) > 0.05 > large.equivalence_p(0.05)


def test_equal_correlations_tell_nothing():
    labels, predicted = rng(4).integers(0, 2, (2, 40))
    model = correlation(labels, predicted)
    found = paired_difference(model, model, 200, rng())
    assert found.estimate.value == 0.0
    assert found.p == 1.0
    assert all(map(math.isnan, (found.estimate.low, found.estimate.high, found.equivalence_p(0.5))))
    (judged,) = judge_family([found], "higher", Rules(margin=0.5))
    assert judged.verdict == "undecided"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_mcnemar_is_statsmodels_exact_test(answers):
    a, b = (np.array(own) for own in zip(*answers, strict=True))
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    expected = statsmodels_mcnemar(table, exact=True).pvalue if np.sum(a ^ b) else 1.0
    assert mcnemar(a, b) == pytest.approx(expected)
    found = paired_difference(shares(a.astype(float)), shares(b.astype(float)), 200, rng())
    assert found.p == mcnemar(a, b)


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
def test_p_of_a_mean_is_scipys_exact_paired_permutation_test(shift):
    generator = rng(15)
    a, b = generator.normal(shift, 1, 9), generator.normal(0, 1, 9)
    exact = stats.permutation_test(  # all 2^9 swaps, since more were asked for
        (a, b),
        lambda x, y: np.mean(x) - np.mean(y),
        permutation_type="samples",
        n_resamples=10_000,
    ).pvalue
    found = paired_difference(means([a]), means([b]), 20_000, rng(16)).p
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_p_of_a_correlation_is_that_of_all_swaps_counted_out():
    generator = rng(17)
    groups = np.array(["a", "a", "b", "b", "c", "d", "e", "f", "g", "h"])
    labels = generator.integers(0, 2, 10)
    a = np.where(generator.random(10) < 0.85, labels, 1 - labels)
    b = generator.integers(0, 2, 10)
    observed = abs(matthews_corrcoef(labels, a) - matthews_corrcoef(labels, b))
    extreme = []
    for swapped in itertools.product([False, True], repeat=8):
        swap = np.array([swapped["abcdefgh".index(name)] for name in groups])
        x, y = np.where(swap, b, a), np.where(swap, a, b)
        moved = abs(matthews_corrcoef(labels, x) - matthews_corrcoef(labels, y))
        extreme.append(moved >= observed - 1e-12)
    exact = float(np.mean(extreme))
    assert 0.02 < exact < 0.9, "a case that can tell"
    names = list(groups)
    found = paired_difference(
        correlation(labels, a, groups=names), correlation(labels, b, groups=names), 20_000, rng(18)
    ).p
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_twins_swap_together():
    generator = rng(19)
    a = (generator.random(20) < 0.7).astype(float)
    b = (generator.random(20) < 0.4).astype(float)
    groups = [str(i // 2) for i in range(40)]
    twins = paired_difference(
        shares(np.repeat(a, 2), groups=groups),
        shares(np.repeat(b, 2), groups=groups),
        20_000,
        rng(20),
    )
    single = mcnemar(a > 0, b > 0)
    assert twins.p == pytest.approx(single, abs=0.02)
    assert mcnemar(np.repeat(a, 2) > 0, np.repeat(b, 2) > 0) < 0.5 * single


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_turning_the_comparison_round_turns_the_sign_and_nothing_else(seed, seeds):
    labels = rng(seed).integers(0, 2, 20)
    groups = list("abcde" * 4)
    a, b = (
        correlation(labels, *rng(seed + 1 + i).integers(0, 2, (seeds, 20)), groups=groups)
        for i in range(2)
    )
    there, back = paired_difference(a, b, 200, rng(1)), paired_difference(b, a, 200, rng(1))
    assert back.p == pytest.approx(there.p)
    assert back.estimate.value == -there.estimate.value
    assert back.estimate.low == pytest.approx(-there.estimate.high, nan_ok=True)
    assert back.estimate.high == pytest.approx(-there.estimate.low, nan_ok=True)


def test_with_seeds_p_is_of_items_and_seeds_together():
    # every seed of the arm is better on every item, but by how much is its own luck
    items = rng(24).normal(size=50)
    arm = means([items + shift for shift in (0.1, 0.9, 2.0)])
    found = paired_difference(arm, means([items]), 5000, rng())
    assert found.estimate.value == pytest.approx(1.0)
    # the items do not vary at all, so it is the t-test of three shifts
    assert found.p == pytest.approx(stats.ttest_1samp([0.1, 0.9, 2.0], 0).pvalue, rel=5e-3)
    one = paired_difference(
        means([items + 1.0]), means([items + rng(1).normal(0, 0.1, 50)]), 5000, rng()
    )
    assert one.p < 0.001 < 0.05 < found.p


def test_arms_of_the_same_seeds_are_paired_seed_by_seed():
    noise = rng(25).normal(size=(2, 3, 30))
    luck = np.array([[-5.0], [0.0], [5.0]])
    a, b = means(list(noise[0] + luck)), means(list(noise[1] + luck))
    paired = paired_difference(a, b, 200, rng())
    assert paired.error.seeds < 0.1, "what the seeds have in common is no difference"
    other = means([*(noise[1] + luck), noise[1, 0]])
    assert paired_difference(a, other, 200, rng()).error.seeds > 5


def test_models_of_different_items_cannot_be_paired():
    with pytest.raises(ValueError, match="same items"):
        paired_difference(means([np.ones(4)]), means([np.ones(5)]), 200, rng())


def test_one_cluster_has_a_difference_but_neither_interval_nor_p():
    groups = ["same"] * 3
    a, b = means([np.arange(3.0)], groups), means([np.zeros(3)], groups)
    found = paired_difference(a, b, 200, rng())
    assert found.estimate.value == 1.0
    assert all(map(math.isnan, (found.estimate.low, found.estimate.high, found.p)))


# --- families, power, verdicts


@settings(deadline=None, max_examples=8)  # statsmodels collects garbage at every call, slowly
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@pytest.mark.parametrize(("ours", "theirs"), [("holm", "holm"), ("bh", "fdr_bh")])
def test_corrections_are_statsmodels(ours, theirs, p_values):
    expected = multipletests(p_values, method=theirs)[1]
    assert corrected(p_values, ours) == pytest.approx(list(expected), abs=1e-12)


def test_holm_by_hand():
    # sorted 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 = 0.02, 0.03, 0.06, 0.04; never falling: 0.06
    assert corrected([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_has_no_p_is_left_out_of_the_family():
    for correction in ("holm", "bh"):
        found = corrected([0.01, math.nan, 0.04], correction)
        assert (found[0], found[2]) == pytest.approx((0.02, 0.04))
        assert math.isnan(found[1])
        assert corrected([], correction) == []
        assert math.isnan(corrected([math.nan], correction)[0])


@pytest.mark.parametrize("margin", [0.1, 0.3, 0.6])
def test_equivalence_is_statsmodels_two_one_sided_tests(margin):
    generator = rng(26)
    b = generator.normal(size=40)
    a = b + generator.normal(0.1, 0.5, size=40)
    found = paired_difference(means([a]), means([b]), 200, rng())
    assert found.equivalence_p(margin) == pytest.approx(
        ttost_paired(a, b, -margin, margin)[0], rel=5e-3
    )


def with_error(error: Uncertainty, value: float = 0.0) -> Difference:
    half = error.quantile(0.975)
    return Difference(Estimate(value, value - half, value + half, 99), 0.5, value, error)


def test_the_smallest_detectable_difference_is_that_of_statsmodels_power():
    for items, sd in ((30, 0.5), (400, 1.0)):
        found = with_error(Uncertainty(sd**2 / items, items - 1.0)).smallest_detectable(0.05)
        theirs = TTestPower().solve_power(nobs=items, alpha=0.05, power=0.8) * sd
        assert found == pytest.approx(theirs, rel=0.01)
    # by hand, with as many items as make t normal: z(.995) + z(.9) = 2.575829 + 1.281552
    many = with_error(Uncertainty(1e-4, 1e6))
    assert many.smallest_detectable(0.01, 0.9) == pytest.approx(0.03857381, rel=1e-3)


def test_the_clusters_that_an_effect_needs_are_those_of_statsmodels_power():
    error = Uncertainty(0.25 / 50, 49.0)  # 50 items of sd 0.5
    found = with_error(error).clusters_needed(0.1, 0.05)
    theirs = TTestPower().solve_power(effect_size=0.1 / 0.5, alpha=0.05, power=0.8)
    assert found == pytest.approx(theirs, rel=0.01)
    enough = with_error(error.with_clusters(found)).smallest_detectable(0.05)
    short = with_error(error.with_clusters(found - 1)).smallest_detectable(0.05)
    assert enough <= 0.1 < short


def test_no_number_of_items_makes_up_for_seeds_that_differ():
    apart = with_error(Uncertainty(0.005, 49.0, 0.02, 2.0))
    assert apart.clusters_needed(0.05, 0.05) == math.inf
    assert math.isfinite(
        with_error(Uncertainty(0.005, 49.0, 1e-6, 2.0)).clusters_needed(0.05, 0.05)
    )
    assert math.isnan(with_error(UNKNOWN).clusters_needed(0.05, 0.05))


def test_a_family_is_corrected_together_and_judged_at_its_strictest_step():
    noise = rng(27).normal(size=(3, 60))
    control = means([noise[0]])
    arms = [means([noise[0] + 0.9 + 0.1 * noise[1]]), means([noise[0] + 0.02 * noise[2]])]
    differences = [paired_difference(arm, control, 999, rng()) for arm in arms]
    rules = Rules(margin=0.3, effect=0.1)
    first, second = judge_family(differences, "higher", rules)
    assert first.adjusted_p == pytest.approx(2 * differences[0].p)
    assert (first.verdict, second.verdict) == ("better", "equivalent")
    assert second.equivalence_p == pytest.approx(2 * differences[1].equivalence_p(0.3))
    assert first.smallest_detectable == differences[0].smallest_detectable(0.025)
    assert first.clusters_needed == differences[0].clusters_needed(0.1, 0.025)
    lower, _ = judge_family(differences, "lower", rules)
    assert lower.verdict == "worse"
    plain, _ = judge_family(differences, "higher", Rules())
    assert math.isnan(plain.equivalence_p) and math.isnan(plain.clusters_needed)
    assert judge_family([], "higher", rules) == []


UP, DOWN = Estimate(0.10, 0.02, 0.18, 99), Estimate(-0.10, -0.18, -0.02, 99)
WIDE = Estimate(0.01, -0.09, 0.11, 99)
UNSURE = Estimate(0.01, math.nan, math.nan, 99)


@pytest.mark.parametrize(
    ("difference", "p", "equivalence", "better", "expected"),
    [
        (UP, 0.01, math.nan, "higher", "better"),
        (DOWN, 0.01, math.nan, "higher", "worse"),
        (UP, 0.01, math.nan, "lower", "worse"),
        (DOWN, 0.01, math.nan, "lower", "better"),
        (UP, 0.01, math.nan, "none", "different"),  # no side is good
        (UP, 0.05, math.nan, "higher", "undecided"),  # p must be below alpha
        (WIDE, 0.01, math.nan, "higher", "undecided"),  # the interval must leave out 0
        (UP, 0.01, 0.2, "higher", "better"),  # not shown to lie within the margin
        (UP, 0.01, 0.01, "higher", "equivalent"),  # what was declared not to matter does not
        (WIDE, 0.5, 0.049, "none", "equivalent"),
        (WIDE, 0.5, 0.05, "higher", "undecided"),
        (UNSURE, math.nan, math.nan, "higher", "undecided"),
    ],
)
def test_verdicts(difference, p, equivalence, better, expected):
    assert verdict(difference, p, equivalence, better, 0.05) == expected


def test_a_metric_of_ones_own_is_treated_like_any_other():
    root = Quantity(lambda sums: np.sqrt(sums[..., 0] / sums[..., 1]))
    values = rng(28).uniform(1, 3, size=200)
    table = np.stack([values, np.ones(200)], axis=1)
    found = estimate(cluster_sums([table], [str(i) for i in range(200)], root))
    mean, error = values.mean(), stats.sem(values)
    # the delta method: the error of a root is that of the mean over twice the root
    assert found.value == pytest.approx(math.sqrt(mean))
    assert width(found) / 2 == pytest.approx(1.972 * error / (2 * math.sqrt(mean)), rel=0.02)
    assert means([values]).quantity is MEAN

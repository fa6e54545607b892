"""Estimates and differences, against other implementations and by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import matthews_corrcoef
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from ethosteer.results.estimates import Estimate
from ethosteer.statistics.metrics import BALANCED, CORRELATION, MEAN, PROPORTION, Quantity
from ethosteer.statistics.paired import (
    Clustered,
    Difference,
    cluster_sums,
    clustered_values,
    estimate,
    mcnemar,
    mean_estimate,
    paired_difference,
)
from ethosteer.statistics.uncertainty import UNKNOWN, Uncertainty
from ethosteer.statistics.verdicts import Rules
from tests.statistics.small import alone, answers, averages, compare, rng, shares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def correlation(
    labels: Ints, *seeds: Ints, groups: list[str] | None = None, quantity: Quantity = CORRELATION
) -> Clustered:
    """Predictions of each seed, to be held to ``labels``."""
    tables = [
        np.column_stack(
            [
                (own == 1) & (labels == 1),
                (own == 0) & (labels == 0),
                (own == 1) & (labels == 0),
                (own == 0) & (labels == 1),
            ]
        ).astype(float)
        for own in seeds
    ]
    return cluster_sums(tables, groups or [str(i) for i in range(len(labels))], quantity)


def width(found: Estimate) -> float:
    return found.high - found.low


def bounds(found: Estimate) -> tuple[float, float]:
    return found.low, found.high


# --- clusters and pseudo-values


def test_parts_are_summed_by_cluster_and_seed_and_values_averaged_over_seeds():
    tables = [np.array([[1.0, 1], [0, 1], [1, 1], [1, 1]]), np.array([[0.0, 1]] * 4)]
    found = cluster_sums(tables, ["twin", "alone", "twin", "other"], PROPORTION)
    assert found.sums.tolist() == [
        [[2, 2], [0, 1], [1, 1]],
        [[0, 2], [0, 1], [0, 1]],
    ]
    assert (found.items, found.clusters, found.seeds) == (4, 3, 2)
    assert found.by_seed.tolist() == [0.75, 0.0]
    assert found.value == 3 / 8


def test_a_correlation_is_averaged_over_seeds_and_not_taken_of_all_answers_at_once():
    labels = np.array([1, 1, 0, 0])
    found = correlation(labels, labels, 1 - labels, np.array([1, 0, 1, 0]))
    assert found.by_seed.tolist() == [1, -1, 0]
    assert found.value == 0


def test_pseudo_values_of_a_mean_are_the_items_own_or_their_equal_clusters_means():
    values = rng(1).normal(size=(2, 12))
    assert averages(values).pseudo_values == pytest.approx(values)
    groups = [str(i // 3) for i in range(12)]
    by_cluster = values.reshape(2, 4, 3).mean(axis=2)
    assert averages(values, groups).pseudo_values == pytest.approx(by_cluster)


def test_pseudo_values_of_a_correlation_leave_out_each_cluster_in_turn():
    draw = rng(2)
    labels = draw.integers(0, 2, 24)
    predicted = [np.where(draw.random(24) < 0.75, labels, 1 - labels) for _ in range(2)]
    groups = np.array([str(i % 9) for i in range(24)])
    found = correlation(labels, *predicted, groups=list(groups)).pseudo_values
    for seed, own in enumerate(predicted):
        whole = matthews_corrcoef(labels, own)
        for cluster in range(9):
            kept = groups != str(cluster)
            without = matthews_corrcoef(labels[kept], own[kept])
            assert found[seed, cluster] == pytest.approx(9 * whole - 8 * without)


def test_pseudo_values_vary_as_the_correlation_does():
    draw = rng(3)
    labels = draw.integers(0, 2, (400, 150))
    wrong = draw.random((400, 150)) < 0.3
    models = [correlation(own, np.where(w, 1 - own, own)) for own, w in zip(labels, wrong)]  # noqa: B905
    true = np.std([model.value for model in models])
    own = [stats.sem(model.pseudo_values[0]) for model in models]
    assert np.mean(own) == pytest.approx(true, rel=0.1)


# --- estimates


@pytest.mark.parametrize(("right", "of"), [(30, 30), (0, 30), (21, 30), (350, 500), (3, 4)])
def test_a_shares_interval_is_agresti_and_coulls_with_students_t(right, of):
    found = estimate(shares(answers(right, of)))
    assert (found.value, found.n) == (right / of, of)
    # statsmodels adds z^2 / 2 = 1.92 items of either kind and takes z; ours are 2 of either and t:
    # 4 items more, their variance over one fewer, t of n + 3 degrees of freedom.
    middle = (right + 2) / (of + 4)
    half = stats.t.ppf(0.975, of + 3) * math.sqrt(middle * (1 - middle) / (of + 3))
    expected = max(0.0, middle - half), min(1.0, middle + half)
    assert bounds(found) == pytest.approx(expected, abs=1e-4)
    theirs = proportion_confint(right, of, method="agresti_coull")
    assert bounds(found) == pytest.approx(theirs, abs=0.4 / of)


def test_a_means_interval_is_students():
    values = rng(4).gamma(1.5, 1.0, 25)
    found = mean_estimate([values])
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.value == pytest.approx(values.mean())
    assert bounds(found) == pytest.approx((theirs.low, theirs.high), rel=1e-4)
    lower = stats.ttest_1samp(values, 0).confidence_interval(0.8)
    assert bounds(estimate(averages([values]), 0.8)) == pytest.approx(tuple(lower), rel=1e-4)


def test_intervals_stay_within_what_the_quantity_can_be():
    assert estimate(shares(answers(30, 30))).high == 1.0
    assert estimate(shares(answers(0, 30))).low == 0.0
    labels = np.array([1, 0] * 10)
    nearly = labels.copy()
    nearly[0] = 0
    assert estimate(correlation(labels, nearly)).high == 1.0
    assert mean_estimate([[5.0, 9.0]]).low < 0, "a mean has no bounds"


def test_twins_that_agree_count_as_one_item():
    single = (rng(5).random(100) < 0.6).astype(float)
    groups = [f"pair {i // 2}" for i in range(200)]
    twins = np.repeat(single, 2)
    own, clustered = estimate(shares(single)), estimate(shares(twins, groups=groups))
    assert (clustered.value, clustered.n) == (own.value, 200)
    assert bounds(clustered) == pytest.approx(bounds(own))
    # without clusters the same 200 items would seem to know sqrt(2) times better
    naive = estimate(shares(twins))
    assert width(clustered) / width(naive) == pytest.approx(math.sqrt(2), rel=0.02)


def test_few_clusters_that_are_all_right_are_as_unsure_as_so_few_items():
    whole = estimate(shares(np.ones(400), groups=[str(i // 20) for i in range(400)]))
    assert bounds(whole) == pytest.approx(bounds(estimate(shares(np.ones(20)))))


def test_seeds_that_differ_widen_the_interval():
    base = (rng(9).random(200) < 0.5).astype(float)
    one, same = estimate(shares(base)), estimate(shares(base, base, base))
    assert bounds(same) == pytest.approx(bounds(one), abs=2e-4), "seeds that are all alike"
    other = np.concatenate([np.ones(30), base[30:]])
    assert width(estimate(shares(base, other))) > 2 * width(one)


def test_one_cluster_has_no_interval():
    for quantity in (MEAN, PROPORTION):
        found = mean_estimate([[1.0, 0.0, 1.0]], ["same"] * 3, quantity)
        assert found.value == pytest.approx(2 / 3)
        assert math.isnan(found.low) and math.isnan(found.high)


def test_an_undefined_metric_has_no_interval():
    labels = np.ones(6, dtype=np.int64)
    for quantity in (BALANCED, CORRELATION):
        found = estimate(correlation(labels, labels, quantity=quantity))
        assert all(math.isnan(number) for number in (found.value, found.low, found.high))
    # a class of one item: the correlation is defined, but not without that item
    lone = np.array([1, 0, 0, 0, 0, 0])
    found = estimate(correlation(lone, np.array([1, 1, 0, 0, 0, 0])))
    assert found.value == pytest.approx(matthews_corrcoef(lone, [1, 1, 0, 0, 0, 0]))
    assert math.isnan(found.low) and math.isnan(found.high)


def test_a_mean_whose_items_are_all_alike_has_no_interval_and_a_share_has():
    found = mean_estimate([[0.5] * 30])
    assert found.value == 0.5
    assert math.isnan(found.low)
    # 32 of 34: 0.941176, variance 0.941176 * 0.058824 / 33 = 0.00167769, t of 33 degrees 2.034515
    whole = estimate(shares(np.ones(30)))
    assert bounds(whole) == pytest.approx((0.941176 - 2.034515 * 0.0409596, 1.0), abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 5), min_size=4, max_size=30),
    st.randoms(use_true_random=False),
    st.sampled_from([MEAN, PROPORTION]),
)
def test_the_order_of_items_does_not_matter(values, random, quantity):
    if quantity.is_proportion:
        values = [value % 2 for value in values]
    groups = [str(i % 4) for i in range(len(values))]
    order = random.sample(range(len(values)), len(values))
    plain = mean_estimate([values], groups, quantity)
    shuffled = mean_estimate([[values[i] for i in order]], [groups[i] for i in order], quantity)
    numbers = [(own.value, own.low, own.high) for own in (shuffled, plain)]
    assert numbers[0] == pytest.approx(numbers[1], nan_ok=True)


# --- paired differences: intervals


@pytest.mark.parametrize(
    ("both", "only_a", "only_b", "neither"), [(20, 10, 3, 7), (10, 0, 0, 10), (0, 9, 0, 0)]
)
def test_a_paired_difference_of_shares_is_bonett_and_prices(both, only_a, only_b, neither):
    a = np.array([1.0] * both + [1.0] * only_a + [0.0] * only_b + [0.0] * neither)
    b = np.array([1.0] * both + [0.0] * only_a + [1.0] * only_b + [0.0] * neither)
    n = both + only_a + only_b + neither
    found = compare(shares(a), shares(b))
    assert found.estimate.value == pytest.approx((only_a - only_b) / n)
    # Laplace estimates of both kinds of disagreement; n + 1 and t of n + 1 in place of n + 2 and z
    p12, p21 = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    variance = (p12 + p21 - (p12 - p21) ** 2) / (n + 1)
    half = stats.t.ppf(0.975, n + 1) * math.sqrt(variance)
    expected = (p12 - p21 - half, min(1.0, p12 - p21 + half))
    assert found.centre == pytest.approx(p12 - p21)
    assert bounds(found.estimate) == pytest.approx(expected, abs=1e-4)


def test_bonett_and_prices_formula_by_hand():
    # 40 items, 10 to 3: (11 - 4) / 42 = 1/6 and variance (15/42 - 1/36) / 41 = 0.00803330;
    # t of 41 degrees 2.019541, times the root 0.0896287: 0.181009
    a = np.array([1.0] * 10 + [0.0] * 3 + [1.0] * 27)
    b = np.array([0.0] * 10 + [1.0] * 3 + [1.0] * 27)
    found = compare(shares(a), shares(b))
    assert bounds(found.estimate) == pytest.approx((-0.014342, 0.347676), abs=1e-4)


def test_the_interval_of_a_difference_of_means_is_the_paired_t():
    draw = rng(12)
    a = draw.normal(size=80)
    b = 0.9 * a + draw.normal(0.1, 0.3, size=80)
    found = compare(averages([a]), averages([b]))
    theirs = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.estimate.value == pytest.approx(np.mean(a - b))
    assert bounds(found.estimate) == pytest.approx((theirs.low, theirs.high), rel=1e-4)
    # pairing is what makes it narrow
    assert found.error.standard_error < 0.4 * math.hypot(stats.sem(a), stats.sem(b))


def test_arms_with_as_many_seeds_are_paired_seed_by_seed():
    values, draw = rng(6).normal(size=40), rng(7)
    good, bad = values + 0.5, values - 0.5
    noise = draw.normal(scale=0.1, size=(4, 40))
    together = compare(averages([good + noise[0], bad + noise[1]]), averages([good, bad]))
    crossed = compare(averages([good + noise[0], bad + noise[1]]), averages([bad, good]))
    assert together.estimate.value == pytest.approx(crossed.estimate.value)
    assert width(crossed.estimate) > 10 * width(together.estimate)


def test_a_control_with_one_seed_stands_as_it_is():
    draw = rng(8)
    arm = draw.normal(size=(3, 30)) + np.array([[0.0], [0.3], [0.9]])
    control = draw.normal(size=(1, 30))
    found = compare(averages(arm), averages(control))
    assert found.estimate.value == pytest.approx(arm.mean() - control.mean())
    own = compare(averages(arm - control), averages(np.zeros((1, 30))))
    assert bounds(found.estimate) == pytest.approx(bounds(own.estimate))
    assert (found.error.seed_df, found.error.item_df) == (2, 29)


def test_other_numbers_of_seeds_than_one_are_not_paired():
    draw = rng(9)
    a, b = draw.normal(size=(2, 50)), draw.normal(size=(5, 50))
    found = compare(averages(a), averages(b))
    assert found.error.seed_df == 1
    of_seeds = stats.sem(a.mean(axis=1)) ** 2 + stats.sem(b.mean(axis=1)) ** 2
    assert found.error.seed_variance == pytest.approx(of_seeds)


def test_models_of_different_items_cannot_be_paired():
    with pytest.raises(ValueError, match="same items"):
        compare(shares(np.ones(4)), shares(np.ones(5)))
    with pytest.raises(ValueError, match="same clusters"):
        compare(shares(np.ones(4)), shares(np.ones(4), groups=list("aabb")))


# --- paired differences: p


@pytest.mark.parametrize(("only_a", "only_b"), [(10, 3), (3, 10), (6, 6), (1, 0), (0, 0), (12, 1)])
def test_p_of_single_items_is_mcnemars_exact(only_a, only_b):
    a = np.array([1.0] * only_a + [0.0] * only_b + [1.0, 0.0, 1.0])
    b = np.array([0.0] * only_a + [1.0] * only_b + [1.0, 0.0, 1.0])
    theirs = statsmodels_mcnemar([[2, only_a], [only_b, 1]], exact=True).pvalue
    assert mcnemar(a > 0, b > 0) == pytest.approx(theirs)
    assert compare(shares(a), shares(b), swaps=1).p == pytest.approx(theirs), "no swaps are drawn"


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
def test_p_of_a_mean_is_scipys_exact_paired_permutation_test(shift):
    draw = rng(15)
    a, b = draw.normal(shift, 1, 9), draw.normal(0, 1, 9)
    exact = stats.permutation_test(  # all 2^9 swaps, since more were asked for
        (a, b),
        lambda x, y: np.mean(x) - np.mean(y),
        permutation_type="samples",
        n_resamples=10_000,
    ).pvalue
    found = compare(averages([a]), averages([b]), 20_000, 16).p
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


@pytest.mark.parametrize("quantity", [CORRELATION, PROPORTION], ids=["mcc", "clustered share"])
def test_p_of_clusters_is_that_of_all_swaps_counted_out(quantity):
    draw = rng(17)
    groups = np.array(["a", "a", "b", "b", "c", "d", "e", "f", "g", "h"])
    labels = draw.integers(0, 2, 10)
    a = np.where(draw.random(10) < 0.85, labels, 1 - labels)
    b = draw.integers(0, 2, 10)

    def metric(predicted: Ints) -> float:
        if quantity.is_proportion:
            return float(np.mean(predicted == labels))
        return float(matthews_corrcoef(labels, predicted))

    def model(predicted: Ints) -> Clustered:
        if quantity.is_proportion:
            return shares((predicted == labels).astype(float), groups=list(groups))
        return correlation(labels, predicted, groups=list(groups))

    observed = abs(metric(a) - metric(b))
    extreme = []
    for swapped in itertools.product([False, True], repeat=8):
        swap = np.array([swapped["abcdefgh".index(name)] for name in groups])
        moved = abs(metric(np.where(swap, b, a)) - metric(np.where(swap, a, b)))
        extreme.append(moved >= observed - 1e-12)
    exact = float(np.mean(extreme))
    assert 0.02 < exact < 0.9  # a case that can tell
    found = compare(model(a), model(b), 20_000, 18).p
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_the_smallest_p_of_swaps_is_one_over_all_draws():
    assert compare(averages([np.ones(60)]), averages([np.zeros(60)]), 199).p == 1 / 200


def test_swaps_that_leave_a_metric_undefined_count_as_extreme():
    # either model answers one half of the items only, and its correlation is of that half; a swap
    # of the fourth cluster takes its only 1-labelled item from one of them
    labels = np.array([1, 0, 0, 1, 0, 0])
    a, b = np.array([1, 0, 0, 9, 9, 9]), np.array([9, 9, 9, 0, 0, 1])
    found = compare(correlation(labels, a), correlation(labels, b), 4000)
    outcomes = []
    for swapped in itertools.product([False, True], repeat=6):
        x, y = np.where(swapped, b, a), np.where(swapped, a, b)
        sides = [(labels[z < 9], z[z < 9]) for z in (x, y)]
        if any(len(set(seen)) < 2 for seen, _ in sides):
            outcomes.append(True)
        else:
            moved = abs(matthews_corrcoef(*sides[0]) - matthews_corrcoef(*sides[1]))
            outcomes.append(moved >= 1.5 - 1e-12)
    assert found.estimate.value == pytest.approx(1.5)
    assert found.p == pytest.approx(np.mean(outcomes), abs=0.03)


def test_twins_swap_together():
    draw = rng(19)
    a, b = draw.normal(0.3, 1, 20), draw.normal(0.0, 1, 20)
    groups = [str(i // 2) for i in range(40)]
    single = compare(averages([a]), averages([b]), 2000, 20)
    twice = [np.repeat(own, 2) for own in (a, b)]
    twins = compare(averages(twice[:1], groups), averages(twice[1:], groups), 2000, 20)
    assert twins.p == single.p
    assert twins.error.standard_error == pytest.approx(single.error.standard_error)
    naive = compare(averages(twice[:1]), averages(twice[1:]), 2000, 20)
    assert naive.p < single.p


def test_with_seeds_p_is_where_the_interval_reaches_0():
    draw = rng(21)
    a, b = draw.normal(0.6, 1, (3, 40)) + draw.normal(size=(3, 1)) / 5, draw.normal(size=(3, 40))
    found = compare(averages(a), averages(b), swaps=1)
    assert 0.001 < found.p < 0.5
    level = 1 - found.p
    low, high = paired_difference(averages(a), averages(b), 1, rng()).interval(level)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)


def test_the_same_answers_from_every_seed_are_judged_by_items_alone():
    draw = rng(22)
    a, b = draw.normal(0.4, 1, 30), draw.normal(0, 1, 30)
    found = compare(averages([a] * 3), averages([b] * 3))
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=0.01)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3), st.sampled_from(["mcc", "share"])
)
def test_turning_the_comparison_round_turns_the_sign_and_nothing_else(seed, of_a, of_b, kind):
    draw = rng(seed)
    labels, groups = np.array([0, 1] * 10), list("abcde" * 4)
    a, b = ([draw.integers(0, 2, 20) for _ in range(count)] for count in (of_a, of_b))
    if kind == "mcc":
        first, second = (correlation(labels, *own, groups=groups) for own in (a, b))
    else:
        first, second = (
            shares(*(each.astype(np.float64) for each in own), groups=groups) for own in (a, b)
        )
    there, back = compare(first, second), compare(second, first)
    assert back.p == pytest.approx(there.p, nan_ok=True)
    assert back.centre == pytest.approx(-there.centre)
    assert back.estimate.value == pytest.approx(-there.estimate.value)
    numbers = [back.estimate.low, back.estimate.high, back.error.standard_error]
    expected = [-there.estimate.high, -there.estimate.low, there.error.standard_error]
    assert numbers == pytest.approx(expected, nan_ok=True)


# --- what cannot be known


def test_identical_shares_are_the_better_known_to_be_equal_the_more_items():
    found = [compare(shares(answers(n // 2, n)), shares(answers(n // 2, n))) for n in (10, 40, 160)]
    assert [own.estimate.value for own in found] == [0, 0, 0]
    assert [own.p for own in found] == [1, 1, 1]
    widths = [width(own.estimate) for own in found]
    # of all n + 2 items 1 and -1 differ: variance 2 / (n + 2) / (n + 1)
    expected = [
        2 * stats.t.ppf(0.975, n + 1) * math.sqrt(2 / (n + 2) / (n + 1)) for n in (10, 40, 160)
    ]
    assert widths == pytest.approx(expected, rel=1e-3)
    verdicts = [alone(own, Rules(margin=0.05)).verdict for own in found]
    assert verdicts == ["undecided", "undecided", "equivalent"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_of_identical_correlations_and_means_nothing_is_known(seeds):
    draw = rng(23)
    labels, predicted = draw.integers(0, 2, 50), draw.integers(0, 2, (seeds, 50))
    for model in (correlation(labels, *predicted), averages(predicted.astype(float))):
        found = compare(model, model)
        assert found.estimate.value == 0
        assert all(math.isnan(bound) for bound in bounds(found.estimate))
        # swapping equal answers changes nothing; of seeds that differ by nothing there is no p
        assert found.p == 1.0 if seeds == 1 else math.isnan(found.p)
        judged = alone(found, Rules(margin=0.5, effect=0.1))
        assert judged.verdict == "undecided"
        assert math.isnan(judged.equivalence_p)
        assert math.isnan(judged.minimum_detectable[0])
        assert math.isnan(judged.clusters_needed[0])


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_cluster_has_a_difference_and_nothing_else(seeds):
    groups = ["same"] * 300
    a, b = (shares(*[answers(right, 300)] * seeds, groups=groups) for right in (150, 151))
    found = compare(a, b)
    assert found.estimate.value == pytest.approx(-1 / 300)
    assert math.isnan(found.estimate.low) and math.isnan(found.p)
    assert alone(found, Rules(margin=0.1)).verdict == "undecided"


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_undefined_difference_is_undecided(seeds):
    labels = np.ones(6, dtype=np.int64)
    a, b = correlation(labels, *[labels] * seeds), correlation(labels, *[1 - labels] * seeds)
    found = compare(a, b)
    assert math.isnan(found.estimate.value) and math.isnan(found.p)
    judged = alone(found, Rules(margin=0.1))
    assert math.isnan(judged.adjusted_p)
    assert judged.verdict == "undecided"


# --- equivalence and power


@pytest.mark.parametrize("margin", [0.1, 0.3, 0.8])
def test_equivalence_of_means_is_statsmodels_two_one_sided_tests(margin):
    draw = rng(24)
    a = draw.normal(0.1, 0.5, 40)
    # symmetric, with no tails heavier than the normal distribution's: either would widen
    half = draw.uniform(-1.2, 1.2, 20)
    b = a - 0.1 + np.concatenate([half, -half])
    theirs, _, _ = ttost_paired(a, b, -margin, margin)
    assert compare(averages([a]), averages([b])).equivalence_p(margin) == pytest.approx(
        theirs, rel=2e-3
    )
    assert compare(averages([b]), averages([a])).equivalence_p(margin) == pytest.approx(
        theirs, rel=2e-3
    )


def with_positives(count: int, items: int = 400) -> Difference:
    """Two models that differ on a tenth of either class, of which one has ``count`` items."""
    labels = np.arange(items) < count
    right = np.ones((2, items), dtype=bool)
    right[0, :count:10] = False
    right[1, count::10] = False
    tables = [
        np.stack([hit & labels, hit & ~labels, ~hit & ~labels, ~hit & labels], axis=-1)
        for hit in right
    ]
    a, b = (
        cluster_sums([table.astype(float)], [str(index) for index in range(items)], BALANCED)
        for table in tables
    )
    assert a.rarest_class == min(count, items - count)
    return compare(a, b)


def test_equivalence_is_not_tested_where_a_class_has_few_items():
    assert math.isnan(with_positives(20).equivalence_p(0.2))
    assert with_positives(200).equivalence_p(0.2) < 0.001
    assert not math.isnan(with_positives(20).p), "the difference itself is tested as ever"


def test_equivalence_is_not_tested_where_few_items_carry_the_error():
    a = rng(31).normal(size=400)
    rare = a + np.where(np.arange(400) < 8, 2.0, 0.0) + 1e-3 * rng(32).normal(size=400)
    common = a + np.where(np.arange(400) < 200, 0.08, 0.0) + 1e-3 * rng(32).normal(size=400)
    assert math.isnan(compare(averages([rare]), averages([a])).equivalence_p(0.5))
    assert compare(averages([common]), averages([a])).equivalence_p(0.5) < 0.001


def test_equal_answers_of_many_items_are_equivalent():
    same = (np.arange(300) < 200).astype(float)
    proportions = clustered_values([same], quantity=PROPORTION)
    assert compare(proportions, proportions).equivalence_p(0.05) < 0.001


def test_equivalence_allows_for_clusters_as_large_as_the_one_that_an_item_lies_in():
    # 10 single items and a cluster of 10: an item lies in a cluster of (10 * 1 + 10 * 10) / 20
    groups = [*map(str, range(10)), *["large"] * 10]
    model = clustered_values([[1.0] * 20], groups, PROPORTION)
    assert (model.mean_size, model.mean_size_by_item) == pytest.approx((20 / 11, 5.5))
    # equivalence allows for discordant clusters that large, and the difference for mean ones
    difference = compare(model, model)
    assert difference.equivalence_error.standard_error > 1.5 * difference.error.standard_error
    assert compare(model, model).equivalence_p(0.3) > 0.05


def known(items: float, item_df: float, seeds: float = 0.0, seed_df: float = 0.0) -> Difference:
    """A difference of 0 with a given error."""
    error = Uncertainty(items, item_df, seeds, seed_df)
    return Difference(0.0, 1, 0.0, error, error)


@pytest.mark.parametrize("alpha", [0.05, 0.0125])
@pytest.mark.parametrize("n", [10, 40, 500])
def test_the_minimum_detectable_effect_is_that_of_the_t_tests_power(n, alpha):
    theirs = TTestPower().solve_power(nobs=n, alpha=alpha, power=0.8)
    found = known(1 / n, n - 1).minimum_detectable(alpha)
    assert found == pytest.approx(theirs, rel=1e-3)
    better = TTestPower().solve_power(nobs=n, alpha=alpha, power=0.95)
    assert known(1 / n, n - 1).minimum_detectable(alpha, 0.95) == pytest.approx(better, rel=1e-3)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_seeds_alone_the_minimum_detectable_effect_has_its_power(seeds):
    found = known(1e-12, 99, 1 / seeds, seeds - 1).minimum_detectable(0.05)
    assert TTestPower().power(found, nobs=seeds, alpha=0.05) == pytest.approx(0.8, abs=0.002)


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0])
def test_the_clusters_needed_are_the_fewest_of_the_t_test(effect):
    theirs = TTestPower().solve_power(effect_size=effect, alpha=0.05, power=0.8)
    # what 30 clusters of sd 1 know; the fewest whole number, which the search may miss by one
    found = known(1 / 30, 29).clusters_needed(effect, 0.05)
    assert math.ceil(theirs) <= found <= math.ceil(theirs) + 1
    assert known(1 / 30, 29).clusters_needed(-effect, 0.05) == found


def test_no_number_of_items_makes_up_for_seeds_that_differ_too_much():
    apart = known(0.09, 99, 0.09, 2)
    least = known(1e-12, 99, 0.09, 2).minimum_detectable(0.05)
    assert apart.clusters_needed(0.95 * least, 0.05) == math.inf
    enough = apart.clusters_needed(1.05 * least, 0.05)
    assert 100 < enough < math.inf
    more = replace(apart, error=apart.error.with_clusters(enough))
    assert more.minimum_detectable(0.05) == pytest.approx(1.05 * least, rel=0.01)


def test_of_an_unknown_error_no_power_is_known():
    unknown = Difference(0.0, 1, 0.0, UNKNOWN, UNKNOWN)
    assert math.isnan(unknown.minimum_detectable(0.05))
    assert math.isnan(unknown.clusters_needed(0.1, 0.05))
    assert math.isnan(unknown.equivalence_p(0.1))

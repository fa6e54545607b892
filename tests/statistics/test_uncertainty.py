"""Errors over items and seeds, against Student's t, Monte Carlo and analyses of variance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.linear_model import OLS

from ethosteer.statistics.uncertainty import UNKNOWN, Uncertainty, uncertainty

Floats = NDArray[np.float64]

HAND = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 10.0]])
"""Two seeds (rows) of three clusters (columns)."""


def variances(error: Uncertainty) -> tuple[float, float, float]:
    return error.item_variance, error.seed_variance, error.interaction_variance


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def crossed(seeds: int, clusters: int, seed: int = 0, of_seed: float = 0.5) -> Floats:
    """Draw values of items and seeds with effects of both and of each on the other."""
    draw = rng(seed)
    return (
        draw.normal(size=clusters)
        + of_seed * draw.normal(size=(seeds, 1))
        + 0.7 * draw.normal(size=(seeds, clusters))
    )


# --- the distribution of the error


@pytest.mark.parametrize("df", [1, 2, 5, 29, 400])
def test_with_one_seed_the_error_is_students_t(df):
    error = Uncertainty(item_variance=0.25, item_df=df)
    assert error.standard_error == 0.5
    for level in (0.9, 0.975, 0.9975):
        assert error.quantile(level) == pytest.approx(0.5 * stats.t.ppf(level, df), rel=2e-3)
    for distance in (-0.7, 0.0, 0.4, 1.3):
        assert error.tail_probability(distance) == pytest.approx(
            stats.t.sf(distance / 0.5, df), rel=2e-3
        )


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_where_only_seeds_vary_the_error_is_students_t_over_seeds(seeds):
    moved = np.array([0.0, 1.0, 5.0, 2.0, -1.0])[:seeds]
    error = uncertainty(np.tile(moved[:, None], (1, 40)))
    test = stats.ttest_1samp(moved, 0.0)
    assert error.quantile(0.975) == pytest.approx(
        (test.confidence_interval(0.95).high - test.confidence_interval(0.95).low) / 2, rel=2e-3
    )
    assert 2 * error.tail_probability(abs(moved.mean())) == pytest.approx(test.pvalue, rel=2e-3)


@pytest.mark.parametrize(
    ("items", "item_df", "seeds", "seed_df", "both", "tolerance"),
    [
        (1.0, 60, 0.5, 2, 0.3, 0.01),
        (1.0, 60, 0.1, 1, 0.1, 0.01),
        (0.2, 20, 1.0, 4, 0.1, 0.01),
        (1.0, 4, 1.0, 2, 0.0, 0.02),  # so few clusters that the grid is a little coarse
    ],
)
def test_the_mixture_is_what_drawing_both_chi_squares_gives(
    items, item_df, seeds, seed_df, both, tolerance
):
    error = Uncertainty(items, item_df, seeds, seed_df, both)
    draw, count = rng(1), 1_000_000
    true_items = items * item_df / draw.chisquare(item_df, count)
    true_seeds = seeds * seed_df / draw.chisquare(seed_df, count)
    # a total holds what items and seeds share once, and is at least either
    variance = np.maximum(np.maximum(true_items, true_seeds), true_items + true_seeds - both)
    for distance in (0.5, 1.0, 2.0, 4.0):
        expected = float(np.mean(stats.norm.sf(distance / np.sqrt(variance))))
        assert error.tail_probability(distance) == pytest.approx(expected, rel=tolerance)
    for level in (0.9, 0.975, 0.995):
        assert error.tail_probability(error.quantile(level)) == pytest.approx(1 - level, rel=1e-6)


def test_the_standard_error_counts_what_items_and_seeds_share_once():
    assert Uncertainty(4.0, 9, 3.0, 2, 1.0).standard_error == pytest.approx(math.sqrt(6))
    # an interaction estimated above one of them: never less than the other
    assert Uncertainty(4.0, 9, 1.0, 2, 3.0).standard_error == 2.0


# --- the variances


def test_variances_of_a_table_of_two_seeds_and_three_clusters_by_hand():
    # Clusters' means 2, 2, 8: mean 4, variance (4 + 4 + 16) / 2 = 12, of their mean 12 / 3 = 4.
    # Seeds' means 3 and 5: variance 2, of their mean 2 / 2 = 1.
    # What is left of (1, 2, 6) is (0, 1, -1), of (3, 2, 10) (0, -1, 1): squares 4, over 1 * 2
    # degrees of freedom 2, of the mean of six values 2 / 6.
    found = uncertainty(HAND)
    assert variances(found) == pytest.approx((4.0, 1.0, 1 / 3))
    assert (found.item_df, found.seed_df) == (2, 1)
    assert found.standard_error == pytest.approx(math.sqrt(14 / 3))


@pytest.mark.parametrize(("seeds", "clusters"), [(2, 12), (3, 7), (5, 30)])
def test_variances_are_the_expected_mean_squares_of_a_two_way_analysis(seeds, clusters):
    values = crossed(seeds, clusters, seed=seeds)
    of_seed = np.repeat(np.eye(seeds), clusters, axis=0)
    of_item = np.tile(np.eye(clusters), (seeds, 1))

    def left(*factors: Floats) -> float:
        """The squares that a regression on factors leaves."""
        return float(OLS(values.ravel(), np.hstack(factors)).fit().ssr)

    rest = left(of_seed, of_item[:, 1:])
    found = uncertainty(values)
    size = seeds * clusters
    assert found.item_variance == pytest.approx((left(of_seed) - rest) / (clusters - 1) / size)
    assert found.seed_variance == pytest.approx((left(of_item) - rest) / (seeds - 1) / size)
    assert found.interaction_variance == pytest.approx(rest / (seeds - 1) / (clusters - 1) / size)


def test_the_estimated_variance_is_on_average_that_of_the_mean():
    # items of sd 1, seeds of 0.5, both of 0.7: the mean of 3 seeds and 20 clusters varies by this
    truth = 1 / 20 + 0.5**2 / 3 + 0.7**2 / 60
    tables = [crossed(3, 20, seed) for seed in range(3000)]
    errors = [uncertainty(table) for table in tables]
    unbiased = np.mean(
        [each.item_variance + each.seed_variance - each.interaction_variance for each in errors]
    )
    assert unbiased == pytest.approx(truth, rel=0.05)
    assert np.var([table.mean() for table in tables]) == pytest.approx(truth, rel=0.08)


def test_one_seed_has_the_variance_of_a_mean_over_clusters():
    values = rng(2).normal(size=(1, 15))
    found = uncertainty(values)
    assert found.standard_error == pytest.approx(stats.sem(values[0]))
    assert (found.item_df, found.seed_variance, found.seed_df, found.interaction_variance) == (
        14,
        0,
        0,
        0,
    )


def test_seeds_that_are_not_paired_vary_on_each_side_by_themselves():
    three, five = crossed(3, 10, 3), crossed(5, 10, 4)
    found = uncertainty(three, five)
    own, other = uncertainty(three), uncertainty(five)
    assert found.seed_variance == pytest.approx(own.seed_variance + other.seed_variance)
    assert found.interaction_variance == pytest.approx(
        own.interaction_variance + other.interaction_variance
    )
    assert found.item_variance == pytest.approx(
        stats.sem(three.mean(axis=0) - five.mean(axis=0)) ** 2
    )
    assert (found.item_df, found.seed_df) == (9, 2), "the fewer seeds know their variance worse"
    alone = uncertainty(three, five[:1])
    assert (alone.seed_variance, alone.interaction_variance, alone.seed_df) == pytest.approx(
        (own.seed_variance, own.interaction_variance, 2)
    )


# --- skewness and heavy tails


def test_the_shape_of_values_is_measured_over_clusters():
    # 1 of 10 is 1, the others 0: skewness 8/3 and kurtosis 73/9
    error = uncertainty(np.array([[1.0] + [0.0] * 9]))
    assert error.skewness == pytest.approx(8 / 3)
    assert error.kurtosis_df == pytest.approx(20 / (73 / 9 - 7 / 9))
    flat = uncertainty(np.array([[-1.0, 1.0] * 5]))
    assert (flat.skewness, flat.kurtosis_df) == pytest.approx((0.0, 20 / (3 - 7 / 9)))


def test_a_cautious_quantile_is_halls_with_the_degrees_of_freedom_of_the_kurtosis():
    error = Uncertainty(0.25, 99, kurtosis_df=12.0, skewness=2.0)
    t = stats.t.ppf(0.95, 12)
    # the mean of 100 clusters has a tenth of their skewness
    expected = 0.5 * (t + 0.2 * (1 + 2 * t**2) / 6)
    assert error.cautious_quantile(0.95) == pytest.approx(expected, rel=2e-3)
    assert error.cautious_tail_probability(expected) == pytest.approx(0.05, rel=5e-3)


@pytest.mark.parametrize("skewness", [0.0, 1e-17, 0.4, 6.0])
@pytest.mark.parametrize("seed_variance", [0.0, 0.5])
def test_cautious_quantiles_and_probabilities_agree(skewness, seed_variance):
    seed_df = 2.0 if seed_variance else 0.0
    error = Uncertainty(1.0, 59, seed_variance, seed_df, 0.1, 20.0, skewness)
    for level in (0.8, 0.95, 0.999):
        quantile = error.cautious_quantile(level)
        assert error.cautious_tail_probability(quantile) == pytest.approx(1 - level, rel=1e-6)
        assert quantile >= error.quantile(level)
    assert error.cautious_tail_probability(-1.0) > 0.5
    assert error.cautious_tail_probability(0.0) >= 0.5


def test_skewness_of_items_matters_less_where_seeds_vary():
    items_alone = Uncertainty(1.0, 59, 0, 0, 0, 40.0, 3.0)
    seeds_too = Uncertainty(1.0, 59, 8.0, 2, 0, 40.0, 3.0)
    # a third of the standard error's share is cubed
    assert seeds_too._estimate_skewness == pytest.approx(items_alone._estimate_skewness / 27)


# --- more clusters


def test_more_clusters_shrink_what_items_bring_and_not_what_seeds_bring():
    error = Uncertainty(
        item_variance=4.0, item_df=9, seed_variance=3.0, seed_df=2, interaction_variance=1.0
    )
    # of 40 clusters instead of 10: items and interaction a quarter, seeds' own 3 - 1 = 2 stays
    more = error.with_clusters(40)
    assert variances(more) == pytest.approx((1.0, 2.25, 0.25))
    assert (more.item_df, more.seed_df) == (39, 2)
    assert error.with_clusters(10) == error
    # seeds that bring less than the interaction alone would: nothing of it is theirs
    little = Uncertainty(4.0, 9, 0.5, 2, 1.0).with_clusters(20)
    assert (
        little.item_variance,
        little.seed_variance,
        little.interaction_variance,
    ) == pytest.approx((2.0, 0.25, 0.5))


def test_a_metric_of_classes_has_the_degrees_of_freedom_of_the_rarest():
    error = Uncertainty(4.0, 99).of_class(0.2)
    assert (error.item_df, error.clusters, error.item_variance) == pytest.approx((19, 100, 4.0))
    # of 200 clusters as many are of that class
    more = error.with_clusters(200)
    assert (more.item_df, more.clusters, more.item_variance) == pytest.approx((39, 200, 2.0))
    assert Uncertainty(4.0, 99).of_class(0.01).item_df == 1


def test_as_many_clusters_again_are_on_average_what_was_foretold():
    few = [uncertainty(crossed(3, 10, seed)).with_clusters(80) for seed in range(2000)]
    many = [uncertainty(crossed(3, 80, seed)) for seed in range(500)]
    for part in ("item_variance", "interaction_variance", "seed_variance"):
        expected = np.mean([getattr(each, part) for each in many])
        found = np.mean([getattr(each, part) for each in few])
        assert found == pytest.approx(expected, rel=0.15), part


# --- nothing is known


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.0]]),
        np.array([[1.0], [2.0]]),
        np.full((1, 5), 0.1),
        np.full((3, 5), 0.1),
        np.array([[1.0, math.nan, 2.0]]),
        np.array([[1.0, 2.0, 3.0], [1.0, 2.0, math.nan]]),
    ],
    ids=["one value", "one cluster", "alike", "alike, seeds", "nan", "nan in a seed"],
)
def test_what_cannot_be_known_is_nan(values):
    found = uncertainty(values)
    assert found == UNKNOWN or math.isnan(found.item_variance)
    assert math.isnan(found.standard_error)
    assert math.isnan(found.quantile(0.975))
    assert math.isnan(found.tail_probability(0.1))
    assert math.isnan(found.with_clusters(100).quantile(0.975))


def test_an_undefined_distance_or_other_side_is_not_known():
    assert math.isnan(Uncertainty(1.0, 9).tail_probability(math.nan))
    undefined = np.full((3, 4), math.nan)
    assert math.isnan(uncertainty(crossed(5, 4), undefined).standard_error)


def test_rounding_is_no_variance():
    assert math.isnan(uncertainty(np.array([[0.1 + 0.2, 0.3, 0.3]])).item_variance)
    # seeds that are alike bring nothing; items still vary
    found = uncertainty(np.tile(rng(5).normal(size=20), (3, 1)))
    assert found.seed_variance == 0.0
    assert found.item_variance > 0
    assert found.interaction_variance == pytest.approx(0.0, abs=1e-30)


# --- what holds whatever the numbers


VARIANCES = st.floats(1e-4, 1e4)
OF_ITEMS = st.builds(
    Uncertainty, item_variance=VARIANCES, item_df=st.sampled_from([1.0, 5.0, 99.0])
)
ERRORS = OF_ITEMS | st.builds(
    Uncertainty,
    item_variance=VARIANCES,
    item_df=st.sampled_from([1.0, 5.0, 99.0]),
    seed_variance=VARIANCES,
    seed_df=st.sampled_from([1.0, 2.0, 4.0]),
    interaction_variance=VARIANCES,
)


@settings(deadline=None, max_examples=40)
@given(ERRORS, st.floats(0.01, 5), st.floats(1.01, 3))
def test_errors_are_rarer_the_larger_and_symmetric(error, distance, factor):
    own = distance * error.standard_error
    assert 0 < error.tail_probability(factor * own) < error.tail_probability(own) < 0.5
    assert error.tail_probability(0.0) == pytest.approx(0.5)
    assert error.tail_probability(-own) == pytest.approx(1 - error.tail_probability(own))


@settings(deadline=None, max_examples=40)
@given(ERRORS, st.floats(0.6, 0.99), st.floats(1.001, 1.01))
def test_a_higher_level_reaches_farther(error, level, factor):
    assert error.quantile(level) < error.quantile(min(level * factor, 0.9999))


@settings(deadline=None, max_examples=40)
@given(OF_ITEMS, st.floats(0.6, 0.999))
def test_no_error_is_nearer_than_the_normal_one(error, level):
    assert error.quantile(level) > 0.999 * stats.norm.ppf(level) * error.standard_error


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_another_unit_scales_the_error_and_another_origin_leaves_it(seed, seeds, unit, origin):
    values = crossed(seeds, 8, seed)
    own, other = uncertainty(values), uncertainty(unit * values + origin)
    assert other.quantile(0.975) == pytest.approx(unit * own.quantile(0.975), rel=1e-5)
    assert other.tail_probability(0.3 * unit) == pytest.approx(own.tail_probability(0.3), rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_clusters_does_not_matter(seed, random):
    values = crossed(3, 6, seed)
    rows, columns = random.sample(range(3), 3), random.sample(range(6), 6)
    found, own = uncertainty(values[rows][:, columns]), uncertainty(values)
    assert variances(found) == pytest.approx(variances(own))


@settings(deadline=None, max_examples=20)
@given(st.floats(2, 1e4), st.floats(1.1, 10))
def test_more_clusters_never_widen_the_error(clusters, factor):
    error = Uncertainty(1.0, 19, 0.3, 2, 0.1)
    few, many = error.with_clusters(clusters), error.with_clusters(clusters * factor)
    assert many.standard_error < few.standard_error
    assert many.quantile(0.975) < few.quantile(0.975)

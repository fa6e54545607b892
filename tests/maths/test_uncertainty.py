"""How far a mean over items and seeds may lie from the truth, held to other computations of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols

from ethosteer.maths.uncertainty import Uncertainty, uncertainty

# seeds by clusters, worked by hand below
TABLE = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 10.0]])


@pytest.mark.parametrize("level", [0.6, 0.9, 0.975, 0.9995])
@pytest.mark.parametrize("clusters", [3, 12, 400])
def test_with_one_seed_it_is_students_t_over_clusters(level, clusters):
    values = np.random.default_rng(clusters).normal(size=clusters)
    found = uncertainty(values[None, :])
    error = float(stats.sem(values))
    assert found.standard_error == pytest.approx(error)
    assert found.quantile(level) == pytest.approx(
        error * stats.t.ppf(level, clusters - 1), rel=2e-3
    )
    assert found.beyond(2 * error) == pytest.approx(stats.t.sf(2, clusters - 1), rel=2e-3)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_where_only_seeds_vary_it_is_students_t_over_seeds(seeds):
    own = np.random.default_rng(seeds).normal(size=seeds)
    found = uncertainty(np.repeat(own[:, None], 7, axis=1))
    expected = float(stats.sem(own)) * stats.t.ppf(0.975, seeds - 1)
    assert found.quantile(0.975) == pytest.approx(expected, rel=4e-3)


def test_parts_of_the_variance_by_hand():
    # cluster means 2, 2, 8: variance 12, over 3 clusters 4. Seed means 3, 5: variance 2, over 2
    # seeds 1. What rows and columns leave: [0, 1, -1] and [0, -1, 1], squares 4, over (2-1)(3-1)
    # degrees of freedom 2, over 6 cells 1/3. Together 4 + 1 - 1/3.
    found = uncertainty(TABLE)
    assert (found.items, found.seeds, found.both) == pytest.approx((4.0, 1.0, 1 / 3))
    assert (found.item_df, found.seed_df) == (2.0, 1.0)
    assert found.standard_error == pytest.approx(math.sqrt(14 / 3))


def test_parts_of_the_variance_are_those_of_a_two_way_analysis_of_variance():
    pandas = pytest.importorskip("pandas")  # statsmodels brings it
    table = np.random.default_rng(0).normal(size=(4, 9))
    seeds, clusters = np.indices(table.shape)
    long = pandas.DataFrame({"s": seeds.ravel(), "c": clusters.ravel(), "y": table.ravel()})
    squares = sm.stats.anova_lm(ols("y ~ C(s) + C(c)", long).fit())["mean_sq"]
    found = uncertainty(table)
    assert found.seeds * 36 == pytest.approx(squares["C(s)"])
    assert found.items * 36 == pytest.approx(squares["C(c)"])
    assert found.both * 36 == pytest.approx(squares["Residual"])


@pytest.mark.parametrize("seeds", [0.2, 1.0, 5.0])
def test_with_both_it_is_the_average_over_drawn_variances(seeds):
    found = Uncertainty(1.0, 30, seeds, 2.0, 0.15)
    draw = np.random.default_rng(1)
    items = 30 / draw.chisquare(30, 400_000)
    among = seeds * 2 / draw.chisquare(2, 400_000)
    variance = np.maximum(np.maximum(items, among), items + among - 0.15)
    for distance in (1.0, 2.0, 4.0):
        drawn = stats.norm.sf(distance / np.sqrt(variance))
        assert found.beyond(distance) == pytest.approx(
            drawn.mean(), abs=4 * stats.sem(drawn) + 1e-4
        )
    error = draw.normal(size=400_000) * np.sqrt(variance)
    assert found.quantile(0.975) == pytest.approx(np.quantile(error, 0.975), rel=0.02)


def test_it_lies_between_the_two_students_and_is_wider_for_fewer_seeds():
    few, many = Uncertainty(1.0, 100, 1.0, 1.0), Uncertainty(1.0, 100, 1.0, 9.0)
    assert many.quantile(0.975) < few.quantile(0.975)
    both = Uncertainty(1.0, 100, 1.0, 2.0)
    wide = both.quantile(0.975) / both.standard_error
    assert stats.t.ppf(0.975, 100) < wide < stats.t.ppf(0.975, 2)


def test_more_clusters_narrow_the_items_and_not_the_seeds():
    # seeds 1.0 of which 0.1 is what seeds do to single items; that and the items' share shrink
    own = Uncertainty(0.5, 49, 1.0, 2.0, 0.1).with_clusters(500)
    assert (own.items, own.both, own.seeds) == pytest.approx((0.05, 0.01, 0.9 + 0.01))
    assert (own.item_df, own.seed_df) == (499, 2.0)
    same = Uncertainty(0.5, 49, 1.0, 2.0, 0.1)
    assert same.with_clusters(50) == same
    alone = Uncertainty(0.5, 49).with_clusters(200)
    assert alone.standard_error == pytest.approx(math.sqrt(0.5 / 4))


def test_seeds_of_two_sides_vary_apart():
    draw = np.random.default_rng(2)
    a, b = draw.normal(size=(3, 20)), draw.normal(size=(5, 20))
    found = uncertainty(a, b)
    assert found.seeds == pytest.approx(a.mean(1).var(ddof=1) / 3 + b.mean(1).var(ddof=1) / 5)
    assert found.seed_df == 2.0
    assert found.items == pytest.approx((a.mean(0) - b.mean(0)).var(ddof=1) / 20)


@pytest.mark.parametrize(
    "values",
    [
        np.full((1, 5), 0.1),
        np.full((3, 5), 0.3),
        np.array([[0.5]]),
        np.array([[1.0], [2.0]]),
        np.array([[1.0, math.nan, 2.0]]),
    ],
    ids=["one seed, all alike", "three seeds, all alike", "one value", "one cluster", "nan"],
)
def test_of_what_nothing_is_known_nothing_is_said(values):
    found = uncertainty(values)
    assert math.isnan(found.standard_error)
    assert math.isnan(found.quantile(0.975))
    assert math.isnan(found.beyond(1.0))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.01, 100.0), st.integers(1, 4))
def test_its_unit_is_that_of_the_values(seed, factor, seeds):
    values = np.random.default_rng(seed).normal(size=(seeds, 8))
    one, other = uncertainty(values), uncertainty(factor * values + 3.0)
    assert other.quantile(0.9) == pytest.approx(factor * one.quantile(0.9), rel=1e-6)
    assert other.beyond(factor * 0.7) == pytest.approx(one.beyond(0.7), rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.55, 0.999), st.integers(1, 4))
def test_a_quantile_is_what_is_exceeded_with_its_probability(seed, level, seeds):
    found = uncertainty(np.random.default_rng(seed).normal(size=(seeds, 6)))
    assert found.beyond(found.quantile(level)) == pytest.approx(1 - level, rel=1e-6)
    assert found.quantile(level) < found.quantile(level + 0.0005)

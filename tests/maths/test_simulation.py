"""Do verdicts keep what they promise? Whole families of studies whose truth is known.

Few studies each, so that a rate is held to its own interval; `python -m tests.maths.simulation`
counts thousands. With several seeds the tests are careful where seeds matter little: errors are
rarer than 5 % and intervals hold the truth more often than in 95 %.
"""

from __future__ import annotations

import pytest

from tests.maths.simulation import (
    Setting,
    against_control,
    against_each_other,
    coverage,
    coverage_of_one,
    false_equivalence,
    false_finds,
    finds_of_a_bootstrap,
    power,
    power_at_smallest,
)

STUDIES = 100


@pytest.mark.parametrize(
    ("setting", "family"),
    [
        (Setting(seeds=1), against_control),
        (Setting(seeds=1, metric="mcc"), against_control),
        (Setting(seeds=3, seed_sd=0.06), against_control),
        (Setting(seeds=3, seed_sd=0.06), against_each_other),
        (Setting(seeds=5, seed_sd=0.06, metric="mcc"), against_control),
    ],
    ids=["one seed", "one seed, mcc", "three seeds", "three seeds, each other", "five seeds, mcc"],
)
def test_arms_that_do_not_differ_are_told_apart_in_five_percent_at_most(setting, family):
    found = false_finds(setting, family, STUDIES)
    assert found.low <= 0.05, found


def test_a_bootstrap_of_three_seeds_would_not_pass_that():
    found = finds_of_a_bootstrap(Setting(seed_sd=0.06), 40)
    assert found.low > 0.05, found


@pytest.mark.parametrize("sd", [0.0, 0.06, 0.2])
def test_intervals_over_three_seeds_hold_the_truth(sd):
    found = coverage(Setting(seed_sd=sd, effect=0.05), STUDIES)
    assert found.high >= 0.95, found


def test_intervals_over_one_seed_hold_the_truth_as_often_as_they_say():
    for found in (
        coverage(Setting(seeds=1, effect=0.05), 3 * STUDIES),
        coverage_of_one(Setting(seeds=1), 3 * STUDIES),
    ):
        assert found.low <= 0.95 <= found.high, found


@pytest.mark.parametrize(("seeds", "sd"), [(1, 0.0), (3, 0.02), (5, 0.06)])
def test_the_smallest_detectable_difference_is_found_four_times_in_five(seeds, sd):
    found = power_at_smallest(Setting(seeds=seeds, seed_sd=sd), STUDIES)
    assert found.high >= 0.8, found


def test_the_items_that_an_effect_needs_find_it_four_times_in_five():
    found = power(Setting(seeds=1, effect=0.08), STUDIES)
    assert found.high >= 0.8, found


def test_a_difference_of_the_margin_is_called_equivalent_in_five_percent_at_most():
    found = false_equivalence(Setting(seeds=1, effect=0.08, arms=1), STUDIES)
    assert found.low <= 0.05, found

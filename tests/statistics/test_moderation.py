"""Seed variances moderated by the arms beside an arm: by hand, and where they stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ethosteer.statistics.from_half import distance_difference
from ethosteer.statistics.metrics import PROPORTION
from ethosteer.statistics.moderation import moderated, with_moderated_errors
from ethosteer.statistics.paired import clustered_values, paired_difference
from ethosteer.statistics.uncertainty import UNKNOWN, Uncertainty


def error(seed_variance: float, interaction: float = 1.0, seed_df: float = 2) -> Uncertainty:
    return Uncertainty(4.0, 99.0, seed_variance, seed_df, interaction, 60.0, 0.5)


def seed_variances(errors: list[Uncertainty]) -> list[float]:
    return [error.seed_variance for error in errors]


def test_an_arm_has_the_larger_of_its_seed_variance_and_the_pooled_one():
    # what exceeds the interaction: 0.5, 1.0, 3.0 and -0.5, with mean 1.0
    errors = [error(1.5), error(2.0), error(4.0), error(0.5)]
    results = moderated(errors, 4)
    assert seed_variances(results) == [2.0, 2.0, 4.0, 2.0]
    # 2 degrees of freedom of an arm, 8 of all: their geometric mean
    assert [result.seed_df for result in results] == [4.0] * 4
    assert [replace(result, seed_variance=0, seed_df=0) for result in results] == [
        replace(before, seed_variance=0, seed_df=0) for before in errors
    ]


def test_the_pooled_variance_adds_to_an_arms_interaction():
    results = moderated([error(3.0, 1.0), error(9.0, 7.0)], 2)
    assert seed_variances(results) == [3.0, 9.0]
    # the excess of 2 and of 0: 1 each
    results = moderated([error(3.0, 1.0), error(7.0, 7.0)], 2)
    assert seed_variances(results) == [3.0, 8.0]


def test_an_arm_that_varies_more_than_the_others_keeps_its_degrees_of_freedom():
    critical = stats.f.isf(0.1, 2, 6)  # 3.46 times what the three others have, which is 1.0 + 0.2
    others = [error(1.2), error(1.1), error(1.3)]
    below = moderated([error(critical * 1.2 - 0.01), *others], 4)
    above = moderated([error(critical * 1.2 + 0.01), *others], 4)
    assert below[0].seed_df == 4.0
    assert above[0] == error(critical * 1.2 + 0.01)
    # the others are beside an arm that varies more: theirs is the pooled variance
    assert above[1].seed_variance > others[0].seed_variance


def test_others_without_seed_variance_leave_the_interaction_to_compare_with():
    # the others' excess is below 0, which is none
    critical = stats.f.isf(0.1, 2, 2)
    assert moderated([error(critical + 0.01), error(0.1)], 2)[0] == error(critical + 0.01)
    assert moderated([error(critical - 0.01), error(0.1)], 2)[0].seed_df == pytest.approx(2**1.5)


@pytest.mark.parametrize("seed_df", [0, 1])
def test_with_fewer_than_three_seeds_nothing_is_moderated(seed_df):
    errors = [error(1.5, seed_df=seed_df), error(2.0, seed_df=seed_df)]
    assert moderated(errors, 2) == errors


def test_a_single_arm_and_unknown_errors_stay_as_they_are():
    assert moderated([], 0) == []
    assert moderated([error(1.5)], 1) == [error(1.5)]
    results = moderated([UNKNOWN, error(1.5), error(2.0)], 3)
    assert results[0] is UNKNOWN
    assert seed_variances(results[1:]) == [1.75, 2.0]
    assert results[1].seed_df == pytest.approx(2 * 2**0.5), "of the two that are known"


def test_only_the_error_of_a_difference_changes():
    draw = np.random.default_rng(0)
    control, *arms = (
        clustered_values(list((draw.random((seeds, 200)) < 0.6).astype(float)), quantity=PROPORTION)
        for seeds in (1, 3, 3, 3)
    )
    for compare in (paired_difference, distance_difference):
        before = [compare(arm, control, 10, draw) for arm in arms]
        after = with_moderated_errors(before, 3)
        assert [item.value for item in after] == [item.value for item in before]
        assert {type(item) for item in after} == {type(item) for item in before}
        # arms without seed effects: more is known of their seeds, and intervals are narrower
        widths = [
            np.mean([item.estimate.high - item.estimate.low for item in items])
            for items in (after, before)
        ]
        assert widths[0] < widths[1]

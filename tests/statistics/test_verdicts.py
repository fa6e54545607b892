"""Families of comparisons and their verdicts, against statsmodels and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from ethosteer.results.estimates import Estimate
from ethosteer.statistics.verdicts import (
    Rules,
    adjusted_p_values,
    decision_alphas,
    family_decisions,
    verdict,
)
from tests.statistics.small import alone, answers, averages, compare, rng, shares


def test_holm_by_hand():
    # sorted 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 = 0.02, 0.03, 0.06, 0.04; never falling: 0.06
    assert adjusted_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted_p_values([0.6, 0.7]) == [1.0, 1.0]


def test_benjamini_and_hochberg_by_hand():
    # sorted 0.005 * 4 / 1, 0.01 * 4 / 2, 0.03 * 4 / 3, 0.04 = 0.02, 0.02, 0.04, 0.04
    found = adjusted_p_values([0.01, 0.04, 0.03, 0.005], "bh")
    assert found == pytest.approx([0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize(("ours", "theirs"), [("holm", "holm"), ("bh", "fdr_bh")])
def test_corrections_are_statsmodels(ours, theirs):
    draw = rng(25)
    for count in (1, 2, 5, 13):
        p = draw.random(count) ** 3
        p[0] = p[-1]  # a tie
        assert adjusted_p_values(list(p), ours) == pytest.approx(multipletests(p, method=theirs)[1])


@pytest.mark.parametrize("correction", ["holm", "bh"])
def test_what_has_no_p_is_no_member_of_its_family(correction):
    found = adjusted_p_values([0.01, math.nan, 0.04], correction)
    assert [found[0], found[2]] == pytest.approx(adjusted_p_values([0.01, 0.04], correction))
    assert math.isnan(found[1])
    assert adjusted_p_values([], correction) == []
    assert math.isnan(adjusted_p_values([math.nan], correction)[0])


def test_a_family_is_corrected_as_one():
    draw = rng(26)
    # symmetric and uniform: skewness and heavy tails would widen equivalence
    control = draw.normal(size=60)
    halves = [draw.uniform(-1.7, 1.7, 30) for _ in range(3)]
    arms = [
        control + shift + np.concatenate([half, -half])
        for shift, half in zip((0.0, 0.35, 0.9), halves, strict=True)
    ]
    differences = [compare(averages([arm]), averages([control]), 2000) for arm in arms]
    rules = Rules(alpha=0.03, margin=0.4, effect=0.5)
    found = family_decisions(differences, ["higher"] * 3, rules)
    p = [own.p for own in differences]
    assert [own.adjusted_p for own in found] == pytest.approx(multipletests(p, method="holm")[1])
    equal = [ttost_paired(arm, control, -0.4, 0.4)[0] for arm in arms]
    assert [own.equivalence_p for own in found] == pytest.approx(
        multipletests(equal, method="holm")[1], rel=2e-3
    )
    for own, arm in zip(found, arms, strict=True):
        # Holm's first step of three is at a third of alpha
        spread = np.std(arm - control, ddof=1)
        least = TTestPower().solve_power(nobs=60, alpha=0.01, power=0.8) * spread
        assert own.minimum_detectable[0] == pytest.approx(least, rel=1e-3)
        needed = TTestPower().solve_power(effect_size=0.5 / spread, alpha=0.01, power=0.8)
        assert math.ceil(needed) <= own.clusters_needed[0] <= math.ceil(needed) + 1
    assert [own.difference for own in found] == differences
    by_bh = family_decisions(differences, ["higher"] * 3, replace(rules, correction="bh"))
    assert [own.adjusted_p for own in by_bh] == pytest.approx(multipletests(p, method="fdr_bh")[1])
    assert found[2].verdict == "better"
    assert family_decisions([], [], rules) == []


def test_without_a_margin_or_effect_there_is_neither_equivalence_nor_a_number_of_clusters():
    found = alone(compare(shares(answers(9, 400)), shares(answers(9, 400))), Rules())
    assert math.isnan(found.equivalence_p) and math.isnan(found.clusters_needed[0])
    assert found.verdict == "undecided"


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        # rejected at 0.05 / 4 and 0.05 / 3; the others at the level of the step that failed
        ("holm", [0.05 / 4, 0.05 / 2, 0.05 / 3, 0.05 / 2]),
        # two are rejected: 2 * 0.05 / 4; the others at 3 * 0.05 / 4
        ("bh", [0.025, 0.0375, 0.025, 0.0375]),
    ],
)
def test_the_levels_at_which_a_family_is_decided(correction, expected):
    rules = Rules(correction=correction)
    assert decision_alphas([0.001, 0.5, 0.01, 0.04], rules) == pytest.approx(expected)


@pytest.mark.parametrize("correction", ["holm", "bh"])
def test_the_decision_interval_agrees_with_its_verdict(correction):
    draw = rng(31)
    for _ in range(20):
        control = draw.random(80) < 0.5
        arms = [
            np.where(draw.random(80) < change, draw.random(80) < 0.9, control)
            for change in draw.random(5)
        ]
        differences = [
            compare(shares(arm.astype(float)), shares(control.astype(float))) for arm in arms
        ]
        rules = Rules(correction=correction, margin=0.12)
        for each in family_decisions(differences, ["higher"] * 5, rules):
            if each.verdict == "equivalent":
                assert -0.12 <= each.low <= each.high <= 0.12
            else:
                assert (each.low <= 0 <= each.high) == (each.verdict == "undecided")


UP, DOWN = Estimate(0.10, 0.02, 0.18, 99), Estimate(-0.10, -0.18, -0.02, 99)
ACROSS = Estimate(0.10, -0.01, 0.21, 99)
NOTHING = Estimate(0.01, math.nan, math.nan, 99)


@pytest.mark.parametrize(
    ("difference", "p", "equal", "better", "expected"),
    [
        (UP, 0.01, math.nan, "higher", "better"),
        (DOWN, 0.01, math.nan, "higher", "worse"),
        (UP, 0.01, math.nan, "lower", "worse"),
        (DOWN, 0.01, math.nan, "lower", "better"),
        (UP, 0.01, math.nan, "none", "different"),
        (DOWN, 0.01, 0.9, "none", "different"),
        (UP, 0.05, math.nan, "higher", "undecided"),  # p must be below alpha
        (UP, 0.2, math.nan, "none", "undecided"),
        (ACROSS, 0.01, math.nan, "higher", "undecided"),  # the interval must leave out 0
        (ACROSS, 0.5, 0.04, "higher", "equivalent"),
        (ACROSS, 0.5, 0.05, "higher", "undecided"),
        (ACROSS, 0.5, 0.04, "none", "equivalent"),
        (UP, 0.01, 0.04, "higher", "equivalent"),  # it differs by what was declared not to matter
        (NOTHING, 0.01, math.nan, "higher", "undecided"),
        (NOTHING, math.nan, math.nan, "lower", "undecided"),
        (UP, math.nan, math.nan, "higher", "undecided"),
    ],
)
def test_verdicts(difference, p, equal, better, expected):
    assert verdict(difference.low, difference.high, p, equal, better, 0.05) == expected

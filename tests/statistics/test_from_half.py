"""Differences of distances from one half: by hand, at their corners, and in simulated studies."""

from __future__ import annotations

import numpy as np
import pytest

from ethosteer.statistics.from_half import distance, distance_difference
from ethosteer.statistics.paired import mcnemar
from tests.statistics.small import answers, compare, rng, shares


def test_the_quantity_is_the_difference_of_the_distances():
    draw = rng(1)
    for a, b in draw.random((200, 2)):
        assert distance(a - b, a + b - 1) == pytest.approx(abs(a - 0.5) - abs(b - 0.5))


def test_p_is_the_larger_of_equal_and_of_mirrored_proportions():
    a, b = answers(160, 200), answers(60, 200)[::-1]
    result = distance_difference(shares(a), shares(b), 200, rng())
    equal, mirrored = mcnemar(a > 0, b > 0), mcnemar(a > 0, b == 0)
    assert result.p == max(equal, mirrored) == mirrored
    assert result.estimate.value == pytest.approx(0.30 - 0.20)
    assert result.v.estimate.value == pytest.approx(0.1)


def test_mirrored_proportions_have_no_claim_however_different():
    result = distance_difference(shares(answers(180, 200)), shares(answers(20, 200)), 200, rng())
    assert result.p == 1.0
    assert result.estimate.low < 0 < result.estimate.high


def test_far_from_half_the_test_and_interval_are_those_of_the_proportions():
    a, b = answers(190, 200), answers(150, 200)
    plain = compare(shares(a), shares(b))
    result = distance_difference(shares(a), shares(b), 200, rng())
    assert result.p == plain.p
    assert result.interval(0.95) == pytest.approx(plain.interval(0.95))


@pytest.mark.parametrize(("a", "b"), [(0.51, 0.49), (0.5, 0.5), (0.45, 0.55), (0.6, 0.5)])
def test_claims_are_rarely_false_and_intervals_rarely_miss(a, b):
    draw, studies = rng(2), 200
    false = missed = 0
    for _ in range(studies):
        drawn = (draw.random((2, 1000)) < np.array([[a], [b]])).astype(float)
        result = distance_difference(shares(drawn[0]), shares(drawn[1]), 200, draw)
        truth = abs(a - 0.5) - abs(b - 0.5)
        false += result.p < 0.05 and abs(truth) < 1e-9
        missed += not result.estimate.low <= truth <= result.estimate.high
    # 20 of 200 lie three standard errors above 5 %
    assert false <= 20
    assert missed <= 20

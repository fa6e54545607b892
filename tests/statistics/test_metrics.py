from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, matthews_corrcoef

from ethosteer.records import Outcome
from ethosteer.statistics.metrics import (
    ACCURACY,
    ACCURACY_NORMALISED,
    BALANCED,
    BALANCED_ACCURACY,
    CORRELATION,
    MCC,
    MEAN,
    PROPORTION,
    Metric,
    balanced,
    matthews,
    mean_metric,
    proportion_metric,
    ratio,
)

METRICS = [ACCURACY, ACCURACY_NORMALISED, MCC, BALANCED_ACCURACY]
ANSWERS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


def outcome(
    label: int | None,
    predicted: int | None,
    log_likelihoods: tuple[float, ...] = (0.0, 0.0),
    lengths: tuple[int, ...] = (1, 1),
) -> Outcome:
    correct = None if label is None else predicted == label
    return Outcome(
        "base", 0, "b", "i", "g", (), label, predicted, correct, log_likelihoods, lengths
    )


def outcomes(answers: list[tuple[int, int]]) -> list[Outcome]:
    return [outcome(label, predicted) for label, predicted in answers]


@settings(deadline=None)
@given(ANSWERS)
def test_accuracy_is_sklearns(answers):
    labels, predicted = zip(*answers, strict=True)
    assert ACCURACY.value(outcomes(answers)) == pytest.approx(accuracy_score(labels, predicted))


@settings(deadline=None)
@given(ANSWERS)
def test_matthews_correlation_is_sklearns_but_undefined_without_a_class(answers):
    labels, predicted = zip(*answers, strict=True)
    found = MCC.value(outcomes(answers))
    if len(set(labels)) == 2:
        assert found == pytest.approx(matthews_corrcoef(labels, predicted), abs=1e-12)
    else:
        assert math.isnan(found), "scikit-learn has 0 here"


@settings(deadline=None)
@given(ANSWERS)
def test_balanced_accuracy_is_sklearns_and_undefined_without_a_class(answers):
    labels, predicted = zip(*answers, strict=True)
    found = BALANCED_ACCURACY.value(outcomes(answers))
    if len(set(labels)) == 2:
        assert found == pytest.approx(balanced_accuracy_score(labels, predicted))
    else:
        assert math.isnan(found)


def test_the_confusion_counts_by_hand():
    answers = [(1, 1), (1, 1), (1, 0), (0, 0), (0, 1), (0, 1), (0, 1)]
    # 2 true positives, 1 true negative, 3 false positives, 1 false negative
    assert MCC.table(outcomes(answers)).sum(axis=0).tolist() == [2, 1, 3, 1]
    # (2 * 1 - 3 * 1) / sqrt(5 * 3 * 4 * 2) and (2/3 + 1/4) / 2
    assert MCC.value(outcomes(answers)) == pytest.approx(-1 / math.sqrt(120))
    assert BALANCED_ACCURACY.value(outcomes(answers)) == pytest.approx(11 / 24)


@pytest.mark.parametrize("sums", [(3, 0, 2, 0), (0, 3, 0, 2)])
def test_one_answer_to_all_items_has_correlation_0(sums):
    assert float(matthews(np.array(sums, dtype=float))) == 0


@pytest.mark.parametrize(
    "sums", [(4, 0, 0, 1), (0, 4, 1, 0), (5, 0, 0, 0), (0, 5, 0, 0), (0, 0, 3, 0), (0, 0, 0, 0)]
)
def test_labels_of_one_class_have_no_correlation(sums):
    assert math.isnan(float(matthews(np.array(sums, dtype=float))))
    assert math.isnan(float(balanced(np.array(sums, dtype=float))))


def test_every_quantity_knows_its_bounds_and_whether_it_is_a_share():
    assert [each.quantity for each in METRICS] == [PROPORTION, PROPORTION, CORRELATION, BALANCED]
    assert (PROPORTION.bounds, CORRELATION.bounds, BALANCED.bounds) == ((0, 1), (-1, 1), (0, 1))
    assert MEAN.bounds == (-math.inf, math.inf)
    assert [each.is_proportion for each in (MEAN, PROPORTION, CORRELATION, BALANCED)] == [
        False, True, False, False,
    ]  # fmt: skip


def test_correlation_of_large_counts_does_not_overflow():
    sums = np.array([4e5, 3e5, 1e5, 2e5])
    assert float(matthews(sums)) == pytest.approx(float(matthews(sums / 1e5)), rel=1e-12)


def test_combining_works_on_any_leading_shape():
    sums = np.random.default_rng(0).integers(1, 9, size=(3, 2, 4)).astype(float)
    for combine in (matthews, balanced):
        found = combine(sums)
        assert found.shape == (3, 2)
        assert found[2, 1] == combine(sums[2, 1])
    assert ratio(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [0.5, 0.75]
    assert np.isnan(ratio(np.zeros(2)))


def test_an_item_without_an_answer_is_wrong_for_accuracy_and_absent_from_the_confusion():
    mixed = [outcome(1, 1), outcome(0, None), outcome(0, 0)]
    assert ACCURACY.value(mixed) == pytest.approx(2 / 3)
    assert MCC.table(mixed)[1].tolist() == [0, 0, 0, 0]
    assert BALANCED_ACCURACY.value(mixed) == 1.0


def test_normalised_accuracy_divides_by_length():
    # per character: -4/2 = -2 against -6/6 = -1, so the longer one; unnormalised the shorter one
    longer = outcome(1, 0, (-4.0, -6.0), (2, 6))
    assert ACCURACY_NORMALISED.value([longer]) == 1.0
    assert ACCURACY.value([longer]) == 0.0
    assert ACCURACY_NORMALISED.value([outcome(1, 1, (-1.0, -6.0), (2, 6))]) == 0.0


def test_a_mean_leaves_out_undefined_items():
    values = {0: 1.0, 1: math.nan, 2: 4.0}
    mean = mean_metric("m", lambda each: values[each.predicted or 0], "none")
    assert mean.value([outcome(None, key) for key in values]) == 2.5
    assert math.isnan(mean.value([outcome(None, 1)]))
    assert (mean.name, mean.better, mean.quantity) == ("m", "none", MEAN)


def test_a_share_counts_each_item_once():
    share = proportion_metric("s", lambda each: each.predicted == 2, "half")
    answers = [outcome(None, predicted) for predicted in (2, 0, None, 2, 1)]
    assert share.table(answers).tolist() == [[1, 1], [0, 1], [0, 1], [1, 1], [0, 1]]
    assert share.value(answers) == 0.4
    assert (share.name, share.better, share.quantity) == ("s", "half", PROPORTION)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@settings(deadline=None)
@given(answers=ANSWERS, seed=st.integers(0, 1000))
def test_the_order_of_items_does_not_matter(metric: Metric, answers, seed):
    shuffled = list(answers)
    random.Random(seed).shuffle(shuffled)
    np.testing.assert_equal(metric.value(outcomes(shuffled)), metric.value(outcomes(answers)))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@settings(deadline=None)
@given(answers=ANSWERS)
def test_every_item_twice_changes_nothing(metric: Metric, answers):
    np.testing.assert_allclose(
        metric.value(outcomes(answers * 2)), metric.value(outcomes(answers)), atol=1e-12
    )

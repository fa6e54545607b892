from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student_t
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    matthews_corrcoef,
    roc_auc_score,
)

from ethosteer.records import Outcome
from ethosteer.statistics.metrics import (
    ACCURACY,
    ACCURACY_NORMALISED,
    AUC,
    BALANCED,
    BALANCED_ACCURACY,
    CORRELATION,
    MARGIN,
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
from ethosteer.statistics.paired import Clustered, cluster_sums, paired_difference
from ethosteer.statistics.uncertainty import uncertainty

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


# --- threshold-free measures


def scored(labels: Sequence[int], margins: Sequence[float]) -> list[Outcome]:
    """Outcomes of a model with these log-likelihoods of answer 1, less those of answer 0."""
    return [
        outcome(label, int(margin > 0), (-2.0, margin - 2.0))
        for label, margin in zip(labels, margins, strict=True)
    ]


def clusters_of(answers: list[Outcome], groups: Sequence[str] | None = None) -> Clustered:
    names = groups or [str(index) for index in range(len(answers))]
    return cluster_sums([AUC.table(answers)], names, AUC.quantity)


def placements(labels: Sequence[int], margins: Sequence[float]) -> tuple[list[float], list[float]]:
    """DeLong's structural components (1988), pair by pair: of positives and of negatives."""
    positives = [margin for label, margin in zip(labels, margins, strict=True) if label]
    negatives = [margin for label, margin in zip(labels, margins, strict=True) if not label]
    kernel = [[(x > y) + (x == y) / 2 for y in negatives] for x in positives]
    return (
        [sum(row) / len(negatives) for row in kernel],
        [sum(column) / len(positives) for column in zip(*kernel, strict=True)],
    )


def simulated(seed: int, items: int) -> tuple[list[int], list[float], list[float]]:
    """Labels, and the margins of two models that share much of their noise; few are tied."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, items)
    shared = draw.normal(size=items)
    first = np.round(labels + shared + draw.normal(size=items), 1)
    second = np.round(0.3 * labels + shared + draw.normal(size=items), 1)
    return labels.tolist(), first.tolist(), second.tolist()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3).map(float)), min_size=1, max_size=40)
)
def test_auc_is_sklearns_with_ties_and_undefined_without_a_class(pairs):
    labels, margins = zip(*pairs, strict=True)
    found = AUC.value(scored(labels, margins))
    if len(set(labels)) == 2:
        assert found == pytest.approx(roc_auc_score(labels, margins))
    else:
        assert math.isnan(found)


def test_auc_by_hand():
    # positives 1 (above 0, ties with 1) and 2 (above 0 and 1); negatives 0 (below both),
    # 1 (ties with 1, below 2) and 3 (above both)
    answers = scored([1, 1, 0, 0, 0], [1, 2, 0, 1, 3])
    assert AUC.value(answers) == pytest.approx((1.5 / 3 + 2 / 3) / 2)
    assert AUC.table(answers)[:, 0].tolist() == pytest.approx([0.5, 2 / 3, 0, 0, 0])
    assert AUC.table(answers)[:, 2].tolist() == pytest.approx([0, 0, 1, 0.75, 0])
    assert AUC.table(answers)[:, 5].tolist() == [1, 1, 1, 1, 1]


def test_items_without_a_label_do_not_count():
    answers = scored([1, 1, 0, 0, 0], [1, 2, 0, 1, 3])
    more = [outcome(None, 1, (0.0, 9.0)), *answers]
    assert AUC.value(more) == pytest.approx(AUC.value(answers))
    assert MARGIN.value(more) == pytest.approx(MARGIN.value(answers))
    assert AUC.table(more)[0].tolist() == [0] * 6


def test_pseudo_values_of_auc_have_delongs_variance():
    labels, margins, _ = simulated(1, 200)
    positives, negatives = placements(labels, margins)
    delong = np.var(positives, ddof=1) / len(positives) + np.var(negatives, ddof=1) / len(negatives)
    values = clusters_of(scored(labels, margins)).pseudo_values
    assert values.mean() == pytest.approx(np.mean(positives))
    # a jackknife divides by n - 1 where DeLong does by the class's size less one
    assert uncertainty(values).item_variance == pytest.approx(delong, rel=1 / 80)


def test_the_difference_of_two_aucs_has_delongs_variance_and_no_permutations():
    labels, first, second = simulated(2, 200)
    pairs = zip(placements(labels, first), placements(labels, second), strict=True)
    variance = sum(np.var(np.subtract(a, b), ddof=1) / len(a) for a, b in pairs)
    a, b = (clusters_of(scored(labels, margins)) for margins in (first, second))
    found = paired_difference(a, b, 0, np.random.default_rng(0))
    assert found.estimate.value == pytest.approx(
        roc_auc_score(labels, first) - roc_auc_score(labels, second)
    )
    assert found.error.standard_error**2 == pytest.approx(variance, rel=1 / 80)
    # Student's t, with the degrees of freedom of the rarer class; with 0 permutations a permutation
    # test's p would be 1
    df = min(sum(labels), 200 - sum(labels)) - 1
    expected = 2 * student_t.sf(found.estimate.value / found.error.standard_error, df)
    assert found.p == pytest.approx(expected, rel=0.02)
    assert found.p < 0.1


def test_clusters_of_copies_are_one_item_each():
    labels, margins, _ = simulated(3, 60)
    once = clusters_of(scored(labels, margins))
    groups = [str(index // 2) for index in range(120)]
    twice = clusters_of([each for each in scored(labels, margins) for _ in (0, 1)], groups)
    np.testing.assert_allclose(twice.pseudo_values, once.pseudo_values)


def test_a_shift_of_the_threshold_moves_accuracy_but_not_auc():
    labels, margins, _ = simulated(4, 100)
    before = scored(labels, margins)
    after = scored(labels, [margin - 3 for margin in margins])
    assert ACCURACY.value(after) < ACCURACY.value(before) - 0.1
    assert AUC.value(after) == pytest.approx(AUC.value(before))


def test_the_mean_margin_is_towards_the_correct_answer():
    assert MARGIN.value(scored([1, 0, 1], [2.0, -1.0, -4.0])) == pytest.approx((2 + 1 - 4) / 3)

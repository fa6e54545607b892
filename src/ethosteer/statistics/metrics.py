"""Metrics as sums over items, so that clusters are dropped and swapped by array operations.

A metric turns each outcome into a few numbers (``terms``) and combines their sums over items into
its value. The terms of accuracy are (correct, 1), combined as a ratio; those of the Matthews
correlation are (tp, tn, fp, fn). The area under the ROC curve is no such sum; its terms are
linearised (``PlacementMetric``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ethosteer.records import Outcome
from ethosteer.results.benchmarks import Better

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quantity:
    """How sums over items are combined: ``[..., k]`` -> values ``[...]``, nan where undefined.

    ``is_proportion`` if an item's terms are (1 or 0, 1): the value is a proportion of items.
    ``is_separable`` if an item's terms depend on that item alone. Only then may two models be
    swapped within clusters: the terms after a swap are those of a possible model. ``classes`` are,
    for a quantity that is made of classes of items, the terms that add up to a class's items.
    """

    combine: Callable[[Floats], Floats]
    bounds: tuple[float, float] = (-inf, inf)
    is_proportion: bool = False
    is_separable: bool = True
    classes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """A named number over outcomes: the ``terms`` of one, ``[k]``, and how their sums combine.

    ``better`` is the direction in which it improves.
    """

    name: str
    better: Better
    terms: Callable[[Outcome], tuple[float, ...]]
    quantity: Quantity

    def table(self, outcomes: Sequence[Outcome]) -> Floats:
        """Return the terms of all outcomes, ``[items, k]``."""
        return np.array([self.terms(outcome) for outcome in outcomes], dtype=np.float64)

    def value(self, outcomes: Sequence[Outcome]) -> float:
        """Return the metric over ``outcomes``."""
        return float(self.quantity.combine(self.table(outcomes).sum(axis=0)))


class PlacementMetric(Metric):
    """The area under the ROC curve of a score, linearised in DeLong's placement values (1988).

    ``terms`` are (score, 1 for a positive item, 1 for a negative one) of an outcome. A positive
    item's placement is the proportion of negative items with a lower score, a negative item's that
    of positive items with a higher one; ties count half. Both means are the area. Sums over subsets
    of items are combined to first order, so that jackknife pseudo-values have DeLong's variance,
    also over clusters (Obuchowski 1997).
    """

    __slots__ = ()

    def table(self, outcomes: Sequence[Outcome]) -> Floats:
        """Return the terms of all outcomes that ``area`` combines, ``[items, 6]``.

        They are (placement, 1) of a positive item, the same of a negative one, and (area, 1).
        """
        from scipy.stats import rankdata

        scores, positive, negative = super().table(outcomes).T
        positives, negatives, labelled = positive > 0, negative > 0, positive + negative
        placements, auc = np.zeros_like(scores), 0.0
        if positives.any() and negatives.any():
            ranks = np.zeros_like(scores)
            ranks[labelled > 0] = rankdata(scores[labelled > 0])
            # A rank among all items less that among its class counts the other class below.
            negatives_below = ranks[positives] - rankdata(scores[positives])
            positives_below = ranks[negatives] - rankdata(scores[negatives])
            placements[positives] = negatives_below / negative.sum()
            placements[negatives] = 1 - positives_below / positive.sum()
            auc = placements[positives].mean()
        columns = (placements * positive, positive, placements * negative, negative)
        return np.stack([*columns, auc * labelled, labelled], axis=1)


def ratio(sums: Floats) -> Floats:
    """Combine (numerator, denominator) sums, ``[..., 2]`` -> ``[...]``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def matthews(sums: Floats) -> Floats:
    """Matthews correlation from sums of (tp, tn, fp, fn), ``[..., 4]`` -> ``[...]``.

    0 where all answers are the same, as in scikit-learn's matthews_corrcoef; unlike there, nan
    where all labels are the same, since such items hold no evidence of a correlation.
    """
    tp, tn, fp, fn = (sums[..., i] for i in range(4))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    safe = np.where(product > 0, product, 1.0)
    correlation = np.where(product > 0, (tp * tn - fp * fn) / np.sqrt(safe), 0.0)
    return np.where(((tp + fn) > 0) & ((tn + fp) > 0), correlation, np.nan)


def balanced(sums: Floats) -> Floats:
    """Balanced accuracy, the mean recall of both classes, from sums of (tp, tn, fp, fn)."""
    tp, tn, fp, fn = (sums[..., i] for i in range(4))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((tp / (tp + fn) + tn / (tn + fp)) / 2)


def area(sums: Floats) -> Floats:
    """The area under the ROC curve from the sums of a ``PlacementMetric``, ``[..., 6]``.

    nan where a class is missing.
    """
    return ratio(sums[..., 0:2]) + ratio(sums[..., 2:4]) - ratio(sums[..., 4:6])


MEAN = Quantity(ratio)
PROPORTION = Quantity(ratio, (0.0, 1.0), is_proportion=True)
POSITIVES_AND_NEGATIVES = ((0, 3), (1, 2))
CORRELATION = Quantity(matthews, (-1.0, 1.0), classes=POSITIVES_AND_NEGATIVES)
BALANCED = Quantity(balanced, (0.0, 1.0), classes=POSITIVES_AND_NEGATIVES)
AREA = Quantity(area, (0.0, 1.0), is_separable=False, classes=((1,), (3,)))


def mean_metric(name: str, value: Callable[[Outcome], float], better: Better) -> Metric:
    """A metric that is the mean of a per-item value; items whose value is nan are left out."""

    def terms(outcome: Outcome) -> tuple[float, ...]:
        number = value(outcome)
        return (0.0, 0.0) if np.isnan(number) else (number, 1.0)

    return Metric(name, better, terms, MEAN)


def proportion_metric(name: str, holds: Callable[[Outcome], bool], better: Better) -> Metric:
    """A metric that is the proportion of items for which something holds."""
    return Metric(name, better, lambda outcome: (float(holds(outcome)), 1.0), PROPORTION)


def confusion(outcome: Outcome) -> tuple[float, ...]:
    """(tp, tn, fp, fn) of one outcome with labels 1 and 0; all 0 where there was no answer."""
    if outcome.predicted is None or outcome.label is None:
        return (0.0, 0.0, 0.0, 0.0)
    positive, right = outcome.predicted == 1, outcome.predicted == outcome.label
    return (
        float(positive and right),
        float(not positive and right),
        float(positive and not right),
        float(not positive and not right),
    )


def _margin_for_1(outcome: Outcome) -> float:
    """The log-likelihood of answer 1 less that of answer 0, in nats."""
    return outcome.log_likelihoods[1] - outcome.log_likelihoods[0]


def _ranked(outcome: Outcome) -> tuple[float, ...]:
    if outcome.label is None:
        return (0.0, 0.0, 0.0)
    return (_margin_for_1(outcome), float(outcome.label == 1), float(outcome.label == 0))


def _margin_for_correct(outcome: Outcome) -> float:
    if outcome.label is None:
        return float("nan")
    return _margin_for_1(outcome) if outcome.label == 1 else -_margin_for_1(outcome)


def _correct_normalised(outcome: Outcome) -> bool:
    scores = np.array(outcome.log_likelihoods) / np.array(outcome.lengths)
    return int(scores.argmax()) == outcome.label


ACCURACY = proportion_metric("acc", lambda outcome: bool(outcome.correct), "higher")
ACCURACY_NORMALISED = proportion_metric("acc_norm", _correct_normalised, "higher")
MCC = Metric("mcc", "higher", confusion, CORRELATION)
BALANCED_ACCURACY = Metric("balanced_acc", "higher", confusion, BALANCED)
AUC = PlacementMetric("auc", "higher", _ranked, AREA)
MARGIN = mean_metric("margin", _margin_for_correct, "higher")
BIAS_FREE = (BALANCED_ACCURACY, AUC, MARGIN)
"""For two fixed answers, beside accuracy, which rises or falls with a preference for one answer.

AUC (of the margin for answer 1, against label 1) does not change if the margins of all items shift
alike; balanced accuracy is 0.5 for a constant answer; the mean margin, in nats per item, is the
log-likelihood of the correct answer less that of the other.
"""

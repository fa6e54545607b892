"""Metrics as sums over items, so that a resample of items costs one matrix product.

A metric turns each outcome into a few numbers (``parts``) and combines their sums over items into
its value. Accuracy is (correct, 1) -> ratio; Matthews correlation is (tp, tn, fp, fn).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ethosteer.records import Outcome
from ethosteer.results import Better

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quantity:
    """What sums over items become: sums ``[..., k]`` -> values ``[...]``, nan where undefined.

    ``share`` says that an item's parts are (1 or 0, 1), so that the value is a share of items.
    """

    combine: Callable[[Floats], Floats]
    bounds: tuple[float, float] = (-inf, inf)
    share: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """A named number over outcomes: ``parts`` of one outcome, ``[k]``, and what their sums become.

    ``better`` says which way it improves.
    """

    name: str
    better: Better
    parts: Callable[[Outcome], tuple[float, ...]]
    quantity: Quantity

    def table(self, outcomes: Sequence[Outcome]) -> Floats:
        """Return the parts of all outcomes, ``[items, k]``."""
        return np.array([self.parts(outcome) for outcome in outcomes], dtype=np.float64)

    def value(self, outcomes: Sequence[Outcome]) -> float:
        """Return the metric over ``outcomes``."""
        return float(self.quantity.combine(self.table(outcomes).sum(axis=0)))


def ratio(sums: Floats) -> Floats:
    """Combine (numerator, denominator) sums, ``[..., 2]`` -> ``[...]``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def matthews(sums: Floats) -> Floats:
    """Matthews correlation from sums of (tp, tn, fp, fn), ``[..., 4]`` -> ``[...]``.

    0 where all answers are one, as scikit-learn's matthews_corrcoef has it; nan, which it has not,
    where all labels are one, since such items cannot tell.
    """
    tp, tn, fp, fn = (sums[..., i] for i in range(4))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    safe = np.where(product > 0, product, 1.0)
    found = np.where(product > 0, (tp * tn - fp * fn) / np.sqrt(safe), 0.0)
    return np.where(((tp + fn) > 0) & ((tn + fp) > 0), found, np.nan)


def balanced(sums: Floats) -> Floats:
    """Balanced accuracy, the mean recall of both classes, from sums of (tp, tn, fp, fn)."""
    tp, tn, fp, fn = (sums[..., i] for i in range(4))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((tp / (tp + fn) + tn / (tn + fp)) / 2)


MEAN = Quantity(ratio)
SHARE = Quantity(ratio, (0.0, 1.0), share=True)
CORRELATION = Quantity(matthews, (-1.0, 1.0))
BALANCED = Quantity(balanced, (0.0, 1.0))


def mean_metric(name: str, value: Callable[[Outcome], float], better: Better) -> Metric:
    """A metric that is the mean of a per-item value; items whose value is nan are left out."""

    def parts(outcome: Outcome) -> tuple[float, ...]:
        number = value(outcome)
        return (0.0, 0.0) if np.isnan(number) else (number, 1.0)

    return Metric(name, better, parts, MEAN)


def share_metric(name: str, holds: Callable[[Outcome], bool], better: Better) -> Metric:
    """A metric that is the share of items for which something holds."""
    return Metric(name, better, lambda outcome: (float(holds(outcome)), 1.0), SHARE)


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


def _correct(outcome: Outcome) -> bool:
    return bool(outcome.correct)


def _correct_normalised(outcome: Outcome) -> bool:
    scores = np.array(outcome.log_likelihoods) / np.array(outcome.lengths)
    return int(scores.argmax()) == outcome.label


ACCURACY = share_metric("acc", _correct, "higher")
ACCURACY_NORMALISED = share_metric("acc_norm", _correct_normalised, "higher")
MCC = Metric("mcc", "higher", confusion, CORRELATION)
BALANCED_ACCURACY = Metric("balanced_acc", "higher", confusion, BALANCED)

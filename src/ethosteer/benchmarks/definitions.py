"""Metrics of benchmarks that are not built in, made from definitions that results keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ethosteer.benchmarks.crows_pairs import LIKELIHOOD_DIFF, PCT_STEREOTYPE
from ethosteer.benchmarks.preferences import METRICS as PREFERENCE_METRICS
from ethosteer.benchmarks.toxigen_generation import PROBABILITY_OF_POSITIVE
from ethosteer.records import Outcome
from ethosteer.results.benchmarks import MetricDefinition
from ethosteer.statistics.metrics import (
    ACCURACY,
    ACCURACY_NORMALISED,
    BIAS_FREE,
    MCC,
    MEAN,
    PROPORTION,
    Metric,
    proportion_metric,
)

FIRST_LIKELIER = replace(PCT_STEREOTYPE, name="first_likelier_share", better="none")
POSITIVE_SHARE = proportion_metric("positive_share", lambda outcome: outcome.predicted == 1, "none")
POSITIVE_PROBABILITY = replace(PROBABILITY_OF_POSITIVE, name="positive_probability", better="none")
NO_ANSWER_SHARE = proportion_metric(
    "no_answer_share", lambda outcome: outcome.predicted is None, "none"
)

METRICS = {
    metric.name: metric
    for metric in (
        ACCURACY,
        ACCURACY_NORMALISED,
        MCC,
        *BIAS_FREE,
        *PREFERENCE_METRICS,
        PCT_STEREOTYPE,
        LIKELIHOOD_DIFF,
        FIRST_LIKELIER,
        POSITIVE_SHARE,
        POSITIVE_PROBABILITY,
        NO_ANSWER_SHARE,
    )
}


def define(*metrics: Metric) -> tuple[MetricDefinition, ...]:
    """Return the definitions of known metrics."""
    return tuple(MetricDefinition(metric.name, metric.better) for metric in metrics)


def defined_metrics(definitions: Sequence[MetricDefinition]) -> tuple[Metric, ...]:
    """Return the metrics of ``definitions``, in their order."""
    return tuple(map(_metric, definitions))


def _metric(definition: MetricDefinition) -> Metric:
    index = definition.score
    if index is None:
        return replace(METRICS[definition.name], better=definition.better)

    def terms(outcome: Outcome) -> tuple[float, ...]:
        score = outcome.scores[index]
        return (score, 1.0) if score == score else (0.0, 0.0)  # noqa: PLR0124 (nan: not scored)

    quantity = PROPORTION if definition.is_proportion else MEAN
    return Metric(definition.name, definition.better, terms, quantity)

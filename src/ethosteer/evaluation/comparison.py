"""Comparisons of models on benchmarks: paired differences, in families, with verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np

from ethosteer.benchmarks.base import Benchmark
from ethosteer.evaluation.summary import Terms
from ethosteer.records import CONTROLS
from ethosteer.results.benchmarks import Better
from ethosteer.results.comparisons import Comparison, Role
from ethosteer.settings import CompareSettings
from ethosteer.statistics.from_half import distance_difference
from ethosteer.statistics.metrics import Metric
from ethosteer.statistics.moderation import Testable, with_moderated_errors
from ethosteer.statistics.paired import Clustered, paired_difference
from ethosteer.statistics.verdicts import Rules, family_decisions

PERMUTATION_SEED = 20240

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """Comparisons that are corrected together, and their role in the study."""

    name: str
    role: Role = "exploratory"


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is compared: a metric's name, its benchmark or reward model, and its better direction.

    ``distance`` where it is the distance of proportions from one half.
    """

    benchmark: str
    metric: str
    better: Better
    distance: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """The difference of two models before its family is corrected; sizes are those of the pair."""

    family: Family
    quantity: Quantity
    pair: Pair
    difference: Testable
    items: int
    clusters: int
    seeds: int
    room: float


def measure_models(
    benchmark: Benchmark,
    terms: Terms,
    settings: CompareSettings,
    datasets: Mapping[str, str] = MappingProxyType({}),
) -> list[Measured]:
    """Measure all differences on a benchmark: arms from the control, and arms from each other.

    Primary metrics against the control join a family across benchmarks; every other metric has two
    families, which are exploratory. ``terms`` are those of every model on every metric, and
    ``datasets`` names the dataset that an arm was trained on.
    """
    arms = [model for model in terms[benchmark.metrics[0].name] if model not in CONTROLS]
    against_control = f"arms against {settings.control}"
    pairs: dict[str, list[Pair]] = {
        against_control: [(arm, settings.control) for arm in arms],
        "arms against each other": list(combinations(arms, 2)),
    }
    measured: list[Measured] = []
    for metric in benchmark.metrics:
        quantity = compared_quantity(benchmark.name, metric)
        for name, compared in pairs.items():
            exploratory = Family(f"{benchmark.title}, {quantity.metric}: {name}")
            is_primary = metric is benchmark.metrics[0] and name == against_control
            families = {}
            for pair in compared:
                dataset = datasets.get(pair[0], "")
                family = _across_benchmarks(benchmark, dataset, settings) if is_primary else None
                families[pair] = family or exploratory
            measured += measure(quantity, terms[metric.name], families, settings)
    return measured


def _across_benchmarks(
    benchmark: Benchmark, dataset: str, settings: CompareSettings
) -> Family | None:
    """Return the family of the primary metric of an arm of ``dataset`` against the control.

    The pairs of an arm's dataset check its training, and those of other datasets show what else it
    changed: two families. None where the study's primary benchmarks do not include this one.
    """
    end = f"arms against {settings.control}"
    if benchmark.dataset:
        pairs = "the arm's dataset" if benchmark.dataset.name == dataset else "other datasets"
        return Family(f"value profile, pairs of {pairs}: {end}", "value profile")
    if settings.primary is None:
        return Family(f"primary metrics of all benchmarks: {end}", "primary")
    if benchmark.name in settings.primary:
        return Family(f"primary metrics of the primary benchmarks: {end}", "primary")
    return None


def measure(
    quantity: Quantity,
    models: Mapping[str, Clustered],
    families: Mapping[Pair, Family],
    settings: CompareSettings,
) -> Iterator[Measured]:
    """Yield the differences of pairs of models in one quantity; ``families`` names each pair's.

    The pairs are alike, arms from the control or arms from each other, so that their seed variances
    moderate each other.
    """
    difference = distance_difference if quantity.distance else paired_difference
    differences = [
        difference(
            models[a],
            models[b],
            settings.resamples,
            # The same permutations for every pair: p must not differ by chance.
            np.random.default_rng(PERMUTATION_SEED),
        )
        for a, b in families
    ]
    compared = {name for pair in families for name in pair}
    for (pair, family), moderated in zip(
        families.items(), with_moderated_errors(differences, len(compared) - 1), strict=True
    ):
        a, b = pair
        yield Measured(
            family,
            quantity,
            pair,
            moderated,
            items=models[a].items,
            clusters=models[a].clusters,
            # Controls are not trained with seeds, so only arms can have too few.
            seeds=min((models[name].seeds for name in pair if name not in CONTROLS), default=1),
            room=_room(quantity, models[b]),
        )


def _room(quantity: Quantity, reference: Clustered) -> float:
    """Return by how much a model can be better than ``reference``; inf without such a bound.

    Where no direction is better it is the larger room of both directions.
    """
    low, high = reference.quantity.bounds
    value = reference.value
    if quantity.distance:
        return abs(value - 0.5)
    if quantity.better == "higher":
        return high - value
    return value - low if quantity.better == "lower" else max(high - value, value - low)


def decide(measured: Sequence[Measured], settings: CompareSettings) -> list[Comparison]:
    """Correct every family for multiple testing and give each difference its verdict, in order."""
    rules = Rules(settings.alpha, settings.correction, settings.margin, settings.effect)
    families: dict[Family, list[int]] = {}
    for index, measurement in enumerate(measured):
        families.setdefault(measurement.family, []).append(index)
    comparisons: dict[int, Comparison] = {}
    for indices in families.values():
        members = [measured[index] for index in indices]
        decisions = family_decisions(
            [measurement.difference for measurement in members],
            [measurement.quantity.better for measurement in members],
            rules,
        )
        for index, measurement, decision in zip(indices, members, decisions, strict=True):
            per_cluster = measurement.items / measurement.clusters
            needed, fewest, largest = (
                float(np.ceil(clusters * per_cluster)) for clusters in decision.clusters_needed
            )
            detectable, smallest, greatest = decision.minimum_detectable
            comparisons[index] = Comparison(
                benchmark=measurement.quantity.benchmark,
                metric=measurement.quantity.metric,
                a=measurement.pair[0],
                b=measurement.pair[1],
                difference=measurement.difference.estimate,
                p=measurement.difference.p,
                adjusted_p=decision.adjusted_p,
                items=measurement.items,
                clusters=measurement.clusters,
                seeds=measurement.seeds,
                minimum_detectable=detectable,
                verdict=decision.verdict,
                family=measurement.family.name,
                equivalence_p=decision.equivalence_p,
                items_needed=needed,
                role=measurement.family.role,
                decision_low=decision.low,
                decision_high=decision.high,
                decision_level=decision.level,
                minimum_detectable_low=smallest,
                minimum_detectable_high=greatest,
                items_needed_low=fewest,
                items_needed_high=largest,
                room=measurement.room,
            )
    return [comparisons[index] for index in range(len(measured))]


def compared_quantity(benchmark: str, metric: Metric) -> Quantity:
    """Return what is compared of a metric: where 50 % is the aim, the distance from it."""
    if metric.better != "half":
        return Quantity(benchmark, metric.name, metric.better)
    return Quantity(benchmark, f"{metric.name}, distance from 50 %", "lower", distance=True)

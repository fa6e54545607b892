"""Judge benchmarks: outcomes of models become estimates, warnings, paired differences, verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isfinite

import numpy as np

from ethosteer.benchmarks.base import Benchmark
from ethosteer.records import CONTROLS, Outcome
from ethosteer.results import BenchmarkCell, BenchmarkResult, Comparison, SliceCell
from ethosteer.settings import CompareSettings
from ethosteer.statistics import paired as statistics
from ethosteer.statistics.metrics import Metric, Quantity
from ethosteer.statistics.paired import Clustered, Rules, cluster_sums

ONE_ANSWER_SHARE = 0.95

ByModel = Mapping[str, Mapping[int, Sequence[Outcome]]]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Judge:
    """The settings and the random numbers of all comparisons."""

    settings: CompareSettings

    def generator(self) -> np.random.Generator:
        """Return the generator of one comparison: the same draws for all, so that all pair."""
        return np.random.default_rng(20240)

    @property
    def rules(self) -> Rules:
        """What the study declared of its tests."""
        own = self.settings
        return Rules(own.alpha, own.correction, own.margin, own.effect)

    def summary(
        self, benchmark: Benchmark, items: int, outcomes: ByModel, note: str = ""
    ) -> BenchmarkResult:
        """Summarise one benchmark: every model on every metric, with what to be wary of.

        ``note`` says which classifier judged its texts, where one did.
        """
        primary = benchmark.metrics[0]
        some = next(iter(next(iter(outcomes.values())).values()))
        return BenchmarkResult(
            name=benchmark.name,
            title=benchmark.title,
            primary=primary.name,
            better=primary.better,
            items=items,
            truncated=sum(outcome.truncated for outcome in some),
            source=benchmark.sources[0].home,
            licence=benchmark.sources[0].licence,
            baselines=baselines(benchmark, some),
            cells=tuple(
                _cell(model, metric, by_seed, benchmark)
                for model, by_seed in outcomes.items()
                for metric in benchmark.metrics
            ),
            slices=tuple(slice_cells(primary, outcomes)),
            classifier=note,
        )

    def comparisons(self, benchmark: Benchmark, outcomes: ByModel) -> list[Comparison]:
        """Compare on every metric in two families: arms with the control, arms with each other."""
        control = self.settings.control
        arms = [model for model in outcomes if model not in CONTROLS]
        families: dict[str, list[Pair]] = {
            f"arms against {control}": [(arm, control) for arm in arms],
            "arms against each other": list(combinations(arms, 2)),
        }
        return [
            comparison
            for metric in map(judged, benchmark.metrics)
            for name, pairs in families.items()
            for comparison in self.metric_family(
                f"{benchmark.title}, {metric.name}: {name}", benchmark.name, metric, outcomes, pairs
            )
        ]

    def metric_family(
        self,
        family: str,
        benchmark: str,
        metric: Metric,
        outcomes: ByModel,
        pairs: Sequence[Pair],
    ) -> list[Comparison]:
        """Compare pairs of models on one metric of one benchmark, as one family."""
        models = {model: clustered(metric, outcomes[model]) for pair in pairs for model in pair}
        return self.family(family, benchmark, metric.name, metric.better, models, pairs)

    def family(
        self,
        family: str,
        benchmark: str,
        metric: str,
        better: str,
        models: Mapping[str, Clustered],
        pairs: Sequence[Pair],
    ) -> list[Comparison]:
        """Compare pairs of models, correct for how many they are, and say what each shows."""
        differences = [
            statistics.paired_difference(
                models[a], models[b], self.settings.resamples, self.generator()
            )
            for a, b in pairs
        ]
        findings = statistics.judge_family(differences, better, self.rules)
        return [
            Comparison(
                benchmark=benchmark,
                metric=metric,
                a=a,
                b=b,
                difference=found.difference.estimate,
                p=found.difference.p,
                adjusted_p=found.adjusted_p,
                items=models[a].items,
                clusters=models[a].clusters,
                seeds=_seeds(models, a, b),
                minimum_detectable=found.minimum_detectable,
                verdict=found.verdict,
                family=family,
                equivalence_p=found.equivalence_p,
                items_needed=_items(found.clusters_needed, models[a]),
            )
            for (a, b), found in zip(pairs, findings, strict=True)
        ]


def _seeds(models: Mapping[str, Clustered], a: str, b: str) -> int:
    """The fewer seeds of two arms; a control has no seeds of its own to be short of."""
    return min([models[name].seeds for name in (a, b) if name not in CONTROLS], default=1)


def _items(clusters: float, model: Clustered) -> float:
    """How many items so many clusters have, at this model's items per cluster."""
    needed = clusters * model.items / model.clusters
    return float(np.ceil(needed)) if isfinite(needed) else needed


def _cell(
    model: str, metric: Metric, by_seed: Mapping[int, Sequence[Outcome]], benchmark: Benchmark
) -> BenchmarkCell:
    estimate = statistics.estimate(clustered(metric, by_seed))
    values = {seed: metric.value(own) for seed, own in by_seed.items()}
    return BenchmarkCell(model, metric.name, estimate, values, flags(benchmark, by_seed))


def slice_cells(metric: Metric, outcomes: ByModel) -> Iterator[SliceCell]:
    """Every model's value on every slice of a benchmark, its seeds taken together."""
    for model, by_seed in outcomes.items():
        own: dict[str, list[Outcome]] = {}
        for outcome in (each for seed in by_seed.values() for each in seed):
            for name in outcome.slices:
                own.setdefault(name, []).append(outcome)
        for name in sorted(own):
            yield SliceCell(model, name, metric.value(own[name]), len(own[name]) // len(by_seed))


def judged(metric: Metric) -> Metric:
    """Return what a verdict is about: the metric, or its distance from 50 % where that is best."""
    if metric.better != "half":
        return metric
    combine = metric.quantity.combine
    return replace(
        metric,
        name=f"{metric.name}, distance from 50 %",
        better="lower",
        quantity=Quantity(lambda sums: np.abs(combine(sums) - 0.5), (0.0, 0.5)),
    )


def clustered(metric: Metric, by_seed: Mapping[int, Sequence[Outcome]]) -> Clustered:
    """Sum a metric's parts by cluster, one table per seed (items in the same order in each)."""
    groups = [outcome.group for outcome in next(iter(by_seed.values()))]
    return cluster_sums([metric.table(own) for own in by_seed.values()], groups, metric.quantity)


def baselines(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """What always giving one answer would score, for benchmarks with fixed answers."""
    metric = benchmark.metrics[0]
    return {
        f"always {answer}": metric.value([_constant(outcome, index) for outcome in outcomes])
        for index, answer in enumerate(benchmark.answers)
    }


def _constant(outcome: Outcome, answer: int) -> Outcome:
    return replace(
        outcome,
        predicted=answer,
        correct=None if outcome.label is None else outcome.label == answer,
        log_likelihoods=tuple(float(i == answer) for i in range(max(2, len(outcome.lengths)))),
    )


def flags(benchmark: Benchmark, by_seed: Mapping[int, Sequence[Outcome]]) -> tuple[str, ...]:
    """Say where a model's result is degenerate: one answer to nearly all items, or a class rate."""
    found = []
    outcomes = [outcome for own in by_seed.values() for outcome in own]
    if benchmark.answers:
        counts = Counter(outcome.predicted for outcome in outcomes)
        answer, count = counts.most_common(1)[0]
        share = count / len(outcomes)
        if share > ONE_ANSWER_SHARE:
            given = (
                "gives no answer" if answer is None else f"answers {benchmark.answers[answer]!r}"
            )
            found.append(f"{given} to {share:.0%} of items")
        metric = benchmark.metrics[0]
        values = [metric.value(own) for own in by_seed.values()]
        rates = baselines(benchmark, next(iter(by_seed.values())))
        for name, rate in rates.items():
            if share <= ONE_ANSWER_SHARE and any(value == rate for value in values):
                found.append(f"equals the class rate of {name!r}")
    return tuple(found)

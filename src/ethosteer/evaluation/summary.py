"""One benchmark's summary: every model's estimates, and warnings about degenerate answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ethosteer.benchmarks.base import Benchmark
from ethosteer.records import Outcome
from ethosteer.results import BenchmarkCell, BenchmarkResult, SliceCell
from ethosteer.statistics.metrics import Metric
from ethosteer.statistics.paired import Clustered, cluster_sums, estimate

ONE_ANSWER = 0.95
"""A model that gives one answer to a larger proportion of items is flagged."""

BySeed = Mapping[int, Sequence[Outcome]]
ByModel = Mapping[str, BySeed]


def summarise(
    benchmark: Benchmark, items: int, outcomes: ByModel, classifier: str = ""
) -> BenchmarkResult:
    """Summarise every model on every metric of a benchmark with ``items`` items.

    ``classifier`` describes the one that classified generated texts, "" where there is none.
    """
    primary = benchmark.metrics[0]
    first_model = next(iter(outcomes.values()))
    first_outcomes = next(iter(first_model.values()))
    sizes = Counter(outcome.group for outcome in first_outcomes)
    cells = []
    for model, by_seed in outcomes.items():
        warnings = flags(benchmark, by_seed)
        for metric in benchmark.metrics:
            values = {seed: metric.value(answers) for seed, answers in by_seed.items()}
            whole = estimate(clustered(metric, by_seed))
            cells.append(BenchmarkCell(model, metric.name, whole, values, warnings))
    return BenchmarkResult(
        name=benchmark.name,
        title=benchmark.title,
        primary=primary.name,
        better=primary.better,
        items=items,
        truncated=sum(outcome.truncated for outcome in first_outcomes),
        source=benchmark.sources[0].home,
        licence=benchmark.sources[0].licence,
        baselines=baselines(benchmark, first_outcomes),
        cells=tuple(cells),
        slices=tuple(slice_cells(primary, outcomes)),
        classifier=classifier,
        dataset=benchmark.dataset.name if benchmark.dataset else "",
        clusters=len(sizes),
        largest_cluster=max(sizes.values()),
    )


def clustered(metric: Metric, by_seed: BySeed) -> Clustered:
    """Sum a metric's terms by cluster, one table per seed (items in the same order in each)."""
    groups = [outcome.group for outcome in next(iter(by_seed.values()))]
    tables = [metric.table(outcomes) for outcomes in by_seed.values()]
    return cluster_sums(tables, groups, metric.quantity)


def slice_cells(metric: Metric, outcomes: ByModel) -> Iterator[SliceCell]:
    """Yield every model's value on every slice of a benchmark, its seeds pooled."""
    for model, by_seed in outcomes.items():
        slices: dict[str, list[Outcome]] = {}
        for outcome in (outcome for seed in by_seed.values() for outcome in seed):
            for name in outcome.slices:
                slices.setdefault(name, []).append(outcome)
        for name, members in sorted(slices.items()):
            yield SliceCell(model, name, metric.value(members), len(members) // len(by_seed))


def baselines(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the primary metric of always giving one answer, for benchmarks with fixed answers."""
    metric = benchmark.metrics[0]
    return {
        f"always {answer}": metric.value([_constant(outcome, index) for outcome in outcomes])
        for index, answer in enumerate(benchmark.answers)
    }


def _constant(outcome: Outcome, answer: int) -> Outcome:
    """The outcome of a model that always gives ``answer``."""
    return replace(
        outcome,
        predicted=answer,
        correct=None if outcome.label is None else outcome.label == answer,
        log_likelihoods=tuple(
            float(index == answer) for index in range(max(2, len(outcome.lengths)))
        ),
    )


def flags(benchmark: Benchmark, by_seed: BySeed) -> tuple[str, ...]:
    """Describe degenerate answers: one to nearly all items, or a value equal to a class rate."""
    if not benchmark.answers:
        return ()
    outcomes = [outcome for seed in by_seed.values() for outcome in seed]
    (answer, count), *_ = Counter(outcome.predicted for outcome in outcomes).most_common(1)
    proportion = count / len(outcomes)
    if proportion > ONE_ANSWER:
        given = "gives no answer" if answer is None else f"answers {benchmark.answers[answer]!r}"
        return (f"{given} to {proportion:.0%} of items",)
    metric = benchmark.metrics[0]
    values = [metric.value(answers) for answers in by_seed.values()]
    return tuple(
        f"equals the class rate of {name!r}"
        for name, rate in baselines(benchmark, next(iter(by_seed.values()))).items()
        if any(value == rate for value in values)
    )

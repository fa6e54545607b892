"""One benchmark's summary: every model's estimates, and whether its answers are constant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ethosteer.benchmarks.base import Benchmark
from ethosteer.records import Outcome
from ethosteer.results.benchmarks import BenchmarkCell, BenchmarkResult, SliceCell
from ethosteer.results.estimates import Estimate
from ethosteer.statistics.metrics import Metric
from ethosteer.statistics.paired import Clustered, cluster_sums, estimate, paired_difference

ONE_ANSWER = 0.95
"""A model that gives one answer to a larger proportion of items is flagged."""
THIN = "\N{NARROW NO-BREAK SPACE}"

BySeed = Mapping[int, Sequence[Outcome]]
ByModel = Mapping[str, BySeed]
"""One benchmark's outcomes, perhaps read from disk a model at a time."""

Terms = Mapping[str, Mapping[str, Clustered]]
"""Sums of terms by metric, then model: all that comparisons need of outcomes."""


def summarise(
    benchmark: Benchmark, items: int, outcomes: ByModel, classifier: str = ""
) -> BenchmarkResult:
    """Summarise every model on every metric of a benchmark with ``items`` items.

    ``classifier`` describes the one that classified generated texts, "" where there is none.
    """
    return summarise_with_terms(benchmark, items, outcomes, classifier)[0]


def summarise_with_terms(
    benchmark: Benchmark, items: int, outcomes: ByModel, classifier: str = ""
) -> tuple[BenchmarkResult, Terms]:
    """Return the summary of a benchmark, and what comparisons need of its outcomes.

    Each model's outcomes are asked for once, and one model's at a time are in memory.
    """
    primary = benchmark.metrics[0]
    cells: list[BenchmarkCell] = []
    slices: list[SliceCell] = []
    terms: dict[str, dict[str, Clustered]] = {metric.name: {} for metric in benchmark.metrics}
    for model, by_seed in outcomes.items():
        first_outcomes = next(iter(by_seed.values()))
        if not cells:
            sizes = Counter(outcome.group for outcome in first_outcomes)
            truncated = sum(outcome.truncated for outcome in first_outcomes)
            constants = baselines(benchmark, first_outcomes)
        constant_answers = flags(benchmark, by_seed)
        above_constant = difference_from_constant(benchmark, by_seed)
        for metric in benchmark.metrics:
            values = {seed: metric.value(answers) for seed, answers in by_seed.items()}
            terms[metric.name][model] = clustered(metric, by_seed)
            whole = estimate(terms[metric.name][model])
            above = above_constant if metric is primary else None
            cells.append(BenchmarkCell(model, metric.name, whole, values, constant_answers, above))
        slices += slice_cells(primary, {model: by_seed})
    result = BenchmarkResult(
        name=benchmark.name,
        title=benchmark.title,
        primary=primary.name,
        better=primary.better,
        items=items,
        truncated=truncated,
        source=benchmark.sources[0].home,
        licence=benchmark.sources[0].licence,
        baselines=constants,
        cells=tuple(cells),
        slices=tuple(slices),
        classifier=classifier,
        dataset=benchmark.dataset.name if benchmark.dataset else "",
        clusters=len(sizes),
        largest_cluster=max(sizes.values()),
        per_token=benchmark.per_token,
        metrics=benchmark.definitions,
        note=benchmark.note,
    )
    return result, terms


def terms_of(metrics: Sequence[Metric], outcomes: ByModel) -> Terms:
    """Return what comparisons need of outcomes; one model's at a time are in memory."""
    terms: dict[str, dict[str, Clustered]] = {metric.name: {} for metric in metrics}
    for model, by_seed in outcomes.items():
        for metric in metrics:
            terms[metric.name][model] = clustered(metric, by_seed)
    return terms


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


def difference_from_constant(benchmark: Benchmark, by_seed: BySeed) -> Estimate | None:
    """Return the primary metric less that of the best constant answer, paired by item.

    None for benchmarks without fixed answers, or whose metric has no better direction.
    """
    metric = benchmark.metrics[0]
    outcomes = next(iter(by_seed.values()))
    if not benchmark.answers or metric.better not in ("higher", "lower"):
        return None
    constants = [
        [_constant(outcome, index) for outcome in outcomes]
        for index in range(len(benchmark.answers))
    ]
    best = (max if metric.better == "higher" else min)(constants, key=metric.value)
    # Its p is not used, so it needs no permutations.
    return paired_difference(
        clustered(metric, by_seed), clustered(metric, {0: best}), 0, np.random.default_rng(0)
    ).estimate


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
    """Say of which model's answers nearly all are the same, seeds together or in single ones.

    Each is a predicate of the model, such as "answers 'No' to 99.2 % of items in 1 of 3 seeds".
    Values of metrics do not count: varied answers may equal a constant's score by coincidence.
    """
    if not benchmark.answers:
        return ()
    seeds = list(by_seed.values())
    if constant := _constant_answer(benchmark, seeds):
        return (constant,)
    collapsed: dict[int | None, list[Sequence[Outcome]]] = {}
    for outcomes in seeds:
        if _constant_answer(benchmark, [outcomes]):
            collapsed.setdefault(_most_frequent([outcomes])[0], []).append(outcomes)
    return tuple(
        f"{_constant_answer(benchmark, alike)} in {len(alike)} of {len(seeds)} seeds"
        for alike in collapsed.values()
    )


def _most_frequent(seeds: Sequence[Sequence[Outcome]]) -> tuple[int | None, int]:
    """Return the answer that is given most often, and how often."""
    given = Counter(outcome.predicted for outcomes in seeds for outcome in outcomes)
    return given.most_common(1)[0]


def _constant_answer(benchmark: Benchmark, seeds: Sequence[Sequence[Outcome]]) -> str:
    """Describe the answer to more than ONE_ANSWER of the items of ``seeds``, "" if none is."""
    answer, count = _most_frequent(seeds)
    items = sum(map(len, seeds))
    if count / items <= ONE_ANSWER:
        return ""
    given = "gives no answer" if answer is None else f"answers {benchmark.answers[answer]!r}"
    share = "all items" if count == items else f"{100 * count / items:.1f}{THIN}% of items"
    return f"{given} to {share}"

"""Compare: outcomes of all models become estimates, paired differences and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import numpy as np

from ethosteer import catalog
from ethosteer.benchmarks.base import Benchmark
from ethosteer.config import CompareSettings
from ethosteer.maths import statistics
from ethosteer.maths.metrics import Metric
from ethosteer.maths.slopes import slope
from ethosteer.maths.statistics import Clustered, Floats, Resamples, cluster_sums
from ethosteer.models.rewards import read_scale
from ethosteer.records import (
    CONTROLS,
    Arm,
    ArmResult,
    BenchmarkCell,
    BenchmarkResult,
    Comparison,
    CrossCell,
    Estimate,
    Outcome,
    Overlap,
    SliceCell,
    Slope,
    SlopeResult,
    StageTime,
    StudyResults,
)
from ethosteer.results import results_to_json
from ethosteer.stages.cross import CrossResult, read_cross
from ethosteer.stages.curate import overlap, stored_set
from ethosteer.stages.evaluate import (
    benchmark_items,
    judge_note,
    stored_outcomes,
    stored_samples,
)
from ethosteer.stages.reward import HeldOutPairs, read_held_out
from ethosteer.stages.steer import Select, SteeringResult, read_steered
from ethosteer.stages.workspace import Workspace
from ethosteer.store import write_atomic, write_json

RESULTS = "results.json"
OVERLAPS = "overlaps.json"
ONE_ANSWER_SHARE = 0.95

ByModel = Mapping[str, Mapping[int, Sequence[Outcome]]]


def run(work: Workspace) -> None:
    """Measure overlap and compare all models, where that is not done."""
    if not work.is_done(work.plan.overlap):
        with work.terminal.stage("compare overlap"), work.writing(work.plan.overlap) as folder:
            write_json(folder / OVERLAPS, [asdict(found) for found in _overlaps(work)])
    if not work.is_done(work.plan.comparison):
        with work.terminal.stage("compare"), work.writing(work.plan.comparison) as folder:
            write_atomic(folder / RESULTS, results_to_json(_results(work)))


def _overlaps(work: Workspace) -> Iterator[Overlap]:
    n = work.config.compare.overlap_ngram
    sets = [stored_set(work, name) for name in work.config.data_arms()]
    for name in work.config.benchmarks:
        texts = [text for item in benchmark_items(work, name) for text in item.texts()]
        yield from (overlap(curated, name, texts, n) for curated in sets)


def _results(work: Workspace) -> StudyResults:
    """Bring everything together that the report shows."""
    judge = Judge(work.config.compare)
    benchmarks: list[BenchmarkResult] = []
    comparisons: list[Comparison] = []
    for name in work.config.benchmarks:
        outcomes: dict[str, dict[int, list[Outcome]]] = {}
        for model in work.plan.models:
            by_seed = outcomes.setdefault(model.name, {})
            by_seed[model.seed] = stored_outcomes(work, name, model)
        benchmark, items = catalog.benchmark(name), len(benchmark_items(work, name))
        benchmarks.append(judge.summary(benchmark, items, outcomes, judge_note(work, name)))
        comparisons += judge.comparisons(benchmark, outcomes)
    crossed = {seed: read_cross(work.path(step)) for seed, step in work.plan.cross.items()}
    steered = {
        arm: read_steered(work.path(work.plan.steering[arm])) for arm in work.config.arm_seeds()
    }
    return StudyResults(
        study=work.config.name,
        question=work.config.question,
        control=work.config.compare.control,
        seeds=work.config.seeds,
        models=(*CONTROLS, *work.config.arms),
        cards=tuple(stored_set(work, name).card for name in work.config.data_arms()),
        overlaps=tuple(Overlap(**found) for found in work.read_json(work.plan.overlap, OVERLAPS)),
        arms=tuple(
            judge.arm(
                arm,
                read_held_out(work.path(work.plan.rewards[arm])),
                read_scale(work.path(work.plan.rewards[arm])),
                steered[arm],
                work.config.data_of(arm.name),
                work.config.steer.select,
            )
            for arm in work.config.arm_seeds()
        ),
        cross_rewards=tuple(judge.cross_rewards(crossed)),
        cross_accuracies=tuple(judge.cross_accuracies(crossed)),
        slopes=tuple(judge.slopes(work.config.arms, steered)),
        benchmarks=tuple(benchmarks),
        comparisons=tuple(comparisons),
        samples=stored_samples(work),
        margin=work.config.compare.margin,
        alpha=work.config.compare.alpha,
    )


def stage_times(seconds: Mapping[str, float]) -> tuple[StageTime, ...]:
    """Add up the seconds of steps (``stage/name``) by stage."""
    totals: dict[str, float] = {}
    for name, spent in seconds.items():
        stage = name.split("/")[0]
        totals[stage] = totals.get(stage, 0.0) + spent
    return tuple(StageTime(stage, spent) for stage, spent in totals.items())


@dataclass(frozen=True, slots=True)
class Judge:
    """The settings and the random numbers of all comparisons."""

    settings: CompareSettings

    def generator(self) -> np.random.Generator:
        """Return the generator of one comparison: the same draws for all, so that all pair."""
        return np.random.default_rng(20240)

    def summary(
        self, benchmark: Benchmark, items: int, outcomes: ByModel, note: str = ""
    ) -> BenchmarkResult:
        """Summarise one benchmark: every model on every metric, with what to be wary of.

        ``note`` says which classifier judged its texts, where one did.
        """
        primary = benchmark.metrics[0]
        some = next(iter(next(iter(outcomes.values())).values()))
        clusters = len({outcome.group for outcome in some})
        draws = {
            seeds: statistics.resample(seeds, clusters, self.settings.resamples, self.generator())
            for seeds in {len(by_seed) for by_seed in outcomes.values()}
        }
        return BenchmarkResult(
            name=benchmark.name,
            title=benchmark.title,
            primary=primary.name,
            better=primary.better,
            items=items,
            cut=sum(outcome.cut for outcome in some),
            source=benchmark.sources[0].home,
            licence=benchmark.sources[0].licence,
            baselines=baselines(benchmark, some),
            cells=tuple(
                _cell(model, metric, by_seed, benchmark, draws[len(by_seed)])
                for model, by_seed in outcomes.items()
                for metric in benchmark.metrics
            ),
            slices=tuple(slice_cells(primary, outcomes)),
            note=note,
        )

    def comparisons(self, benchmark: Benchmark, outcomes: ByModel) -> list[Comparison]:
        """Compare in two families: the arms with the control, and the arms with each other."""
        metric = judged(benchmark.metrics[0])
        tables = {model: clustered(metric, by_seed) for model, by_seed in outcomes.items()}
        control = self.settings.control
        arms = [model for model in outcomes if model not in CONTROLS]
        against = [self._compare(benchmark.name, metric, tables, arm, control) for arm in arms]
        mutual = [
            self._compare(benchmark.name, metric, tables, a, b) for a, b in combinations(arms, 2)
        ]
        return [*self._corrected(against, metric), *self._corrected(mutual, metric)]

    def _compare(
        self, benchmark: str, metric: Metric, tables: Mapping[str, Clustered], a: str, b: str
    ) -> Comparison:
        difference = statistics.paired_difference(
            tables[a], tables[b], metric.combine, self.settings.resamples, self.generator()
        )
        return Comparison(
            benchmark=benchmark,
            metric=metric.name,
            a=a,
            b=b,
            difference=difference.estimate,
            p=difference.p,
            adjusted_p=float("nan"),
            items=tables[a].items,
            clusters=tables[a].clusters,
            seeds=tables[a].seeds,
            smallest_detectable=statistics.smallest_detectable(
                difference.standard_error, self.settings.alpha
            ),
            verdict="undecided",
        )

    def _corrected(self, family: list[Comparison], metric: Metric) -> list[Comparison]:
        adjusted = statistics.holm([comparison.p for comparison in family], self.settings.alpha)
        return [
            replace(
                comparison,
                adjusted_p=p,
                verdict=statistics.verdict(
                    comparison.difference,
                    p,
                    metric.better,
                    self.settings.alpha,
                    self.settings.margin,
                ),
            )
            for comparison, p in zip(family, adjusted, strict=True)
        ]

    def arm(
        self,
        arm: Arm,
        pairs: HeldOutPairs,
        scale: tuple[float, float],
        steering: SteeringResult,
        judge: str,
        select: Select,
    ) -> ArmResult:
        """Summarise one arm's reward model and its steering."""
        right = [float(c > r) for c, r in zip(pairs.chosen, pairs.rejected, strict=True)]
        end = steering.checkpoints[select]
        gains = [after - before for before, after in zip(steering.start, end.rewards, strict=True)]
        return ArmResult(
            arm=arm.name,
            seed=arm.seed,
            accuracy=self._mean(right, pairs.groups),
            length_correlation=pairs.length_correlation,
            normalisation_gain=scale[0],
            normalisation_bias=scale[1],
            start=self._mean(steering.start),
            end=self._mean(end.rewards),
            gain=self._mean(gains),
            kl=self._mean(end.kl),
            curve=tuple(steering.curve),
            judge=judge,
            algorithm=steering.algorithm,
            select=select,
            step=end.step,
            stopped=steering.stopped,
        )

    def cross_rewards(self, crossed: Mapping[int, CrossResult]) -> Iterator[CrossCell]:
        """Every model's mean reward under every reward model: prompts and seeds resampled."""
        some = next(iter(crossed.values()))
        for model, judges in some.rewards.items():
            for judge in judges:
                tables = [_mean_table(own.rewards[model][judge]) for own in crossed.values()]
                groups = [str(index) for index in range(len(tables[0]))]
                yield CrossCell(model, judge, self._ratio(tables, groups))

    def cross_accuracies(self, crossed: Mapping[int, CrossResult]) -> Iterator[CrossCell]:
        """Every reward model's accuracy on every dataset's held-out pairs."""
        some = next(iter(crossed.values()))
        for judge, datasets in some.right.items():
            for name in datasets:
                tables = [_mean_table(own.right[judge][name]) for own in crossed.values()]
                yield CrossCell(name, judge, self._ratio(tables, some.groups[name]))

    def slopes(
        self, arms: Iterable[str], steered: Mapping[Arm, SteeringResult]
    ) -> Iterator[SlopeResult]:
        """How fast each arm's reward rises, and whether two arms of one algorithm differ in it.

        Arms share prompts and noise, so two arms' rewards are compared step by step.
        """
        curves: dict[str, list[SteeringResult]] = {
            name: [own for arm, own in steered.items() if arm.name == name] for name in arms
        }
        found = [SlopeResult(name, "", _slope(own)) for name, own in curves.items()]
        pairs = [
            (a, b)
            for a, b in combinations(curves, 2)
            if curves[a][0].algorithm == curves[b][0].algorithm
        ]
        differing = [_slope(curves[a], curves[b]) for a, b in pairs]
        adjusted = statistics.holm([own.p for own in differing], self.settings.alpha)
        yield from found
        for (a, b), own, p in zip(pairs, differing, adjusted, strict=True):
            yield SlopeResult(a, b, own, p)

    def _ratio(self, tables: Sequence[Floats], groups: Sequence[str]) -> Estimate:
        return statistics.estimate(
            cluster_sums(tables, groups),
            lambda sums: np.asarray(sums[..., 0] / sums[..., 1]),
            self.settings.resamples,
            self.generator(),
        )

    def _mean(self, values: Sequence[float], groups: Sequence[str] | None = None) -> Estimate:
        return statistics.mean_estimate(values, self.settings.resamples, self.generator(), groups)


def _mean_table(values: Sequence[float] | Sequence[bool]) -> Floats:
    """Parts of a mean: (value, 1) per item."""
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


def _slope(own: Sequence[SteeringResult], other: Sequence[SteeringResult] = ()) -> Slope:
    """The slope over steps of reward, or of the difference to another arm's at the same steps."""
    series = []
    for index, result in enumerate(own):
        rewards = {point.step: point.reward for point in result.curve}
        if other:
            less = {point.step: point.reward for point in other[index].curve}
            rewards = {step: rewards[step] - less[step] for step in rewards if step in less}
        series.append((list(rewards), list(rewards.values())))
    return slope(series)


def _cell(
    model: str,
    metric: Metric,
    by_seed: Mapping[int, Sequence[Outcome]],
    benchmark: Benchmark,
    draws: Resamples,
) -> BenchmarkCell:
    estimate = statistics.estimate_from(clustered(metric, by_seed), metric.combine, draws)
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
    return replace(
        metric,
        name=f"{metric.name}, distance from 50 %",
        better="lower",
        combine=lambda sums: np.abs(metric.combine(sums) - 0.5),
    )


def clustered(metric: Metric, by_seed: Mapping[int, Sequence[Outcome]]) -> Clustered:
    """Sum a metric's parts by cluster, one table per seed (items in the same order in each)."""
    groups = [outcome.group for outcome in next(iter(by_seed.values()))]
    return cluster_sums([metric.table(own) for own in by_seed.values()], groups)


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
            shown = "no answer" if answer is None else f"{benchmark.answers[answer]!r}"
            found.append(f"answers {shown} to {share:.0%} of items")
        metric = benchmark.metrics[0]
        values = [metric.value(own) for own in by_seed.values()]
        rates = baselines(benchmark, next(iter(by_seed.values())))
        for name, rate in rates.items():
            if share <= ONE_ANSWER_SHARE and any(value == rate for value in values):
                found.append(f"equals the class rate of {name!r}")
    return tuple(found)

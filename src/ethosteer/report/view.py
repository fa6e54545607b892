"""Look-ups over a study's results, and what may be claimed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isnan
from typing import Literal

from ethosteer.evaluation.outcomes import Outcomes
from ethosteer.records import BASE, CONTROLS, FINETUNED, Item
from ethosteer.report.responses import Responses, responses_by_benchmark
from ethosteer.results.arms import ArmResult
from ethosteer.results.benchmarks import BenchmarkCell, BenchmarkResult
from ethosteer.results.comparisons import Comparison, Verdict
from ethosteer.results.estimates import Estimate
from ethosteer.results.study import StudyResults
from ethosteer.statistics.metrics import AUC

ShiftKind = Literal["threshold", "threshold or none", "opposite", "discrimination"]
DIRECTED: tuple[Verdict, ...] = ("better", "worse")

_MIRRORED: dict[Verdict, Verdict] = {
    "better": "worse",
    "worse": "better",
    "different": "different",
    "equivalent": "equivalent",
    "undecided": "undecided",
}


def mirrored(comparison: Comparison) -> Comparison:
    """Return the same comparison seen from ``b``: b - a."""
    ahead = comparison.difference  # its upper bound becomes the lower one
    return replace(
        comparison,
        a=comparison.b,
        b=comparison.a,
        difference=Estimate(-ahead.value, -ahead.high, -ahead.low, ahead.n),
        decision_low=-comparison.decision_high,
        decision_high=-comparison.decision_low,
        verdict=_MIRRORED[comparison.verdict],
    )


def constant_not_exceeded(benchmark: BenchmarkResult, cell: BenchmarkCell) -> str:
    """Name the best constant answer if ``cell``, of the primary metric, is not shown to be better.

    It reads "always answering 'No'". "" for a better one, and for benchmarks without fixed answers.
    """
    above = cell.above_constant
    if above is None or (above.low > 0 if benchmark.better == "higher" else above.high < 0):
        return ""
    best = (max if benchmark.better == "higher" else min)(benchmark.baselines.values())
    names = [name for name, value in benchmark.baselines.items() if value == best]
    if len(names) > 1:
        return "a constant answer"
    return f"always answering {names[0].removeprefix('always ')!r}"


@dataclass(frozen=True, slots=True)
class ConstantAnswers:
    """What two compared models' constant answers mean for the verdict on ``a`` against ``b``.

    ``a`` and ``b`` are predicates of the models ("answers 'No' to 99.0 % of items"), "" where
    answers vary. A constant answer names a cause and hides nothing, so every verdict counts:

    - a alone: a loss is a loss and a gain a gain, caused by the constant answer, but a is never
      called best.
    - b alone: better is better, said with what b answers, since the difference from a constant
      answer is no finding of skill. Whether a has some is ``View.constant_not_exceeded``.
    - both: the difference is that of two constant answers, and said to be so; a is never best.
    """

    a: str = ""
    b: str = ""

    @property
    def label(self) -> str:
        """A few words that flag the verdict on ``a``; "" where both models' answers vary."""
        if self.a and self.b:
            return "two constant answers"
        return "constant answer" if self.a else "against a constant answer" if self.b else ""


VARIED = ConstantAnswers()


@dataclass(frozen=True, slots=True)
class Shift:
    """Where AUC and the tested metric disagree on an arm against the control.

    ``kind`` is "threshold" where the tested metric differs and AUC is equivalent, "threshold or
    none" where it differs and AUC is undecided, "opposite" where AUC differs the other way, and
    "discrimination" where AUC alone differs.
    """

    arm: str
    title: str
    metric: str
    kind: ShiftKind
    auc: Comparison


@dataclass(frozen=True)
class View:
    """A study's results with its outcomes and items (by benchmark), to be asked by name.

    Outcomes and items may be read from disk each time they are asked for.
    """

    results: StudyResults
    outcomes: Outcomes = field(default_factory=dict)
    items: Mapping[str, Sequence[Item]] = field(default_factory=dict)

    @cached_property
    def responses(self) -> dict[str, Responses]:
        """All models' answers by benchmark, counted once."""
        return responses_by_benchmark(self.outcomes)

    @property
    def control(self) -> str:
        """The model that arms are held to."""
        return self.results.control

    @property
    def start(self) -> str:
        """The model that every arm starts from: the base, fine-tuned unless the study says no."""
        models = self.results.models
        return BASE if BASE in models and FINETUNED not in models else FINETUNED

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, each once, in the study's order."""
        return tuple(name for name in self.results.models if name not in CONTROLS)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models: controls first, then arms."""
        return (*(name for name in CONTROLS if name in self.results.models), *self.arms)

    def arm_results(self, arm: str) -> tuple[ArmResult, ...]:
        """Return the results of one arm, seed by seed."""
        results = [result for result in self.results.arms if result.arm == arm]
        return tuple(sorted(results, key=lambda result: result.seed))

    @property
    def runs(self) -> tuple[ArmResult, ...]:
        """Results of all arms in the study's order, each seed by seed."""
        return tuple(result for arm in self.arms for result in self.arm_results(arm))

    @property
    def reward_models(self) -> tuple[str, ...]:
        """Names of the reward models that scored every model's answers, in the study's order."""
        cells = (*self.results.cross_rewards, *self.results.cross_accuracies)
        return tuple(dict.fromkeys(cell.reward_model for cell in cells))

    def reward_model_of(self, arm: str) -> str | None:
        """Name the reward model that an arm was steered by, None for a control."""
        return next((result.reward_model or arm for result in self.arm_results(arm)), None)

    @property
    def profile(self) -> tuple[BenchmarkResult, ...]:
        """The benchmarks that ask a preference dataset's held-out pairs."""
        return tuple(benchmark for benchmark in self.results.benchmarks if benchmark.dataset)

    def dataset_of(self, arm: str) -> str:
        """Name the dataset that an arm was steered with, "" for a control."""
        return next((result.dataset for result in self.arm_results(arm)), "")

    def cell(
        self, benchmark: BenchmarkResult, model: str, metric: str = ""
    ) -> BenchmarkCell | None:
        """Return a model's cell for a metric, the primary one by default."""
        key = (model, metric or benchmark.primary)
        return next((cell for cell in benchmark.cells if (cell.model, cell.metric) == key), None)

    def metrics(self, benchmark: BenchmarkResult) -> tuple[str, ...]:
        """Names of a benchmark's metrics, the primary one first."""
        names = dict.fromkeys((benchmark.primary, *(cell.metric for cell in benchmark.cells)))
        return tuple(names)

    def tested_metric(self, benchmark: BenchmarkResult) -> str:
        """Name the metric that verdicts are about: the primary one, or its distance from the aim.

        The latter's name is the primary metric's, a comma, and words for the distance.
        """
        names = {
            comparison.metric
            for comparison in self.results.comparisons
            if comparison.benchmark == benchmark.name
        }
        derived = sorted(name for name in names if name.startswith(f"{benchmark.primary}, "))
        return derived[0] if derived and benchmark.primary not in names else benchmark.primary

    def comparison(
        self, benchmark: BenchmarkResult, a: str, b: str, metric: str = ""
    ) -> Comparison | None:
        """Return the comparison a - b, by default of the tested metric; mirrored if kept as b - a.

        None where they were not compared.
        """
        metric = metric or self.tested_metric(benchmark)
        for comparison in self.results.comparisons:
            if (comparison.benchmark, comparison.metric) == (benchmark.name, metric):
                if (comparison.a, comparison.b) == (a, b):
                    return comparison
                if (comparison.a, comparison.b) == (b, a):
                    return mirrored(comparison)
        return None

    def tested_comparisons(self) -> tuple[Comparison, ...]:
        """Return the comparisons of every benchmark's tested metric, in their order."""
        metrics = {
            benchmark.name: self.tested_metric(benchmark) for benchmark in self.results.benchmarks
        }
        return tuple(
            comparison
            for comparison in self.results.comparisons
            if metrics.get(comparison.benchmark) == comparison.metric
        )

    def verdict(self, benchmark: BenchmarkResult, a: str, b: str) -> Verdict | None:
        """Return the verdict of a against b on the tested metric, None where not compared."""
        comparison = self.comparison(benchmark, a, b)
        return comparison.verdict if comparison else None

    def constant_answer(self, benchmark: BenchmarkResult, model: str) -> str:
        """Say what a model answers to nearly all items, as its predicate; "" if answers vary."""
        cell = self.cell(benchmark, model)
        return " and ".join(cell.flags) if cell else ""

    def constant_answers(self, benchmark: BenchmarkResult, a: str, b: str) -> ConstantAnswers:
        """Return which of two compared models give a constant answer."""
        return ConstantAnswers(
            self.constant_answer(benchmark, a), self.constant_answer(benchmark, b)
        )

    def sound(self, benchmark: BenchmarkResult, *models: str) -> bool:
        """Whether none of these models gives a constant answer, in any of its seeds."""
        return not any(self.constant_answer(benchmark, model) for model in models)

    def flagged(self, benchmark: BenchmarkResult) -> list[str]:
        """Return the models that give a constant answer."""
        return [model for model in self.models if not self.sound(benchmark, model)]

    def constant_not_exceeded(self, benchmark: BenchmarkResult, model: str) -> str:
        """Name the best constant answer if a model is not shown to be better; "" if it is."""
        cell = self.cell(benchmark, model)
        return constant_not_exceeded(benchmark, cell) if cell else ""

    def shift(self, benchmark: BenchmarkResult, arm: str) -> Shift | None:
        """Return how AUC disagrees with the tested metric's verdict against the control, if so."""
        tested = self.comparison(benchmark, arm, self.control)
        auc = self.comparison(benchmark, arm, self.control, AUC.name)
        if tested is None or auc is None or isnan(auc.difference.value):
            return None
        if tested.verdict == auc.verdict:
            return None
        kind: ShiftKind
        if tested.verdict not in DIRECTED:
            if auc.verdict not in DIRECTED:
                return None
            kind = "discrimination"
        elif auc.verdict in DIRECTED:
            kind = "opposite"
        else:
            kind = "threshold" if auc.verdict == "equivalent" else "threshold or none"
        return Shift(arm, benchmark.title, tested.metric, kind, auc)

    def arms_that_are(self, verdict: Verdict, benchmark: BenchmarkResult) -> list[str]:
        """Return the arms with this verdict against the control; constant answers count too."""
        return [arm for arm in self.arms if self.verdict(benchmark, arm, self.control) == verdict]

    def benchmarks_where(self, arm: str, verdict: Verdict) -> list[BenchmarkResult]:
        """Return the benchmarks on which an arm has this verdict against the control."""
        return [
            benchmark
            for benchmark in self.results.benchmarks
            if self.verdict(benchmark, arm, self.control) == verdict
        ]

    def best(self, benchmark: BenchmarkResult) -> str | None:
        """Return the arm that is better than the control and than every other arm, if one is.

        A single arm has no other to beat, so it is never called best; nor is a constant answer.
        """
        for arm in self.arms_that_are("better", benchmark):
            others = [other for other in self.arms if other != arm]
            if (
                others
                and self.sound(benchmark, arm)
                and all(self.verdict(benchmark, arm, other) == "better" for other in others)
            ):
                return arm
        return None

"""Look-ups over a study's results, and what may be claimed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ethosteer.records import BASE, CONTROLS, FINETUNED, Item, Outcome
from ethosteer.results import (
    ArmResult,
    BenchmarkCell,
    BenchmarkResult,
    Comparison,
    Estimate,
    StudyResults,
    Verdict,
)

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
        verdict=_MIRRORED[comparison.verdict],
    )


@dataclass(frozen=True, slots=True)
class View:
    """A study's results with its outcomes and items (by benchmark), to be asked by name."""

    results: StudyResults
    outcomes: Sequence[Outcome] = ()
    items: Mapping[str, Sequence[Item]] = field(default_factory=dict)

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

    def sound(self, benchmark: BenchmarkResult, *models: str) -> bool:
        """Whether none of these models' primary numbers is flagged as degenerate."""
        cells = [self.cell(benchmark, model) for model in models]
        return not any(cell.flags for cell in cells if cell)

    def arms_that_are(self, verdict: Verdict, benchmark: BenchmarkResult) -> list[str]:
        """Return the arms with this verdict against the control, flagged numbers left out."""
        return [
            arm
            for arm in self.arms
            if self.verdict(benchmark, arm, self.control) == verdict
            and self.sound(benchmark, arm, self.control)
        ]

    def benchmarks_where(self, arm: str, verdict: Verdict) -> list[BenchmarkResult]:
        """Return the benchmarks on which an arm has this verdict, flagged numbers left out."""
        return [
            benchmark
            for benchmark in self.results.benchmarks
            if arm in self.arms_that_are(verdict, benchmark)
        ]

    def best(self, benchmark: BenchmarkResult) -> str | None:
        """Return the arm that is better than the control and than every other arm, if one is.

        A single arm has no other to beat, so it is never called best.
        """
        for arm in self.arms_that_are("better", benchmark):
            others = [other for other in self.arms if other != arm]
            if others and all(
                self.verdict(benchmark, arm, other) == "better" and self.sound(benchmark, other)
                for other in others
            ):
                return arm
        return None

    def flagged(self, benchmark: BenchmarkResult) -> list[str]:
        """Return the models whose primary number is flagged."""
        return [model for model in self.models if not self.sound(benchmark, model)]

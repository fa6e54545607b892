"""Arms of several finished studies, compared on the benchmarks that the gate lets through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

from ethosteer import catalog
from ethosteer.errors import InputError
from ethosteer.evaluation.comparable import ITEMS, read_items, what_differs
from ethosteer.evaluation.comparison import Judge, judged
from ethosteer.evaluation.outcomes import read_outcomes
from ethosteer.files import read_json, to_json, write_atomic
from ethosteer.records import CONTROLS, Item, Outcome
from ethosteer.report import write_report_across
from ethosteer.report.across import Across, Refusal
from ethosteer.results import (
    BenchmarkCell,
    BenchmarkResult,
    Comparison,
    StudyResults,
)
from ethosteer.settings import CompareSettings

RESULTS = "results.json"
OUTCOMES = "outcomes.parquet"

BySeed = Mapping[int, Sequence[Outcome]]


@dataclass(frozen=True)
class Run:
    """A finished study as its folder holds it."""

    results: StudyResults
    outcomes: Sequence[Outcome]
    items: Mapping[str, Sequence[Item]]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.results.study

    def benchmark(self, name: str) -> BenchmarkResult | None:
        """Return its result on one benchmark, if it has one."""
        return next((each for each in self.results.benchmarks if each.name == name), None)

    def answers(self, benchmark: str) -> dict[str, BySeed]:
        """Return its outcomes on one benchmark by model, under names that tell studies apart."""
        found: dict[str, dict[int, list[Outcome]]] = {}
        for outcome in self.outcomes:
            if outcome.benchmark == benchmark:
                name = self.label(outcome.model)
                own = replace(outcome, model=name)
                found.setdefault(name, {}).setdefault(outcome.seed, []).append(own)
        return {model: found[model] for model in map(self.label, self.results.models)}

    def label(self, model: str) -> str:
        """Return a model's name beside models of other studies."""
        return f"{self.name}: {model}"

    @property
    def arms(self) -> list[str]:
        """The labels of its arms."""
        return [self.label(model) for model in self.results.models if model not in CONTROLS]


def read_run(folder: Path) -> Run:
    """Read a finished study's files; InputError where one is missing or broken."""
    for name in (RESULTS, OUTCOMES, ITEMS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; run the study to its end first")
    results = read_json(folder / RESULTS, StudyResults)
    try:
        return Run(results, read_outcomes(folder / OUTCOMES), read_items(folder / ITEMS))
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(f"{folder}: its outcomes or items cannot be read: {fault}") from fault


def compare_runs(runs: Sequence[Run]) -> Across:
    """Compare every arm with every arm of each other study, where their results may be compared.

    Raises InputError where two studies have one name.
    """
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two of the studies are called {name!r}; give one another name")
    judge = Judge(_settings(runs))
    benchmarks, comparisons, refusals = [], [], []
    for name in dict.fromkeys(each.name for run in runs for each in run.results.benchmarks):
        passed, refused = _gate(name, runs)
        refusals += refused
        if passed:
            comparisons += list(_compare(judge, name, passed))
            benchmarks.append(_together(name, [run for run in runs if _is_in(run, passed)]))
    results = StudyResults(
        study=" and ".join(names),
        question=f"How do the arms of {' and '.join(names)} compare?",
        control="",
        seeds=tuple(sorted({seed for run in runs for seed in run.results.seeds})),
        models=tuple(run.label(model) for run in runs for model in run.results.models),
        cards=(),
        overlaps=(),
        arms=(),
        benchmarks=tuple(benchmarks),
        comparisons=tuple(comparisons),
        samples=(),
        margin=judge.settings.margin,
        alpha=judge.settings.alpha,
        effect=judge.settings.effect,
        correction=judge.settings.correction,
    )
    return Across(
        results=results,
        studies=tuple(run.results for run in runs),
        refusals=tuple(refusals),
        outcomes=tuple(
            replace(each, model=run.label(each.model)) for run in runs for each in run.outcomes
        ),
        items={name: items for run in reversed(runs) for name, items in run.items.items()},
    )


def write_across(runs: Sequence[Run], folder: Path) -> None:
    """Compare studies and write the report, its tables and its numbers into ``folder``."""
    found = compare_runs(runs)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RESULTS, to_json(found.results))
    write_report_across(found, folder)


def _settings(runs: Sequence[Run]) -> CompareSettings:
    """What all studies declared of their tests; what they do not agree on counts as undeclared."""
    own = [run.results for run in runs]
    margins, effects = {each.margin for each in own}, {each.effect for each in own}
    return CompareSettings(
        alpha=min(each.alpha for each in own),
        correction="holm" if any(each.correction == "holm" for each in own) else "bh",
        margin=margins.pop() if len(margins) == 1 else None,
        effect=effects.pop() if len(effects) == 1 else None,
    )


Pair = tuple[Run, Run]


def _gate(name: str, runs: Sequence[Run]) -> tuple[list[Pair], list[Refusal]]:
    """Say which studies' results on a benchmark may be compared, and why others may not."""
    passed, refused = [], []
    for a, b in combinations(runs, 2):
        of_a, of_b = a.benchmark(name), b.benchmark(name)
        if of_a is None or of_b is None:
            if of_a or of_b:
                lacking = a.name if of_a is None else b.name
                refused.append(Refusal(name, a.name, b.name, (f"{lacking} has not run it",)))
        elif reasons := what_differs(of_a, of_b):
            refused.append(Refusal(of_a.title, a.name, b.name, reasons))
        else:
            passed.append((a, b))
    return passed, refused


def _compare(judge: Judge, name: str, pairs: Sequence[Pair]) -> Iterator[Comparison]:
    """Compare arms across each pair of studies: one family a metric and pair."""
    benchmark = catalog.benchmark(name)
    for a, b in pairs:
        outcomes = {**a.answers(name), **b.answers(name)}
        for metric in map(judged, benchmark.metrics):
            family = f"{benchmark.title}, {metric.name}: arms of {a.name} against arms of {b.name}"
            yield from judge.metric_family(
                family, name, metric, outcomes, list(product(a.arms, b.arms))
            )


def _is_in(run: Run, pairs: Sequence[Pair]) -> bool:
    return any(run in pair for pair in pairs)


def _together(name: str, runs: Sequence[Run]) -> BenchmarkResult:
    """Lay studies' numbers on one benchmark side by side, as each study has them."""
    cells: list[BenchmarkCell] = []
    for run in runs:
        own = run.benchmark(name)
        assert own is not None
        cells += [replace(cell, model=run.label(cell.model)) for cell in own.cells]
    first = runs[0].benchmark(name)
    assert first is not None
    return replace(first, cells=tuple(cells), slices=())

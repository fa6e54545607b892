"""Arms of several finished studies, compared on the benchmarks whose results are comparable."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import cast

from ethosteer import catalog
from ethosteer.errors import InputError
from ethosteer.evaluation.comparable import what_differs
from ethosteer.evaluation.comparison import (
    Family,
    Measured,
    compared_quantity,
    decide,
    measure,
)
from ethosteer.evaluation.on_demand import OnDemand
from ethosteer.evaluation.summary import ByModel, terms_of
from ethosteer.files import make_folder, to_json, write_atomic
from ethosteer.records import CONTROLS, Item, Outcome
from ethosteer.report import write_report_across
from ethosteer.report.across import Across, Refusal
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.comparisons import Comparison
from ethosteer.results.study import StudyResults
from ethosteer.settings import CompareSettings
from ethosteer.study.finished import Run
from ethosteer.study.run import RESULTS


def compare_runs(runs: Sequence[Run]) -> Across:
    """Compare every arm with every arm of each other study, where their results are comparable.

    Raises InputError where two studies have the same name.
    """
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two of the studies are called {name!r}; rename one of them")
    settings = shared_settings([run.results for run in runs])
    benchmarks: list[BenchmarkResult] = []
    comparisons: list[Comparison] = []
    refusals: list[Refusal] = []
    run_benchmarks = dict.fromkeys(result.name for run in runs for result in run.results.benchmarks)
    for benchmark in run_benchmarks:
        comparable, refused = comparable_pairs(benchmark, runs)
        refusals += refused
        for pair in comparable:
            comparisons += compare_arms(settings, benchmark, *pair)
        compared = {run.name for pair in comparable for run in pair}
        if compared:
            involved = [run for run in runs if run.name in compared]
            benchmarks.append(merge_results(benchmark, involved))
    results = StudyResults(
        study=" and ".join(names),
        question=f"How do the arms of {' and '.join(names)} compare?",
        control="",
        seeds=tuple(sorted({seed for run in runs for seed in run.results.seeds})),
        models=tuple(qualified(run, model) for run in runs for model in run.results.models),
        cards=(),
        overlaps=(),
        arms=(),
        benchmarks=tuple(benchmarks),
        comparisons=tuple(comparisons),
        samples=(),
        margin=settings.margin,
        alpha=settings.alpha,
        effect=settings.effect,
        correction=settings.correction,
    )
    return Across(
        results=results,
        studies=tuple(run.results for run in runs),
        refusals=tuple(refusals),
        outcomes=OnDemand(
            {
                (benchmark, qualified(run, model), seed): partial(
                    run.stored_outcomes.__getitem__, (benchmark, model, seed)
                )
                for run in runs
                for benchmark, model, seed in run.stored_outcomes
            }
        ),
        # Where runs differ in a benchmark's items, the first run's are shown.
        items=ChainMap(*(cast("dict[str, Sequence[Item]]", run.item_records) for run in runs)),
    )


def write_across(runs: Sequence[Run], folder: Path) -> None:
    """Compare studies; write the report, its tables and ``results.json`` into ``folder``."""
    across = compare_runs(runs)
    make_folder(folder)
    write_atomic(folder / RESULTS, to_json(across.results))
    write_report_across(across, folder)


def qualified(run: Run, model: str) -> str:
    """Return a model's name, prefixed with its study's."""
    return f"{run.name}: {model}"


def shared_settings(studies: Sequence[StudyResults]) -> CompareSettings:
    """Return the strictest test settings: a margin or effect counts only where all agree on it."""
    margins = {study.margin for study in studies}
    effects = {study.effect for study in studies}
    return CompareSettings(
        alpha=min(study.alpha for study in studies),
        correction="holm" if any(study.correction == "holm" for study in studies) else "bh",
        margin=margins.pop() if len(margins) == 1 else None,
        effect=effects.pop() if len(effects) == 1 else None,
    )


def comparable_pairs(
    benchmark: str, runs: Sequence[Run]
) -> tuple[list[tuple[Run, Run]], list[Refusal]]:
    """Return the pairs of runs whose results on a benchmark are comparable, and the other pairs.

    A pair is refused where one run lacks the benchmark, and where items, prompts, dialogue
    template, tokenizer or classifier differ. Runs that both lack it are passed over.
    """
    comparable: list[tuple[Run, Run]] = []
    refused: list[Refusal] = []
    for a, b in combinations(runs, 2):
        result_a, result_b = a.benchmark(benchmark), b.benchmark(benchmark)
        if result_a is None or result_b is None:
            if result_a or result_b:
                lacking = a.name if result_a is None else b.name
                refused.append(Refusal(benchmark, a.name, b.name, (f"{lacking} has not run it",)))
        elif reasons := what_differs(result_a, result_b):
            refused.append(Refusal(result_a.title, a.name, b.name, reasons))
        else:
            comparable.append((a, b))
    return comparable, refused


def compare_arms(settings: CompareSettings, name: str, a: Run, b: Run) -> list[Comparison]:
    """Compare the arms of two runs on one benchmark: one family of tests for each metric."""
    result = a.benchmark(name)
    assert result is not None
    metrics = catalog.result_metrics(result)
    of_a, of_b = (terms_of(metrics, outcomes_by_model(run, name)) for run in (a, b))
    arms_a, arms_b = (
        [qualified(run, model) for model in run.results.models if model not in CONTROLS]
        for run in (a, b)
    )
    pairs = list(product(arms_a, arms_b))
    measured: list[Measured] = []
    for metric in metrics:
        quantity = compared_quantity(name, metric)
        models = {**of_a[metric.name], **of_b[metric.name]}
        family = Family(
            f"{result.title}, {quantity.metric}: arms of {a.name} against arms of {b.name}"
        )
        measured += measure(quantity, models, dict.fromkeys(pairs, family), settings)
    return decide(measured, settings)


def outcomes_by_model(run: Run, benchmark: str) -> ByModel:
    """Return a run's outcomes on one benchmark by model (its qualified name) and seed."""

    def read(model: str) -> dict[int, Sequence[Outcome]]:
        keys = [key for key in run.stored_outcomes if key[:2] == (benchmark, model)]
        return {key[2]: run.stored_outcomes[key] for key in keys}

    return OnDemand({qualified(run, model): partial(read, model) for model in run.results.models})


def merge_results(name: str, runs: Sequence[Run]) -> BenchmarkResult:
    """Return the cells of several runs on one benchmark as one result; each run must have it."""
    results = [(run, result) for run in runs if (result := run.benchmark(name))]
    cells = tuple(
        replace(cell, model=qualified(run, cell.model))
        for run, result in results
        for cell in result.cells
    )
    return replace(results[0][1], cells=cells, slices=())

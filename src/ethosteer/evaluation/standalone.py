"""Evaluate one model, and any adapters beside it, on benchmarks: no study needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ethosteer import catalog
from ethosteer.benchmarks.base import Benchmark
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.answering import answer_items, load_items, load_judge, token_budget
from ethosteer.evaluation.comparison import Judge
from ethosteer.models.adapters import find_adapter, load_bank
from ethosteer.models.base import SharedBase
from ethosteer.models.classifiers import Classifier
from ethosteer.models.loading import load_base, load_tokenizer
from ethosteer.progress import Terminal
from ethosteer.records import BASE, Item, Model, Outcome
from ethosteer.report.numbers import interval, number
from ethosteer.results import BenchmarkResult
from ethosteer.settings import BaseSettings, BenchmarkSettings, CompareSettings


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark to be answered: read, and checked, before any model is loaded."""

    benchmark: Benchmark
    items: tuple[Item, ...]
    judge: Classifier | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One benchmark, answered: its summary, and every model's outcomes in the order of items."""

    result: BenchmarkResult
    outcomes: dict[str, list[Outcome]]


def name_adapters(given: Sequence[str]) -> dict[str, Path]:
    """Read ``FOLDER``, ``HUB/ID`` or ``NAME=FOLDER``; a folder's own name is its adapter's name.

    Raises InputError where there is no adapter, or two of one name.
    """
    found: dict[str, Path] = {}
    for each in given:
        name, sign, place = each.partition("=")
        name, place = (name, place) if sign else (Path(each).resolve().name, each)
        if name in (*found, BASE):
            raise InputError(
                f"--adapter {each}: {name!r} is taken already; give it a name: NAME={place}"
            )
        found[name] = find_adapter(place)
    return found


def read_tasks(benchmarks: Mapping[str, BenchmarkSettings], origin: Origin) -> list[Task]:
    """Read all benchmark files; InputError for a malformed row."""
    tasks = []
    for name, settings in benchmarks.items():
        benchmark = catalog.benchmark(name)
        items = load_items(benchmark, settings, origin)
        if not items:
            raise InputError(f"benchmark {name}: its limit of {settings.limit} leaves no item")
        tasks.append(Task(benchmark, tuple(items), load_judge(benchmark, settings, origin)))
    return tasks


def evaluate_models(
    settings: BaseSettings,
    adapters: Mapping[str, Path],
    tasks: Sequence[Task],
    tokens_per_batch: int | None,
    terminal: Terminal,
) -> list[Evaluation]:
    """Answer every task with the base and with each of ``adapters`` (name to folder) on it."""
    load_tokenizer(settings)  # a model without one is told before its weights are read
    with terminal.stage("load"):
        base = load_base(settings)
        bank = load_bank(base, {BASE: None, **adapters}) if adapters else None
    models = [Model(name) for name in (BASE, *adapters)]
    with bank.applied() if bank else nullcontext():
        return [_evaluate(base, models, task, tokens_per_batch, terminal) for task in tasks]


def _evaluate(
    base: SharedBase,
    models: Sequence[Model],
    task: Task,
    tokens_per_batch: int | None,
    terminal: Terminal,
) -> Evaluation:
    name = task.benchmark.name
    with terminal.stage(f"evaluate {name}") as progress:
        budget = token_budget(tokens_per_batch, base, len(models))
        answers = answer_items(
            base, models, task.benchmark, task.items, task.judge, budget, progress
        )
    outcomes = {model.name: own for model, own in zip(models, answers, strict=True)}
    result = Judge(CompareSettings()).summary(
        task.benchmark,
        len(task.items),
        {model: {0: own} for model, own in outcomes.items()},
        task.judge.note if task.judge else "",
    )
    return Evaluation(result, outcomes)


def as_json(evaluations: Sequence[Evaluation]) -> str:
    """Return all that was found as JSON text, by model and benchmark."""
    models: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        for model, outcomes in evaluation.outcomes.items():
            own = models.setdefault(model, {"benchmarks": {}})
            own["benchmarks"][evaluation.result.name] = _benchmark(
                evaluation.result, model, outcomes
            )
    return json.dumps({"models": models}, ensure_ascii=False, allow_nan=False) + "\n"


def _benchmark(result: BenchmarkResult, model: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    cells = [cell for cell in result.cells if cell.model == model]
    return {
        "metrics": {cell.metric: _number(cell.estimate.value) for cell in cells},
        "intervals": {
            cell.metric: [_number(cell.estimate.low), _number(cell.estimate.high)] for cell in cells
        },
        "n": len(outcomes),
        "baselines": {name: _number(value) for name, value in result.baselines.items()},
        "flags": list(cells[0].flags),
        "slices": {
            cell.slice: {result.primary: _number(cell.value), "n": cell.n}
            for cell in result.slices
            if cell.model == model
        },
        "cut": [outcome.item for outcome in outcomes if outcome.truncated],
        "note": result.classifier,
        "items": [_item(outcome) for outcome in outcomes],
    }


def _number(value: float) -> float | None:
    """JSON has no nan and no infinity: null says that there is no such number."""
    return value if math.isfinite(value) else None


def _item(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.item,
        "loglikelihoods": [_number(value) for value in outcome.log_likelihoods],
        "predicted": outcome.predicted,
        "label": outcome.label,
        "group": outcome.group,
        "slices": list(outcome.slices),
        **({} if outcome.text is None else {"text": outcome.text}),
    }


def results_table(evaluations: Sequence[Evaluation]) -> Table:
    """Lay the primary metrics out for a person, with what there is to be wary of."""
    table = Table()
    for heading, justify in (
        ("benchmark", "left"),
        ("model", "left"),
        ("metric", "left"),
        ("value", "right"),
        ("95 % interval", "right"),
        ("n", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    warnings: list[str] = []
    for evaluation in evaluations:
        result = evaluation.result
        for cell in result.cells:
            if cell.metric != result.primary:
                continue
            estimate = cell.estimate
            table.add_row(
                escape(result.name),
                escape(cell.model) + (" *" if cell.flags else ""),
                result.primary,
                number(estimate.value),
                interval(estimate),
                f"{estimate.n:,}",
            )
            warnings += [f"* {result.name}, {cell.model}: {flag}" for flag in cell.flags]
        table.add_section()
        warnings += _warnings(evaluation)
    table.caption = escape("\n".join(warnings)) or None
    table.caption_justify = "left"
    return table


def _warnings(evaluation: Evaluation) -> list[str]:
    result = evaluation.result
    cut = [
        outcome.item for outcome in next(iter(evaluation.outcomes.values())) if outcome.truncated
    ]
    found = [f"{result.name}: judged by {result.classifier}"] if result.classifier else []
    if cut:
        more = f" and {len(cut) - 3:,} more" if len(cut) > 3 else ""
        found.append(
            f"{result.name}: {len(cut):,} items were too long and lost text: "
            f"{', '.join(cut[:3])}{more}"
        )
    return found

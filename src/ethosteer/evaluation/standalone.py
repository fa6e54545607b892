"""Evaluation of one model, and any adapters on it, on benchmarks; no study is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ethosteer import catalog
from ethosteer.benchmarks.base import Benchmark
from ethosteer.benchmarks.harness import PREFIX as HARNESS
from ethosteer.benchmarks.harness.task import HarnessTask
from ethosteer.data.pair_sets import Dataset, curate
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.answering import answer_items, benchmark_classifier, token_budget
from ethosteer.evaluation.items import load_items, pair_items, task_items, written_pairs
from ethosteer.evaluation.summary import summarise
from ethosteer.files import path_problem, usable_path
from ethosteer.models.adapter_config import check_base_of_adapter
from ethosteer.models.adapters import find_adapter, load_bank
from ethosteer.models.cached import prepare_base
from ethosteer.models.classifiers import Classifier
from ethosteer.models.fast.budget import held_in_memory
from ethosteer.models.loading import load_base, load_tokenizer
from ethosteer.models.requests import chat_template
from ethosteer.models.text import Template
from ethosteer.progress import Terminal
from ethosteer.records import BASE, Item, Model, Outcome
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.settings import (
    ArmSettings,
    BaseSettings,
    BenchmarkSettings,
    DataSettings,
    TemplateName,
)


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """One benchmark to be answered: read and checked before any model is loaded."""

    benchmark: Benchmark
    items: tuple[Item, ...]
    classifier: Classifier | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One benchmark, answered: its summary, and every model's outcomes in the order of items."""

    result: BenchmarkResult
    outcomes: dict[str, list[Outcome]]


def name_adapters(arguments: Sequence[str]) -> dict[str, Path]:
    """Read ``FOLDER``, ``HUB/ID`` or ``NAME=FOLDER``; a folder's own name is its adapter's name.

    Raises InputError where there is no adapter, or two of one name.
    """
    adapters: dict[str, Path] = {}
    for argument in arguments:
        name, sign, location = argument.partition("=")
        if not sign or _is_path(argument):
            name, location = usable_path(argument).resolve().name, argument
        if not name:
            raise InputError(f"--adapter {argument}: has no name before the equals sign")
        if name in (*adapters, BASE):
            raise InputError(
                f"--adapter {argument}: {name!r} is taken already; give it a name: NAME={location}"
            )
        adapters[name] = find_adapter(location)
    return adapters


def _is_path(argument: str) -> bool:
    """Tell a path with an equals sign from ``NAME=FOLDER``: it exists, or its folder does."""
    if path_problem(argument) is not None:
        return False
    path = Path(argument)
    is_below = path.parent != Path() and path.parent.is_dir()
    return path.is_dir() or is_below or "/" in argument.partition("=")[0]


def read_tasks(
    benchmarks: Mapping[str, BenchmarkSettings],
    origin: Origin,
    model: BaseSettings,
    template: TemplateName = "guanaco",
    *,
    chat: bool = False,
    include_path: tuple[str, ...] = (),
) -> list[BenchmarkTask]:
    """Read all benchmark files.

    Preference pairs are curated as by a study with default settings, written for ``model`` with
    ``template``; those of a file of the user's are all asked. Tasks of lm-evaluation-harness
    (``include_path``: folders with the user's) write their requests themselves, with ``chat`` by
    the tokenizer's chat template. Raises InputError for a malformed row, or a limit that leaves no
    item.
    """
    tasks = []
    for name, settings in benchmarks.items():
        if name.startswith(HARNESS):
            task = HarnessTask(name.removeprefix(HARNESS), include_path)
            writer = (
                chat_template(load_tokenizer(model)).chat_template.messages_text if chat else None
            )
            benchmark, items = task.benchmark(settings), task_items(task, settings, writer)
        else:
            benchmark = catalog.described_benchmark(name, settings)
            if benchmark.dataset:
                items = _pair_items(benchmark.dataset, settings, origin, model, template)
            elif benchmark.pairs:
                writing = Template(template, load_tokenizer(model))
                items = written_pairs(benchmark, settings, origin, writing)
            else:
                items = load_items(benchmark, settings, origin)
        if not items:
            raise InputError(f"benchmark {name}: its limit of {settings.limit} leaves no item")
        classifier = (
            benchmark_classifier(benchmark, settings, origin) if benchmark.classification else None
        )
        tasks.append(BenchmarkTask(benchmark, tuple(items), classifier))
    return tasks


def _pair_items(
    dataset: Dataset,
    settings: BenchmarkSettings,
    origin: Origin,
    model: BaseSettings,
    template: TemplateName,
) -> list[Item]:
    writer = Template(template, load_tokenizer(model))
    limits = DataSettings(template=template)
    return pair_items(curate(dataset, ArmSettings(), limits, origin, writer).test, settings, writer)


@held_in_memory("the base and the adapters")
def evaluate_models(
    settings: BaseSettings,
    adapters: Mapping[str, Path],
    tasks: Sequence[BenchmarkTask],
    tokens_per_batch: int | None,
    terminal: Terminal,
    *,
    chat: bool = False,
) -> list[Evaluation]:
    """Answer every task with the base and with each of ``adapters`` (name to folder) on it.

    With ``chat`` every request is written by the tokenizer's chat template.
    """
    prepare_base(settings.model, terminal)
    for folder in adapters.values():
        if note := check_base_of_adapter(folder, settings):
            terminal.say(note)
    # before weights are read, so that a missing tokenizer or chat template is reported at once
    tokenizer = load_tokenizer(settings)
    template = chat_template(tokenizer) if chat else None
    with terminal.stage("load"):
        base = load_base(settings)
        bank = load_bank(base, {BASE: None, **adapters}) if adapters else None
    models = [Model(name) for name in (BASE, *adapters)]
    budget = token_budget(tokens_per_batch, base, len(models))
    evaluations = []
    with bank.applied() if bank else nullcontext():
        for task in tasks:
            with terminal.stage(f"evaluate {task.benchmark.name}") as progress:
                answers = answer_items(
                    base,
                    models,
                    task.benchmark,
                    task.items,
                    task.classifier,
                    budget,
                    progress,
                    # a task of lm-evaluation-harness has written its requests already
                    None if task.benchmark.score else template,
                )
            outcomes = dict(zip((model.name for model in models), answers, strict=True))
            result = summarise(
                task.benchmark,
                len(task.items),
                {name: {0: answered} for name, answered in outcomes.items()},
                task.classifier.note if task.classifier else "",
            )
            # pairs are written by the dialogue template in either case
            is_pairs = bool(task.benchmark.dataset or task.benchmark.pairs)
            result = replace(result, chat=chat and not is_pairs)
            evaluations.append(Evaluation(result, outcomes))
    return evaluations


def as_json(evaluations: Sequence[Evaluation]) -> str:
    """Return results and every item's outcome as JSON text, by model and benchmark."""
    models: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        for model, outcomes in evaluation.outcomes.items():
            benchmarks = models.setdefault(model, {"benchmarks": {}})["benchmarks"]
            benchmarks[evaluation.result.name] = _benchmark(evaluation.result, model, outcomes)
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
        "chat": result.chat,
        "items": [
            {
                "id": outcome.item,
                "loglikelihoods": [_number(value) for value in outcome.log_likelihoods],
                "predicted": outcome.predicted,
                "label": outcome.label,
                "group": outcome.group,
                "slices": list(outcome.slices),
                **({} if outcome.text is None else {"text": outcome.text}),
                **({} if not outcome.scores else {"scores": list(map(_number, outcome.scores))}),
            }
            for outcome in outcomes
        ],
    }


def _number(value: float) -> float | None:
    """Return null for nan and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None

"""Item by item: where one model is right and another wrong, for the page's own script to show.

A page may carry tens of thousands of answers, so each benchmark's are one compressed block that the
page opens only when somebody looks at it. They are data to the script, never markup.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from ethosteer.records import Item, Outcome
from ethosteer.report.blocks import Cell, Column, Flips, PackedItems, Table
from ethosteer.report.numbers import NONE, count
from ethosteer.report.view import View
from ethosteer.results import BenchmarkResult

HEAD, TAIL = 1200, 400
"""Characters kept of both ends of a text that is longer than both."""

ByModel = dict[tuple[str, int], dict[str, Outcome]]


def flip_link(benchmark: BenchmarkResult, a: str, b: str) -> str:
    """Return the address, within the page, of the items on which two models part."""
    return "#flips=" + "/".join(
        quote(part, safe="", errors="replace") for part in (benchmark.name, a, b)
    )


def flip_view(view: View) -> Flips | None:
    """Return every benchmark's items and answers, packed; None where none are at hand."""
    packed = []
    answered = answers_by_benchmark(view)
    for benchmark in view.results.benchmarks:
        items, models = view.items.get(benchmark.name, ()), answered.get(benchmark.name, {})
        if items and models:
            packed.append(_packed(benchmark, items, _in_order(view, models)))
    return Flips(tuple(packed), view.control) if packed else None


def answers_by_benchmark(view: View) -> dict[str, ByModel]:
    """Sort outcomes by benchmark, then model and seed, then item."""
    found: dict[str, ByModel] = {}
    for outcome in view.outcomes:
        by_model = found.setdefault(outcome.benchmark, {})
        by_model.setdefault((outcome.model, outcome.seed), {})[outcome.item] = outcome
    return found


def flip_table(view: View) -> Table | None:
    """Return how many answers each arm mends and spoils against the control; None where unknown."""
    rows = []
    answered = answers_by_benchmark(view)
    for benchmark in view.results.benchmarks:
        models = answered.get(benchmark.name, {})
        control = models.get((view.control, 0), {})
        if any(outcome.label is not None for outcome in control.values()):
            rows += [_flip_row(view, benchmark, arm, models, control) for arm in view.arms]
    if not rows:
        return None
    return Table(
        title=f"Answers that differ from those of {view.control}",
        columns=(
            Column("benchmark"),
            Column("arm"),
            Column("right where the control is wrong", "number"),
            Column("wrong where the control is right", "number"),
            Column("answers compared", "number"),
        ),
        rows=tuple(rows),
        note="Counted over all items and seeds. Where the first two are near each other, an arm "
        "answers differently without answering better.",
        folded=True,
    )


def _flip_row(
    view: View,
    benchmark: BenchmarkResult,
    arm: str,
    models: ByModel,
    control: Mapping[str, Outcome],
) -> tuple[Cell, ...]:
    own = [by_item for (model, _), by_item in models.items() if model == arm]
    pairs = [
        (bool(outcome.correct), bool(control[item].correct))
        for by_item in own
        for item, outcome in by_item.items()
        if item in control
    ]
    mended, spoilt = pairs.count((True, False)), pairs.count((False, True))
    link = flip_link(benchmark, arm, view.control)
    if not pairs:
        return (Cell(benchmark.title), Cell(arm), Cell(NONE), Cell(NONE), Cell(count(0)))
    return (
        Cell(benchmark.title),
        Cell(arm, link=link),
        Cell(count(mended)),
        Cell(count(spoilt)),
        Cell(count(len(pairs))),
    )


def _in_order(view: View, models: ByModel) -> ByModel:
    places = {name: place for place, name in enumerate(view.models)}
    order = sorted(models, key=lambda key: (places.get(key[0], len(places)), key[1]))
    return {key: models[key] for key in order}


def _packed(benchmark: BenchmarkResult, items: Sequence[Item], models: ByModel) -> PackedItems:
    """Lay one benchmark out in columns, and compress it: the same bytes for the same content."""
    slices = sorted({name for item in items for name in item.slices})
    places = {name: place for place, name in enumerate(slices)}
    answers = [[own.get(item.id) for item in items] for own in models.values()]
    columns = {
        "title": benchmark.title,
        "models": list(models),
        "ids": [item.id for item in items],
        "groups": [item.group if item.group != item.id else "" for item in items],
        "slices": slices,
        "inSlices": [[places[name] for name in item.slices] for item in items],
        "labels": [item.label for item in items],
        "prompts": [[_clipped(text) for text in _contexts(item)] for item in items],
        "choices": [item.continuations for item in items],
        "predicted": [[each.predicted if each else None for each in own] for own in answers],
        "margins": [[_margin(each) if each else None for each in own] for own in answers],
        "texts": [[each.text if each else None for each in own] for own in answers]
        if any(each and each.text is not None for own in answers for each in own)
        else None,
    }
    text = json.dumps(columns, ensure_ascii=False, separators=(",", ":"))
    data = gzip.compress(text.encode("utf-8", "replace"), mtime=0)
    return PackedItems(benchmark.name, benchmark.title, base64.b64encode(data).decode("ascii"))


def _contexts(item: Item) -> tuple[str, ...]:
    return item.contexts[:1] if len(set(item.contexts)) == 1 else item.contexts


def _clipped(text: str) -> str:
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} […] {text[-TAIL:]}"


def _margin(outcome: Outcome) -> float | None:
    """The nats by which the right choice (without one: the first) leads the best other."""
    scores, gold = outcome.log_likelihoods, outcome.label or 0
    if len(scores) < 2 or gold >= len(scores):
        return None
    return round(scores[gold] - max(scores[:gold] + scores[gold + 1 :]), 3)

"""Items and answers, for the page's script to show one by one, and counts of discordant items.

A page may carry tens of thousands of answers, so each benchmark's are one compressed block that the
page opens only when somebody looks at it. They are data to the script, never markup.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite
from operator import truediv
from urllib.parse import quote

from ethosteer.records import Item, Outcome
from ethosteer.report.blocks import ItemBrowser, PackedItems, Table
from ethosteer.report.table import Numbers, Value, cell, table
from ethosteer.report.view import View
from ethosteer.results import BenchmarkResult

HEAD, TAIL = 1200, 400
"""Characters kept from the start and the end of a longer text."""

ITEM_FILES = ("items.parquet", "outcomes.parquet")
"""The files of a study with all items and all answers."""

Answers = Mapping[tuple[str, int], Mapping[str, Outcome]]
"""One benchmark's outcomes by (model, seed), then by item id."""


def item_link(view: View, benchmark: BenchmarkResult, a: str, b: str) -> str:
    """Return the address, within the page, of the items that ``a`` and ``b`` answer differently.

    "" where the report has no items.
    """
    names = (quote(name, safe="", errors="replace") for name in (benchmark.name, a, b))
    return f"#items={'/'.join(names)}" if view.items else ""


def answers_by_benchmark(view: View) -> dict[str, Answers]:
    """Return all outcomes by benchmark, then model and seed, then item."""
    answers: defaultdict[str, defaultdict[tuple[str, int], dict[str, Outcome]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for outcome in view.outcomes:
        answers[outcome.benchmark][outcome.model, outcome.seed][outcome.item] = outcome
    return {benchmark: dict(by_model) for benchmark, by_model in answers.items()}


def discordant_table(view: View) -> Table | None:
    """Return the counts of items that each arm and the control answer differently, by direction.

    None where no answer of the control has a label to be held to.
    """
    rows = []
    answers = answers_by_benchmark(view)
    for benchmark in view.results.benchmarks:
        by_model = answers.get(benchmark.name, {})
        control = by_model.get((view.control, 0), {})
        if any(outcome.label is not None for outcome in control.values()):
            rows += [_discordant_row(view, benchmark, arm, by_model) for arm in view.arms]
    if not rows:
        return None
    return table(
        f"Discordant items against {view.control}",
        (
            "benchmark",
            "arm",
            Numbers("arm right, control wrong"),
            Numbers("arm wrong, control right"),
            Numbers("answers compared"),
        ),
        rows,
        note="Counted over all items and seeds. Where the two counts are similar, an arm answers "
        "differently but not better.",
        folded=True,
    )


def _discordant_row(
    view: View, benchmark: BenchmarkResult, arm: str, answers: Answers
) -> tuple[Value, ...]:
    control = answers[view.control, 0]
    pairs = [
        (bool(outcome.correct), bool(control[item].correct))
        for (model, _), outcomes in answers.items()
        for item, outcome in outcomes.items()
        if model == arm and item in control
    ]
    if not pairs:
        return (benchmark.title, arm, None, None, 0)
    return (
        benchmark.title,
        cell(arm, link=item_link(view, benchmark, arm, view.control)),
        pairs.count((True, False)),
        pairs.count((False, True)),
        len(pairs),
    )


def largest_finding(view: View, benchmarks: Sequence[BenchmarkResult]) -> tuple[str, str]:
    """Name the benchmark and the arm with the largest difference from the control.

    Differences that were shown precede others, and sound numbers flagged ones; ("", "") where
    nothing was compared.
    """
    ranked = [
        (
            view.sound(benchmark, arm, view.control),
            comparison.verdict in ("better", "worse", "different"),
            abs(comparison.difference.value),
            benchmark.name,
            arm,
        )
        for benchmark in benchmarks
        for arm in view.arms
        if (comparison := view.comparison(benchmark, arm, view.control))
        and isfinite(comparison.difference.value)
    ]
    return max(ranked, key=lambda finding: finding[:3])[3:] if ranked else ("", "")


def item_browser(view: View, files: Sequence[str] = ()) -> ItemBrowser | None:
    """Return every benchmark's items and answers, packed; None without items.

    ``files`` are those beside the report that hold the same.
    """
    answers = answers_by_benchmark(view)
    shown = [
        benchmark
        for benchmark in view.results.benchmarks
        if view.items.get(benchmark.name) and benchmark.name in answers
    ]
    if not shown:
        return None
    packed = (
        _packed(view, benchmark, view.items[benchmark.name], answers[benchmark.name])
        for benchmark in shown
    )
    kept = tuple(name for name in ITEM_FILES if name in files)
    return ItemBrowser(tuple(packed), view.control, *largest_finding(view, shown), files=kept)


def _packed(
    view: View, benchmark: BenchmarkResult, items: Sequence[Item], answers: Answers
) -> PackedItems:
    """Return one benchmark in columns, compressed: the same bytes for the same content."""
    order = {model: position for position, model in enumerate(view.models)}
    models = sorted(answers, key=lambda key: (order.get(key[0], len(order)), key[1]))
    outcomes = [[answers[model].get(item.id) for item in items] for model in models]
    slices = sorted({name for item in items for name in item.slices})
    free_text = any(outcome and outcome.text is not None for row in outcomes for outcome in row)
    columns = {
        "title": benchmark.title,
        "models": models,
        "ids": [item.id for item in items],
        "groups": [item.group if item.group != item.id else "" for item in items],
        "slices": slices,
        "inSlices": [[slices.index(name) for name in item.slices] for item in items],
        "labels": [item.label for item in items],
        "expected": [item.expected for item in items]
        if any(item.expected for item in items)
        else None,
        "prompts": [_prompts(item) for item in items],
        "choices": [item.continuations for item in items],
        "predicted": [[outcome.predicted if outcome else None for outcome in row]
                      for row in outcomes],
        "margins": [[_margin(outcome, per_token=benchmark.per_token or bool(benchmark.dataset))
                     if outcome else None for outcome in row]
                    for row in outcomes],
        "texts": [[outcome.text if outcome else None for outcome in row] for row in outcomes]
        if free_text
        else None,
    }  # fmt: skip
    text = json.dumps(columns, ensure_ascii=False, separators=(",", ":"))
    # no time stamp, so that the same report has the same bytes
    data = gzip.compress(text.encode("utf-8", "replace"), mtime=0)
    return PackedItems(benchmark.name, benchmark.title, base64.b64encode(data).decode("ascii"))


def _prompts(item: Item) -> list[str]:
    """Return an item's distinct contexts, the middle of long ones left out."""
    contexts = item.contexts[:1] if len(set(item.contexts)) == 1 else item.contexts
    return [
        text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} […] {text[-TAIL:]}"
        for text in contexts
    ]


def _margin(outcome: Outcome, *, per_token: bool) -> float | None:
    """Return the lead of the right choice (without one: the first) over the best other, in nats."""
    scores, gold = outcome.log_likelihoods, outcome.label or 0
    if per_token:
        scores = tuple(map(truediv, scores, outcome.lengths))
    if len(scores) < 2 or gold >= len(scores):
        return None
    return round(scores[gold] - max(scores[:gold] + scores[gold + 1 :]), 3)

"""Items and answers, for the page's script to show one by one, and counts of discordant items.

A page may carry tens of thousands of answers, so each benchmark's are one compressed block that the
page opens only when somebody looks at it. They are data to the script, never markup. The page stays
small however many items there are: of a large benchmark a sample is shown.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from math import isfinite
from operator import truediv
from urllib.parse import quote

import numpy as np

from ethosteer.data.splits import unit_hash
from ethosteer.records import Item, Outcome
from ethosteer.report.blocks import ItemBrowser, PackedItems, Table, Text
from ethosteer.report.directions import spell_directions
from ethosteer.report.prose import paragraph
from ethosteer.report.responses import NOT_ASKED, ModelSeed, Responses
from ethosteer.report.table import Numbers, Value, cell, table
from ethosteer.report.view import View
from ethosteer.results.benchmarks import BenchmarkResult

HEAD, TAIL = 1200, 400
"""Characters kept from the start and the end of a longer text."""

ITEM_FILES = ("items.parquet", "outcomes.parquet")
"""The files of a study with all items and all answers."""

SHOWN_BYTES = 6_000_000
"""Of the page, for the items and answers of all benchmarks together."""
MOST_ANSWERS = 500_000
"""Answers to one benchmark that are packed at most, whatever their size."""

Answers = dict[ModelSeed, Mapping[str, Outcome]]
"""One benchmark's outcomes by (model, seed), then by item id."""


def item_link(view: View, benchmark: BenchmarkResult, a: str, b: str) -> str:
    """Return the address, within the page, of the items that ``a`` and ``b`` answer differently.

    "" where the report has no items.
    """
    names = (quote(name, safe="", errors="replace") for name in (benchmark.name, a, b))
    return f"#items={'/'.join(names)}" if view.items else ""


def discordant_table(view: View) -> Table | None:
    """Return the counts of items that each arm and the control answer differently, by direction.

    None where no answer of the control has a label to be held to.
    """
    rows = []
    for benchmark in view.results.benchmarks:
        responses = view.responses.get(benchmark.name)
        if responses and responses.has_labels and (view.control, 0) in responses.predicted:
            rows += [_discordant_row(view, benchmark, arm, responses) for arm in view.arms]
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
    view: View, benchmark: BenchmarkResult, arm: str, responses: Responses
) -> tuple[Value, ...]:
    control = view.control, 0
    ahead = behind = compared = 0
    for key in responses.of(arm):
        asked = (responses.predicted[key] != NOT_ASKED) & (
            responses.predicted[control] != NOT_ASKED
        )
        right, control_right = responses.correct[key], responses.correct[control]
        ahead += int((asked & right & ~control_right).sum())
        behind += int((asked & ~right & control_right).sum())
        compared += int(asked.sum())
    if not compared:
        return (benchmark.title, arm, None, None, 0)
    link = item_link(view, benchmark, arm, view.control)
    return (benchmark.title, cell(arm, link=link), ahead, behind, compared)


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

    All benchmarks together have ``SHOWN_BYTES``; of one that does not fit its share a sample is
    shown. ``files`` are those beside the report that hold all items and answers.
    """
    shown = [
        benchmark
        for benchmark in view.results.benchmarks
        if benchmark.name in view.items and benchmark.name in view.responses
    ]
    if not shown:
        return None
    # the smallest first, so that a benchmark leaves what it does not need to larger ones
    packed: dict[str, PackedItems] = {}
    remaining = SHOWN_BYTES
    for benchmark in sorted(shown, key=lambda it: _answers(view.responses[it.name])):
        items = view.items[benchmark.name]
        share = remaining // (len(shown) - len(packed))
        packed[benchmark.name] = _packed_within(view, benchmark, items, share)
        remaining -= len(packed[benchmark.name].data)
    kept = tuple(name for name in ITEM_FILES if name in files)
    blocks = tuple(packed[benchmark.name] for benchmark in shown)
    return ItemBrowser(blocks, view.control, *largest_finding(view, shown), files=kept)


def sample_note(browser: ItemBrowser) -> tuple[Text, ...]:
    """Return a paragraph on the benchmarks of which a sample is shown; () where there is none."""
    samples = [packed for packed in browser.benchmarks if packed.shown < packed.items]
    if not samples:
        return ()
    return (Text(paragraph("item_samples", samples=samples, files=browser.files)),)


def _answers(responses: Responses) -> int:
    return len(responses.items) * len(responses.predicted)


def _packed_within(
    view: View, benchmark: BenchmarkResult, items: Sequence[Item], share: int
) -> PackedItems:
    """Return a benchmark's items in at most ``share`` bytes, or the single first of a sample."""
    responses = view.responses[benchmark.name]
    ranks = _ranks(view, responses, items)
    count = min(len(items), max(1, MOST_ANSWERS // len(responses.predicted)))
    answers: Answers = {}
    candidates = {item.id for item, rank in zip(items, ranks, strict=True) if rank < count}
    for model, seed in responses.predicted:
        outcomes = view.outcomes[benchmark.name, model, seed]
        answers[model, seed] = {it.item: it for it in outcomes if it.item in candidates}
    while True:
        chosen = [item for item, rank in zip(items, ranks, strict=True) if rank < count]
        packed = _packed(view, benchmark, chosen, answers, len(items))
        if len(packed.data) <= share or count <= 1:
            return packed
        count = max(1, int(0.95 * count * share / len(packed.data)))


def _ranks(view: View, responses: Responses, items: Sequence[Item]) -> list[int]:
    """Return each item's rank in a sample.

    Items that more models answer differently from the control precede others; of equal ones a hash
    of the item's id decides. Where there is no control, the first model takes its place.
    """
    keys = list(responses.predicted)
    control = (view.control, 0) if (view.control, 0) in responses.predicted else keys[0]
    reference = responses.predicted[control]
    differing = np.zeros(len(responses.items), dtype=np.int64)
    for key in keys:
        answers = responses.predicted[key]
        asked = (answers != NOT_ASKED) & (reference != NOT_ASKED)
        differing += asked & (answers != reference)
    by_item = dict(zip(responses.items, differing.tolist(), strict=True))
    order = sorted(
        range(len(items)),
        key=lambda index: (-by_item.get(items[index].id, 0), unit_hash(f"item {items[index].id}")),
    )
    ranks = [0] * len(items)
    for rank, index in enumerate(order):
        ranks[index] = rank
    return ranks


def _packed(
    view: View, benchmark: BenchmarkResult, items: Sequence[Item], answers: Answers, total: int
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
    text = spell_directions(text, in_json=True)
    # no time stamp, so that the same report has the same bytes
    data = gzip.compress(text.encode("utf-8", "replace"), mtime=0)
    return PackedItems(
        benchmark.name,
        benchmark.title,
        base64.b64encode(data).decode("ascii"),
        shown=len(items),
        items=total,
    )


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

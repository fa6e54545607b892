"""Benchmarks: primary metrics with their verdicts, all metrics, slices, and the answers given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import nan

import numpy as np

from ethosteer.report.blocks import Cell, Figure, Table
from ethosteer.report.figures import stacked_bars
from ethosteer.report.items import item_link
from ethosteer.report.numbers import count, interval, listing, number, percent, plural
from ethosteer.report.responses import NO_ANSWER, NOT_ASKED, Responses
from ethosteer.report.table import Numbers, Value, cell, table
from ethosteer.report.view import View
from ethosteer.results.benchmarks import BenchmarkResult

BENCHMARKS_PER_TABLE = 6
AIMS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "half": "ideal value 0.5",
    "none": "no preferred direction",
}
CLUSTERS = (
    " A cluster is a group of items on one scenario or of nearly the same text; statistics take "
    "clusters whole."
)
FREE_ANSWERS = {
    "right_share": "RIGHT",
    "wrong_share": "WRONG",
    "no_answer_share": "no answer",
}
"""The metrics of benchmarks with free answers that together make up all items."""


def summary_tables(view: View) -> tuple[Table, ...]:
    """Return every model's primary metrics, in several tables where one would be too wide."""
    benchmarks = view.results.benchmarks
    chunks = [
        benchmarks[start : start + BENCHMARKS_PER_TABLE]
        for start in range(0, len(benchmarks), BENCHMARKS_PER_TABLE)
    ]
    return tuple(
        _summary_table(view, chunk, f", part {index} of {len(chunks)}" if chunks[1:] else "")
        for index, chunk in enumerate(chunks, start=1)
    )


def _summary_table(view: View, benchmarks: tuple[BenchmarkResult, ...], suffix: str) -> Table:
    models = [
        (
            cell(model, small=["control"] if model == view.control else []),
            *(_primary_cell(view, benchmark, model) for benchmark in benchmarks),
        )
        for model in view.models
    ]
    baselines = [
        [f"{answer} {number(value)}" for answer, value in benchmark.baselines.items()]
        for benchmark in benchmarks
    ]
    constants = [cell(lines[0] if lines else None, small=lines[1:]) for lines in baselines]
    truncated = [
        [f"{count(benchmark.truncated)} truncated"] if benchmark.truncated else []
        for benchmark in benchmarks
    ]
    items = [
        cell(benchmark.items, small=[*clusters_in_words(benchmark), *small])
        for benchmark, small in zip(benchmarks, truncated, strict=True)
    ]
    verdict = f", and the verdict against {view.control}" if view.control else ""
    classifiers = [
        f" {benchmark.title}: texts classified by {benchmark.classifier}."
        for benchmark in benchmarks
        if benchmark.classifier
    ]
    heads = [
        Numbers(f"{benchmark.title} ({benchmark.primary}; {AIMS[benchmark.better]})")
        for benchmark in benchmarks
    ]
    return table(
        f"Primary metrics{suffix}",
        ("model", *heads),
        [*models, ("constant answers", *constants), ("items", *items)],
        note=f"Below each value: 95 % confidence interval{verdict}. Seeds of an arm are pooled."
        + (CLUSTERS if any(map(clusters_in_words, benchmarks)) else "")
        + requests_note(benchmarks)
        + "".join(classifiers),
        summary=2,
    )


def clusters_in_words(benchmark: BenchmarkResult) -> list[str]:
    """Return how many clusters a benchmark's items form; [] where each stands alone."""
    if not 0 < benchmark.clusters < benchmark.items:
        return []
    size = count(benchmark.largest_cluster)
    return [f"in {plural(benchmark.clusters, 'cluster')} (largest: {size})"]


def requests_note(benchmarks: Sequence[BenchmarkResult]) -> str:
    """Return a sentence: were requests written by the chat template, or are they plain text?"""
    asked = [benchmark for benchmark in benchmarks if not benchmark.dataset]
    chat = [benchmark.title for benchmark in asked if benchmark.chat]
    if not asked:
        return ""
    if not chat:
        return " Requests were plain text, without the base's chat template."
    written = "" if len(chat) == len(asked) else f" of {listing(chat)}"
    return f" Requests{written} were written by the base's chat template."


def _primary_cell(view: View, benchmark: BenchmarkResult, model: str) -> Cell | None:
    result = view.cell(benchmark, model)
    if result is None:
        return None
    verdict = view.verdict(benchmark, model, view.control)
    return cell(
        result.estimate,
        mark=verdict or "",
        flags=result.flags,
        link=item_link(view, benchmark, model, view.control) if verdict else "",
    )


def metrics_table(view: View, benchmark: BenchmarkResult) -> Table:
    """Return every metric of one benchmark, with each seed's value."""
    seeds = sorted({seed for result in benchmark.cells for seed in result.by_seed})
    rows: list[list[Value]] = [
        [
            model,
            metric,
            cell(result.estimate.value, flags=result.flags),
            interval(result.estimate),
            result.estimate.n,
            *(result.by_seed.get(seed) for seed in seeds),
        ]
        for metric in view.metrics(benchmark)
        for model in view.models
        if (result := view.cell(benchmark, model, metric))
    ]
    heads = ("model", "metric", Numbers("value"), Numbers("95 % interval"), "n")
    return table(
        f"{benchmark.title}: all metrics",
        (*heads, *(f"seed {seed}" for seed in seeds)),
        rows,
        note=f"{benchmark.title} ({benchmark.name}): {count(benchmark.items)} items"
        + (f" from {benchmark.source}" if benchmark.source else "")
        + (f", licence {benchmark.licence}" if benchmark.licence else "")
        + "."
        + (f" {benchmark.note}" if benchmark.note else "")
        + (" Requests were written by the base's chat template." if benchmark.chat else "")
        + (f" Texts were classified by {benchmark.classifier}." if benchmark.classifier else ""),
        folded=True,
    )


def slices_table(view: View, benchmark: BenchmarkResult) -> Table | None:
    """Return every model's primary metric on each slice of a benchmark; None without slices."""
    if not benchmark.slices:
        return None
    results = {(result.slice, result.model): result for result in benchmark.slices}
    slices = list(dict.fromkeys(name for name, _ in results))
    models = [model for model in view.models if any((name, model) in results for name in slices)]
    return table(
        f"{benchmark.title}: {benchmark.primary} by slice",
        ("slice", "n", *models),
        [
            (name, results[name, models[0]].n, *(results[name, model].value for model in models))
            for name in slices
        ],
        note="Slices overlap where an item belongs to several. They are exploratory: no tests.",
        folded=True,
    )


def outcome_figures(view: View) -> tuple[Figure, ...]:
    """Draw every model's shares of RIGHT, WRONG and no answer on benchmarks with free answers."""
    figures = []
    answers = tuple(FREE_ANSWERS.values())
    for index, benchmark in enumerate(view.results.benchmarks):
        shares = {}
        for model in view.models:
            results = [view.cell(benchmark, model, metric) for metric in FREE_ANSWERS]
            if all(results):
                shares[model] = [result.estimate.value for result in results if result]
        if not shares:
            continue
        title = f"{benchmark.title}: free answers"
        svg = stacked_bars(f"outcomes-{index}", shares, answers, title=title)
        numbers = table(
            "",
            ("model", *(Numbers(answer, percent) for answer in answers)),
            [[model, *values] for model, values in shares.items()],
        )
        note = "Shares of all items. The accuracy of a model that rarely answers is uninformative."
        figures.append(Figure(svg, title, note, numbers))
    return tuple(figures)


def answers_table(view: View) -> Table | None:
    """Return how often each model gave its most frequent answer, and how often none.

    None where no outcome belongs to a benchmark with constant-answer baselines.
    """
    counts = {
        (model, name): _answer_counts(responses, model)
        for name, responses in view.responses.items()
        for model in view.models
    }
    benchmarks = [benchmark for benchmark in view.results.benchmarks if benchmark.baselines]
    rows: list[list[Value]] = []
    for model in view.models:
        row: list[Value] = [model]
        for benchmark in benchmarks:
            by_answer = counts.get((model, benchmark.name), Counter())
            given = [amount for answer, amount in by_answer.items() if answer != NO_ANSWER]
            share = max(given) / sum(given) if given else nan
            missing = by_answer[NO_ANSWER] / by_answer.total() if by_answer else nan
            small = [f"no answer {percent(missing)}"] if missing > 0 else []
            row.append(cell(share, percent, small=small) if by_answer else None)
        rows.append(row)
    if not any(isinstance(value, Cell) for row in rows for value in row):
        return None
    return table(
        "Most frequent answer",
        ("model", *(Numbers(benchmark.title) for benchmark in benchmarks)),
        rows,
        note="The share of a model's most frequent answer among its answers; below it, the share "
        "of items without an answer. Near 100 %, the score is that of a constant answer.",
        folded=True,
    )


def _answer_counts(responses: Responses, model: str) -> Counter[int]:
    """Count a model's answers, all seeds together, by the index of the answer."""
    counts: Counter[int] = Counter()
    for key in responses.of(model):
        answers, times = np.unique(responses.predicted[key], return_counts=True)
        counts.update(dict(zip(answers.tolist(), times.tolist(), strict=True)))
    del counts[NOT_ASKED]
    return counts


def unequal_items(view: View) -> str:
    """Return a warning that names the benchmarks whose items differ between models; "" if none."""
    unequal = [name for name, responses in view.responses.items() if not responses.is_equal]
    if not unequal:
        return ""
    return f"Warning: models answered different items of {listing(unequal)}."

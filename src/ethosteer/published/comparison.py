"""A study's results beside published counts: the report section of ``[compare] published``."""

from __future__ import annotations

from ethosteer.evaluation.outcomes import Outcomes
from ethosteer.published.counts import Answers, Counts, Shares, Values, load_counts
from ethosteer.report.blocks import Section, Table, Text
from ethosteer.report.numbers import number, percent
from ethosteer.report.table import Numbers, Value, table
from ethosteer.report.view import View
from ethosteer.results.study import StudyResults


def comparison_sections(
    published: str | None, results: StudyResults, outcomes: Outcomes
) -> tuple[Section, ...]:
    """Return the section of a study's ``compare.published``; () where that is None.

    Models and benchmarks of the same name stand side by side. ``outcomes`` are those of all models
    on all benchmarks, for the counts of free answers. Raises InputError for unknown counts.
    """
    if published is None:
        return ()
    counts = load_counts(published)
    view = View(results)
    note = (
        f"{counts.citation}. A dash: not measured in this study. What the published counts can "
        f"show: ethosteer report {published}."
    )
    tables = [_metrics(counts, view, note)] if counts.shares or counts.values else []
    tables += [_answers(counts, answers, outcomes) for answers in counts.answers]
    caveats = (Text(counts.caveats),) if counts.caveats else ()
    return (Section("published", f"Published results: {counts.name}", (*caveats, *tables)),)


def _metrics(counts: Counts, view: View, note: str) -> Table:
    """Return every published share and value beside the study's metric of that name."""
    benchmarks = {benchmark.name: benchmark for benchmark in view.results.benchmarks}
    metrics: list[Shares | Values] = [*counts.shares, *counts.values]

    def numbers(metric: Shares | Values, model: str) -> tuple[Value, Value]:
        benchmark = benchmarks.get(metric.benchmark)
        measured = view.cell(benchmark, model, metric.metric) if benchmark else None
        return metric.published(model), measured.estimate.value if measured else None

    heads = [
        Numbers(head, number, 4)
        for metric in metrics
        for head in (f"{metric.label}, published", "this study")
    ]
    rows = [
        (model, *(value for metric in metrics for value in numbers(metric, model)))
        for model in counts.models
    ]
    return table("Published metrics beside this study's", ("model", *heads), rows, note=note)


def _answers(counts: Counts, published: Answers, outcomes: Outcomes) -> Table:
    """Return published counts of free answers beside the study's, all seeds counted."""

    def row(model: str) -> list[Value]:
        answers = [
            outcome
            for key in outcomes
            if key[:2] == (published.benchmark, model)
            for outcome in outcomes[key]
        ]
        refused = sum(outcome.predicted is None for outcome in answers)
        right = sum(outcome.predicted is not None and bool(outcome.correct) for outcome in answers)
        cells: list[Value] = [model]
        for amounts in (published.counts(model), (right, len(answers) - right - refused, refused)):
            items = sum(amounts)
            cells += [items, *amounts, percent(amounts[-1] / items)] if items else [None] * 5
        return cells

    heads = [
        Numbers(f"{head}, {source}")
        for source in ("published", "this study")
        for head in ("items", "right", "wrong", "refused", "refusal rate")
    ]
    return table(
        f"{published.title}: published answers beside this study's",
        ("model", *heads),
        map(row, counts.models),
        note="Counts of this study are over all seeds.",
    )

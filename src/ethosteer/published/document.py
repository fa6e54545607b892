"""The report on published counts: what they show, and what it would take to show more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ethosteer.files import make_folder, to_json, write_atomic
from ethosteer.published import tables
from ethosteer.published.analysis import (
    ASSUMED_DISCORDANT,
    DISCORDANT,
    CountsResult,
    PairedResult,
    UnpairedResult,
    analyse,
)
from ethosteer.published.counts import Counts
from ethosteer.report import printable, write_document
from ethosteer.report.blocks import Block, Bullets, Document, Figure, Figures, Section, Text
from ethosteer.report.figures import Bar, interval_plot
from ethosteer.report.numbers import MINUS, plural, signed
from ethosteer.report.prose import rendered
from ethosteer.report.table import Numbers, table

ANSWER = {
    "same_items": "On the same items",
    "uninformative": "Uninformative metrics",
    "free_answers": "Free answers",
    "statements": "The study's conclusions",
    "assumptions": "Assumptions",
}
"""Lists of the answer: templates in ``text/`` with their titles."""


def write_counts_report(counts: Counts, folder: Path) -> None:
    """Write ``report.html``, ``report.md`` and ``results.json`` on published counts."""
    make_folder(folder)
    result = analyse(counts)
    write_document(counts_document(counts, result), folder)
    numbers = {"published": counts.model_dump(), **asdict(result)}
    write_atomic(folder / "results.json", printable(to_json(numbers)))


def counts_document(counts: Counts, result: CountsResult) -> Document:
    """Lay out the report; sections without content are left out."""
    benchmarks = list(zip(counts.shares, result.shares, strict=True))
    facts = {
        "counts": counts,
        "result": result,
        "benchmarks": benchmarks,
        "control": counts.control,
        "power": tables.AT_POWER,
        "levels": DISCORDANT,
        "assumed": ASSUMED_DISCORDANT,
    }

    def text(template: str, *, lead: bool = False) -> Text:
        return Text(" ".join(rendered("published", template, facts)), lead)

    answer: list[Block] = [text("in_short", lead=True)]
    answer += [
        Bullets(title, sentences)
        for template, title in ANSWER.items()
        if (sentences := rendered("published", template, facts))
    ]
    design: list[Block] = [Bullets("In a repetition", rendered("published", "design", facts))]
    shares: list[Block] = []
    if benchmarks:
        design.append(tables.sample_sizes(result))
        share_tables = [tables.shares(counts, *benchmark) for benchmark in benchmarks]
        shares = [text("bounds"), *share_tables, tables.detectable(counts, result)]
    free: list[Block] = [
        tabulate(counts, answers)
        for answers in result.answers
        for tabulate in (tables.refusals, tables.accuracies)
    ]
    if result.confusions:
        free.append(tables.confusions(result.confusions))
    figures = _figures(counts, result)
    source = (text("source"), tables.values(counts)) if counts.values else (text("source"),)
    sections = (
        Section("answer", "The answer", tuple(answer)),
        Section("design", "What it would take", tuple(design)),
        Section("differences", "Differences from the control",
                (text("differences"), Figures(figures)) if figures else ()),
        Section("shares", "The same items for all models", tuple(shares)),
        Section("answers", "Free answers", tuple(free)),
        Section("source", "Source of the counts", source),
    )  # fmt: skip
    models = plural(len(counts.models), "model")
    return Document(
        title=f"{counts.name}: what published counts can show",
        question=counts.question,
        facts=f"{counts.citation} · {models} · control: {counts.control}",
        sections=tuple(section for section in sections if section.blocks),
    )


def _figures(counts: Counts, result: CountsResult) -> tuple[Figure, ...]:
    """Draw every model's differences from the control, benchmark by benchmark."""

    def figure(
        name: str, title: str, pairs: Sequence[PairedResult] | Sequence[UnpairedResult]
    ) -> Figure:
        bars = [
            Bar(
                pair.a,
                counts.others.index(pair.a),
                pair.difference.value,
                pair.difference.low,
                pair.difference.high,
                note=pair.verdict,
                solid=pair.verdict == "differs",
            )
            for pair in pairs
        ]
        svg = interval_plot(name, bars, title=f"{title}: difference from {counts.control}")
        rows = [(pair.a, pair.difference, pair.verdict) for pair in pairs]
        numbers = table("", ("model", Numbers("difference", signed), ""), rows)
        return Figure(svg, title, f"Model {MINUS} {counts.control}.", numbers)

    figures = []
    for index, shares in enumerate(result.shares):
        figures.append(figure(f"shares-{index}", shares.label, shares.against))
    for index, answers in enumerate(result.answers):
        title = f"{answers.title}, accuracy among the answers given"
        figures.append(figure(f"right-{index}", title, answers.right_against))
        title = f"{answers.title}, refusal rate"
        figures.append(figure(f"refused-{index}", title, answers.refused_against))
    return tuple(figures)

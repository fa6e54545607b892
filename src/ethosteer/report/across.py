"""The report on several studies: which arms differ on what, and what is not comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ethosteer.evaluation.outcomes import Outcomes
from ethosteer.records import Item
from ethosteer.report.benchmarks import metrics_table, summary_tables
from ethosteer.report.blocks import Block, Bullets, Column, Document, Section, Table, Text
from ethosteer.report.differences import comparison_table
from ethosteer.report.items import item_browser, sample_note
from ethosteer.report.numbers import number, plural
from ethosteer.report.prose import paragraph, paragraphs
from ethosteer.report.table import Numbers, table
from ethosteer.report.view import ConstantAnswers, View
from ethosteer.results.comparisons import Comparison
from ethosteer.results.study import StudyResults

SHOWN = ("better", "worse", "different")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One benchmark on which two studies' results are not compared, and why."""

    benchmark: str
    a: str
    b: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Across:
    """Several studies brought together: ``results`` hold all models under names of their own."""

    results: StudyResults
    studies: tuple[StudyResults, ...]
    refusals: tuple[Refusal, ...]
    outcomes: Outcomes
    items: Mapping[str, Sequence[Item]]


def across_document(studies: Across) -> Document:
    """Lay out the report on several studies."""
    view = View(studies.results, studies.outcomes, studies.items)
    benchmarks = studies.results.benchmarks
    in_full = (
        tabulate(view, benchmark)
        for benchmark in benchmarks
        for tabulate in (comparison_table, metrics_table)
    )
    items = item_browser(view)
    sections = (
        Section("answer", "The answer", _answer(view, studies.refusals)),
        Section("benchmarks", "Benchmarks", (*summary_tables(view), *in_full)),
        Section("items", "Item by item", (*sample_note(items), items) if items else ()),
        Section("studies", "The studies", (_studies(studies),)),
    )
    facts = (
        plural(len(studies.studies), "study", "studies"),
        plural(len(benchmarks), "comparable benchmark"),
    )
    return Document(
        title=f"{studies.results.study}: arms across studies",
        question=studies.results.question,
        facts=" · ".join(facts),
        sections=tuple(section for section in sections if section.blocks),
    )


def _answer(view: View, refusals: Sequence[Refusal]) -> tuple[Block, ...]:
    """Return the answer in short, the differences shown, and what is not compared and why."""
    comparisons = view.tested_comparisons()
    benchmarks = {benchmark.name: benchmark for benchmark in view.results.benchmarks}
    shown = [pair for pair in comparisons if pair.verdict in SHOWN]

    def constant(pair: Comparison) -> ConstantAnswers:
        return view.constant_answers(benchmarks[pair.benchmark], pair.a, pair.b)

    findings = paragraphs(
        "across_findings",
        comparisons=[(pair, constant(pair)) for pair in shown],
        titles={name: benchmark.title for name, benchmark in benchmarks.items()},
        correction=view.results.correction,
    )
    lists = (
        Bullets("Where arms differ", findings),
        Bullets(
            "What is not compared, and why",
            paragraphs("across_refusals", refusals=refusals),
        ),
    )
    return (
        Text(paragraph("across", comparisons=comparisons, shown=shown), lead=True),
        *(bullets for bullets in lists if bullets.items),
        Text(paragraph("comparable")),
    )


def _studies(studies: Across) -> Table:
    rows = [
        (
            study.study,
            study.question,
            study.control,
            len({result.arm for result in study.arms}),
            len(study.seeds),
            "none" if study.margin is None else number(study.margin),
            "; ".join(f"{key} {value}" for key, value in study.provenance.items()
                      if key != "study file"),
        )
        for study in studies.studies
    ]  # fmt: skip
    heads = ("study", Column("question", "long"), "control", "arms", "seeds", Numbers("margin"))
    return table("What was compared", (*heads, Column("made with", "code")), rows)

"""The report on several studies: whose arms differ on what, and what may not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ethosteer.records import Item, Outcome
from ethosteer.report.benchmarks import metrics_table, summary_tables
from ethosteer.report.blocks import (
    Block,
    Bullets,
    Cell,
    Column,
    Document,
    Section,
    Table,
    Text,
)
from ethosteer.report.differences import comparison_table
from ethosteer.report.items import item_browser
from ethosteer.report.numbers import interval, listing, number, p_value, plural, signed
from ethosteer.report.view import View
from ethosteer.results import Comparison, StudyResults

SHOWN = ("better", "worse", "different")
GATE = (
    "Results are compared only where items, prompts, dialogue template, tokenizer and, for "
    "generated texts, the classifier are the same in both studies. Rewards are not: every study "
    "has reward models of its own."
)


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
    outcomes: tuple[Outcome, ...]
    items: Mapping[str, Sequence[Item]]


def across_document(found: Across) -> Document:
    """Lay out the report on several studies."""
    view = View(found.results, found.outcomes, found.items)
    sections = (
        Section("answer", "The answer", _answer(view, found)),
        Section("benchmarks", "Benchmarks", _benchmarks(view)),
        Section("flips", "Item by item", _flips(view)),
        Section("studies", "The studies", (_studies(found),)),
    )
    facts = (
        plural(len(found.studies), "study", "studies"),
        plural(len(found.results.benchmarks), "benchmark that may be compared",
               "benchmarks that may be compared"),
    )  # fmt: skip
    return Document(
        title=f"{found.results.study}: arms across studies",
        question=found.results.question,
        facts=" · ".join(facts),
        sections=tuple(section for section in sections if section.blocks),
    )


def _answer(view: View, found: Across) -> tuple[Block, ...]:
    refused = tuple(
        f"{each.benchmark}, {each.a} and {each.b}: {_reasons(each)}." for each in found.refusals
    )
    parts = (
        Bullets("Where arms differ", tuple(map(_said, _shown(view)))),
        Bullets("What is not compared, and what differs", refused),
    )
    return (Text(_headline(view), lead=True), *(part for part in parts if part.items), Text(GATE))


def _shown(view: View) -> list[Comparison]:
    titles = {each.name: each for each in view.results.benchmarks}
    return [
        each
        for each in view.tested_comparisons()
        if each.verdict in SHOWN and view.sound(titles[each.benchmark], each.a, each.b)
    ]


def _headline(view: View) -> str:
    judged = view.tested_comparisons()
    if not judged:
        return "The studies have no benchmark on which their results may be compared."
    shown = len(_shown(view))
    equal = sum(each.verdict == "equivalent" for each in judged)
    seeds = min(each.seeds for each in judged)
    one = " At least one side of each rests on a single seed." if seeds == 1 else ""
    equivalent = f" {plural(equal, 'pair')} are shown to be equivalent." if equal else ""
    return (
        f"Of {plural(len(judged), 'comparison')} of an arm of one study with an arm of another, "
        f"{shown or 'none'} {'shows' if shown < 2 else 'show'} a difference after correction."
        f"{equivalent}{one}"
    )


def _said(each: Comparison) -> str:
    return (
        f"{each.benchmark} ({each.metric}): {each.a} is {each.verdict} than {each.b} "
        f"({signed(each.difference.value)} {interval(each.difference)}, adjusted p "
        f"{p_value(each.adjusted_p)})"
        if each.verdict != "different"
        else f"{each.benchmark} ({each.metric}): {each.a} and {each.b} differ "
        f"({signed(each.difference.value)} {interval(each.difference)})"
    )


def _reasons(refusal: Refusal) -> str:
    reasons = listing(list(refusal.reasons))
    one = len(refusal.reasons) == 1 and not refusal.reasons[0].startswith("the ")
    return reasons if one else f"{reasons} differ"


def _benchmarks(view: View) -> tuple[Block, ...]:
    if not view.results.benchmarks:
        return ()
    tables = [(comparison_table(view, each), metrics_table(view, each))
              for each in view.results.benchmarks]  # fmt: skip
    return (*summary_tables(view), *(table for pair in tables for table in pair))


def _flips(view: View) -> tuple[Block, ...]:
    items = item_browser(view)
    return (items,) if items else ()


def _studies(found: Across) -> Table:
    return Table(
        title="What was compared",
        columns=(
            Column("study"),
            Column("question", "long"),
            Column("control"),
            Column("arms", "number"),
            Column("seeds", "number"),
            Column("margin", "number"),
            Column("made with", "code"),
        ),
        rows=tuple(
            (
                Cell(each.study),
                Cell(each.question),
                Cell(each.control),
                Cell(str(len({own.arm for own in each.arms}))),
                Cell(str(len(each.seeds))),
                Cell("none" if each.margin is None else number(each.margin)),
                Cell("; ".join(f"{key} {value}" for key, value in _versions(each))),
            )
            for each in found.studies
        ),
    )


def _versions(results: StudyResults) -> list[tuple[str, str]]:
    return [(key, own) for key, own in results.provenance.items() if key != "study file"]

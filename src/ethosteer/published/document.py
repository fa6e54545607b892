"""The report on published counts: what they show, could have shown, and what it would take."""

from __future__ import annotations

from ethosteer.published.analysis import CountsResult
from ethosteer.published.answer import answer_blocks
from ethosteer.published.counts import Counts
from ethosteer.published.figures import difference_figures
from ethosteer.published.tables import free_tables, share_tables
from ethosteer.published.taken import taken_blocks
from ethosteer.report.blocks import (
    Block,
    Cell,
    Column,
    Document,
    Figures,
    Section,
    Table,
    Text,
)
from ethosteer.report.numbers import number, plural

READING = (
    "Differences from the control with Newcombe's 95 % intervals, as if every model had had items "
    "of its own; on the same items the true intervals are narrower. Cannot "
    "differ: not significant whichever items these were. Could differ: for some choices of items."
)


def counts_document(counts: Counts, result: CountsResult) -> Document:
    """Lay out what can be said of published counts."""
    figures = difference_figures(counts, result)
    pictured = (Text(READING), Figures(figures)) if figures else ()
    sections = (
        Section("answer", "The answer", answer_blocks(counts, result)),
        Section("take", "What it would have taken", taken_blocks(counts, result)),
        Section("differences", "Differences from the control", pictured),
        Section("shares", "The same items for all", share_tables(counts, result)),
        Section(
            "answers",
            "Free answers",
            free_tables(counts, result),
        ),
        Section("source", "Where the numbers come from", _source(counts)),
    )
    facts = (
        counts.citation,
        plural(len(counts.models), "model"),
        f"control: {counts.control}",
    )
    return Document(
        title=f"{counts.name}: what published counts can show",
        question=counts.question,
        facts=" · ".join(facts),
        sections=tuple(section for section in sections if section.blocks),
    )


def _source(counts: Counts) -> tuple[Block, ...]:
    """Cite the publication, and show what of it no test could use."""
    cited = Text(
        f"Published in: {counts.citation}. The counts are those of the publication; all else here "
        "is computed from them. The same numbers, unrounded, are in results.json."
    )
    if not counts.values:
        return (cited,)
    table = Table(
        title="Published without counts, so that nothing could be tested",
        columns=(
            Column("model"),
            *(Column(f"{each.title}, {each.metric}", "number") for each in counts.values),
        ),
        rows=tuple(
            (Cell(model), *(Cell(number(each.value[model], 4)) for each in counts.values))
            for model in counts.models
        ),
    )
    return cited, table

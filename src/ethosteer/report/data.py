"""The preference data: sources, what curation kept and dropped, and overlap with benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

from ethosteer.records import Agreement, DatasetCard
from ethosteer.report.blocks import Cell, Column, Table
from ethosteer.report.numbers import count, number, percent, plural
from ethosteer.report.table import Head, Numbers, Value, cell, record_table, table
from ethosteer.report.view import View

HASH_LENGTH = 12


def card_table(view: View) -> Table:
    """Return where each dataset comes from, with the hash of its curated pairs.

    Where a dataset is a file of the user's it says what the file was recognised as, and where
    several people judged its pairs how far they agree.
    """
    cards = view.results.cards
    columns: dict[Head, Callable[[DatasetCard], Value]] = {
        "dataset": lambda card: card.name,
        Column("source", "code"): lambda card: card.source,
        Column("revision", "code"): lambda card: card.revision or None,
        Column("licence", "code"): lambda card: card.licence,
        Column("content hash", "code"): lambda card: card.content_hash[:HASH_LENGTH],
    }
    if any(card.format for card in cards):
        columns[Column("recognised as", "long")] = lambda card: card.format or None
    if any(card.agreement for card in cards):
        columns[Numbers("Krippendorff's alpha")] = lambda card: _agreement(card.agreement)
    return record_table("Sources of the preference data", cards, columns)


def _agreement(agreement: Agreement | None) -> Cell | None:
    """Return the annotators' agreement, with the judgements that it rests on."""
    if agreement is None:
        return None
    who = f"of {plural(agreement.annotators, 'annotator')}" if agreement.annotators else ""
    small = (
        plural(agreement.judgements, "judgement"),
        *filter(None, [who]),
        f"on {plural(agreement.pairs, 'pair')}",
    )
    return cell(agreement.alpha, number, 2, small=small)


def count_table(view: View) -> Table:
    """Return how many rows were read and how many pairs they made, by split."""
    cards = view.results.cards
    splits = list(dict.fromkeys(split for card in cards for split in card.pairs))
    heads = ("dataset", "rows read", "duplicates removed", *(f"pairs, {name}" for name in splits))
    means = ("tokens per prompt", "tokens per response")
    return table(
        "Curated pairs",
        (*heads, *(Numbers(head, digits=1) for head in means)),
        [
            [card.name, card.rows, card.duplicates, *(card.pairs.get(split, 0) for split in splits),
             card.mean_prompt_tokens, card.mean_response_tokens]
            for card in cards
        ],
    )  # fmt: skip


def drop_table(view: View) -> Table:
    """Return how many rows curation dropped, by reason and dataset."""
    columns = {card.name: card.dropped for card in view.results.cards}
    if view.results.conversations_dropped:
        columns["conversations"] = view.results.conversations_dropped
    reasons = sorted({reason for dropped in columns.values() for reason in dropped})
    rows: list[list[Value]] = [
        [reason, *(dropped.get(reason, 0) for dropped in columns.values())] for reason in reasons
    ]
    rows.append(["all reasons", *(sum(dropped.values()) for dropped in columns.values())])
    return table("Rows dropped in curation", ("reason", *columns), rows, summary=1)


def overlap_table(view: View) -> Table:
    """Return the share of each dataset's pairs that have an n-gram in common with a benchmark."""
    overlaps = {(overlap.dataset, overlap.benchmark): overlap for overlap in view.results.overlaps}
    datasets = list(dict.fromkeys(dataset for dataset, _ in overlaps))
    benchmarks = list(dict.fromkeys(benchmark for _, benchmark in overlaps))
    titles = {benchmark.name: benchmark.title for benchmark in view.results.benchmarks}
    sizes = ", ".join(str(size) for size in sorted({overlap.n for overlap in overlaps.values()}))
    rows: list[list[Value]] = []
    for dataset in datasets:
        row: list[Value] = [dataset]
        for name in benchmarks:
            overlap = overlaps.get((dataset, name))
            share = overlap.overlapping / overlap.pairs if overlap and overlap.pairs else nan
            small = [f"{count(overlap.overlapping)} of {count(overlap.pairs)}"] if overlap else []
            row.append(cell(share, percent, small=small) if overlap else None)
        rows.append(row)
    return table(
        "Overlap with benchmarks",
        ("dataset", *(Numbers(titles.get(name, name)) for name in benchmarks)),
        rows,
        note=f"Share of pairs with a sequence of {sizes} words in common with an item.",
    )

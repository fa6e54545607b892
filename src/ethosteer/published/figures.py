"""Differences between models of which only counts were published, drawn."""

from __future__ import annotations

from ethosteer.published.analysis import CountsResult, UnpairedResult
from ethosteer.published.counts import Counts
from ethosteer.report.blocks import Cell, Column, Figure, Table
from ethosteer.report.figures import Bar, interval_plot
from ethosteer.report.numbers import MINUS, interval, signed
from ethosteer.results import Estimate

CAN = {"always": "differs", "possible": "could differ", "never": "cannot differ"}


def difference_figures(counts: Counts, result: CountsResult) -> tuple[Figure, ...]:
    """Draw every model's differences from the control, benchmark by benchmark."""
    drawn = [
        _figure(
            counts,
            f"shares-{place}",
            f"{each.title}, {each.metric}",
            [(pair.a, pair.difference, CAN[pair.can], pair.can == "always")
             for pair in each.against],
        )
        for place, each in enumerate(result.shares)
    ]  # fmt: skip
    for place, each in enumerate(result.answers):
        for name, title, pairs in (
            ("right", "right among the answers given", each.right_against),
            ("refused", "left without an answer", each.refused_against),
        ):
            rows = [(pair.a, pair.difference, _shown(pair), pair.shown) for pair in pairs]
            drawn.append(_figure(counts, f"{name}-{place}", f"{each.title}, {title}", rows))
    return tuple(drawn)


def _shown(pair: UnpairedResult) -> str:
    return "differs" if pair.shown else "undecided"


def _figure(
    counts: Counts, name: str, title: str, rows: list[tuple[str, Estimate, str, bool]]
) -> Figure:
    bars = [
        Bar(model, counts.others.index(model), own.value, own.low, own.high, note, solid)
        for model, own, note, solid in rows
    ]
    table = Table(
        title="",
        columns=(Column("model"), Column("difference", "number"), Column("")),
        rows=tuple(
            (Cell(model), Cell(signed(own.value), (interval(own),)), Cell(note))
            for model, own, note, _ in rows
        ),
    )
    svg = interval_plot(name, bars, title=title)
    return Figure(svg, title, f"Model {MINUS} {counts.control}.", table)

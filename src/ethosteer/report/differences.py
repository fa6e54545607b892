"""Arms' differences from the control: what is drawn, and the numbers beside it."""

from __future__ import annotations

from ethosteer.report.blocks import Cell, Column, Figure, Table
from ethosteer.report.figures import Bar, interval_plot
from ethosteer.report.flips import flip_link
from ethosteer.report.numbers import MINUS, interval, listing, p_value, signed
from ethosteer.report.tables import aim
from ethosteer.report.view import View
from ethosteer.results import BenchmarkResult


def difference_figure(view: View, benchmark: BenchmarkResult) -> Figure | None:
    """Draw the arms' differences from the control; None where there are none to draw."""
    compared = [
        (place, arm, found)
        for place, arm in enumerate(view.arms)
        if (found := view.comparison(benchmark, arm, view.control))
    ]
    if not compared:
        return None
    bars = [
        Bar(
            arm,
            place,
            found.difference.value,
            found.difference.low,
            found.difference.high,
            found.verdict,
            found.verdict != "undecided",
        )
        for place, arm, found in compared
    ]
    title = f"{benchmark.title}: difference in {view.judged(benchmark)}"
    said = [f"{arm} {signed(c.difference.value)}, {c.verdict}" for _, arm, c in compared]
    flagged = view.flagged(benchmark)
    note = f"Arm {MINUS} {view.control}: {aim(view, benchmark)}."
    if flagged:
        note += f" Flagged as degenerate, no finding: {_all_or(flagged, view)}."
    table = Table(
        title="",
        columns=(Column("arm"), *(Column(head, "number") for head in ("difference", "adjusted p"))),
        rows=tuple(
            (
                Cell(arm),
                Cell(
                    signed(c.difference.value),
                    (interval(c.difference),),
                    c.verdict,
                    link=flip_link(benchmark, arm, view.control) if view.items else "",
                ),
                Cell(p_value(c.adjusted_p)),
            )
            for _, arm, c in compared
        ),
    )
    text = f"Against {view.control}: {'; '.join(said)}."
    svg = interval_plot(
        f"difference-{view.results.benchmarks.index(benchmark)}",
        bars,
        title=title,
        text=text,
        margin=view.results.margin,
    )
    return Figure(svg, benchmark.title, note, table)


def _all_or(names: list[str], view: View) -> str:
    return "every model" if len(names) == len(view.models) else listing(names)

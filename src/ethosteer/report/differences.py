"""Comparisons: differences from the control, and all tests."""

from __future__ import annotations

from collections.abc import Callable

from ethosteer.report.blocks import Cell, Figure, Table
from ethosteer.report.effects import metric_in_words
from ethosteer.report.figures import Bar, interval_plot
from ethosteer.report.items import item_link
from ethosteer.report.numbers import MINUS, count, listing, number, p_value, signed
from ethosteer.report.table import Head, Numbers, Value, cell, record_table, table
from ethosteer.report.view import View
from ethosteer.results import BenchmarkResult, Comparison

CORRECTIONS = {"holm": "Holm", "bh": "Benjamini–Hochberg"}


def difference_figure(view: View, benchmark: BenchmarkResult) -> Figure | None:
    """Draw the arms' differences from the control; None where there are none to draw."""
    compared = [
        (colour, arm, comparison)
        for colour, arm in enumerate(view.arms)
        if (comparison := view.comparison(benchmark, arm, view.control))
    ]
    if not compared:
        return None
    metric = view.tested_metric(benchmark)
    svg = interval_plot(
        f"difference-{view.results.benchmarks.index(benchmark)}",
        [
            Bar(
                arm,
                colour,
                comparison.difference.value,
                comparison.difference.low,
                comparison.difference.high,
                note=comparison.verdict,
                solid=comparison.verdict != "undecided",
            )
            for colour, arm, comparison in compared
        ],
        title=f"{benchmark.title}: difference in {metric} from {view.control}",
        margin=view.results.margin,
    )
    numbers = table(
        "",
        ("arm", Numbers("difference"), Numbers("adjusted p", p_value)),
        [
            (
                arm,
                cell(
                    comparison.difference,
                    signed,
                    mark=comparison.verdict,
                    link=item_link(view, benchmark, arm, view.control),
                ),
                comparison.adjusted_p,
            )
            for _, arm, comparison in compared
        ],
    )
    note = f"Arm {MINUS} {view.control}: {metric_in_words(view, benchmark)}."
    flagged = view.flagged(benchmark)
    if flagged:
        models = "every model" if len(flagged) == len(view.models) else listing(flagged)
        note += f" Constant answers: {models}."
    return Figure(svg, benchmark.title, note, numbers)


def comparison_table(view: View, benchmark: BenchmarkResult) -> Table:
    """Return all comparisons on one benchmark, family by family: the tested metric's first."""
    comparisons = [
        comparison
        for comparison in view.results.comparisons
        if comparison.benchmark == benchmark.name
    ]
    columns: dict[Head, Callable[[Comparison], Value]] = {
        f"a {MINUS} b": lambda comparison: f"{comparison.a} {MINUS} {comparison.b}",
        "metric": lambda comparison: comparison.metric,
        Numbers("difference", signed): lambda comparison: comparison.difference,
        Numbers("p", p_value): lambda comparison: comparison.p,
        Numbers("adjusted p", p_value): lambda comparison: comparison.adjusted_p,
    }
    method = CORRECTIONS[view.results.correction]
    families = "; ".join(dict.fromkeys(filter(None, (result.family for result in comparisons))))
    note = f"p adjusted by {method} within each family: {families}." if families else ""
    note += (
        " Minimum detectable difference: with 80 % power, at the strictest level that the family's "
        "adjustment sets."
    )
    if view.results.margin is not None:
        columns[Numbers("equivalence p", p_value)] = lambda comparison: comparison.equivalence_p
    columns["minimum detectable difference"] = lambda comparison: comparison.minimum_detectable
    if view.results.effect is not None:
        columns[Numbers("items needed", digits=0)] = lambda comparison: comparison.items_needed
        note += (
            " Items needed: for 80 % power to detect the preregistered difference of interest, "
            f"{number(view.results.effect)}; ∞: no number of items suffices, only more seeds."
        )

    def sizes(comparison: Comparison) -> str:
        return f"{count(comparison.items)} / {count(comparison.clusters)} / {comparison.seeds}"

    def verdict(comparison: Comparison) -> Cell:
        label = view.constant_answers(benchmark, comparison.a, comparison.b).label
        link = item_link(view, benchmark, comparison.a, comparison.b)
        flags = (label,) if label else ()
        return Cell("", mark=comparison.verdict, flags=flags, link=link)

    # last, since columns stand in the order in which they are added
    columns |= {Numbers("items / clusters / seeds"): sizes, "verdict on a": verdict}
    title = f"{benchmark.title}: all comparisons"
    return record_table(title, comparisons, columns, note=note, folded=True)

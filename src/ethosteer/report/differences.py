"""Comparisons: differences from the control, and all tests."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan

from ethosteer.report.blocks import Cell, Figure, Table
from ethosteer.report.effects import metric_in_words
from ethosteer.report.figures import Bar, interval_plot
from ethosteer.report.items import item_link
from ethosteer.report.numbers import MINUS, count, listing, number, p_value, percent, signed
from ethosteer.report.table import Head, Numbers, Value, cell, record_table, table
from ethosteer.report.view import View
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.comparisons import Comparison

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
                comparison.decided.low,
                comparison.decided.high,
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
                    comparison.decided,
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


def difference_cell(comparison: Comparison) -> Cell:
    """Return a difference with the interval that its verdict was decided by."""
    if isnan(comparison.decision_level):
        return cell(comparison.difference, signed)
    return cell(comparison.decided, signed, small=[f"at {percent(comparison.decision_level)}"])


def detectable_cell(comparison: Comparison) -> Cell:
    """Return the minimum detectable difference, its range, and whether there is room for it."""
    value = comparison.minimum_detectable
    return cell(
        value,
        small=_range(comparison.minimum_detectable_low, comparison.minimum_detectable_high, 3),
        flags=["beyond room"] if value > comparison.room else [],
    )


def needed_cell(comparison: Comparison) -> Cell:
    """Return the items needed and their range."""
    value = comparison.items_needed
    small = _range(comparison.items_needed_low, comparison.items_needed_high, 0)
    return cell(value, digits=0, write=number, small=small)


def _range(low: float, high: float, digits: int) -> list[str]:
    if isnan(low) or isnan(high):
        return []
    return [f"{number(low, digits)} to {number(high, digits)}"]


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
        Numbers("difference", signed): difference_cell,
        Numbers("p", p_value): lambda comparison: comparison.p,
        Numbers("adjusted p", p_value): lambda comparison: comparison.adjusted_p,
    }
    method = CORRECTIONS[view.results.correction]
    families = "; ".join(dict.fromkeys(filter(None, (result.family for result in comparisons))))
    note = f"p adjusted by {method} within each family: {families}." if families else ""
    note += (
        " The interval of a difference has the confidence at which its verdict was decided, so "
        "that both agree. Minimum detectable difference: with 80 % power, at the strictest level "
        "that the family's adjustment sets; its range covers 10 to 90 % of the uncertainty of the "
        "variances. Beyond room: model a could not be better than b by so much."
    )
    if view.results.margin is not None:
        columns[Numbers("equivalence p", p_value)] = lambda comparison: comparison.equivalence_p
    columns[Numbers("minimum detectable difference")] = detectable_cell
    if view.results.effect is not None:
        columns[Numbers("items needed")] = needed_cell
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

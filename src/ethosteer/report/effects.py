"""Effects at a glance: arms by measures, each difference from the control on one common scale.

A drawing is as wide as its cell: places along it are percentages, so that it fits a column of a
wide page and a line of a telephone alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import inf, isfinite
from statistics import median

from markupsafe import Markup

from ethosteer.report.benchmarks import AIMS
from ethosteer.report.blocks import Effect, EffectMatrix, EffectRow
from ethosteer.report.figures import Scale, ticks
from ethosteer.report.items import item_link
from ethosteer.report.numbers import interval, number, signed
from ethosteer.report.view import View
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.comparisons import Comparison

SIGNS = {
    "better": "M0 -6L6 5H-6z",
    "worse": "M0 6L6 -5H-6z",
    "different": "M0 -6.5L6.5 0L0 6.5L-6.5 0z",
    "equivalent": "M-4.5 -4.5h9v9h-9z",
    "undecided": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
}
"""The outline of every verdict's sign around the origin, in pixels."""
CONSTANT = "constant"
"""The additional class of a drawing with a constant answer on either side."""
DECIDED = ("better", "worse", "different")
MEANINGS = {
    "different": "different (no better direction)",
}
ROOM = 1.3
"""How much further than the largest difference the scale reaches, so that signs lie inside."""
MOST_IN_ORDER = 12
"""The number of measures up to which they stand in the study's order: one screen shows them all."""
SMALLEST_SIDE = 0.25
"""The smallest share of the scale's longer side that the side beyond zero has."""
MATRIX_WIDTH, VALUE_WIDTH, CHARACTER_WIDTH, GAP = 610, 60, 7, 4
"""On a wide page, in pixels: all columns and the number in each of them; a character of a number of
the scale, and the gap between two numbers."""


def effect_matrix(view: View) -> EffectMatrix | None:
    """Return every arm's difference from the control on every measure; None without comparisons."""
    compared = {
        (benchmark.name, arm): comparison
        for benchmark in view.results.benchmarks
        for arm in view.arms
        if (comparison := view.comparison(benchmark, arm, view.control))
    }
    if not compared:
        return None
    x = _scale(compared.values(), view.results.margin)
    measures = [
        benchmark
        for benchmark in view.results.benchmarks
        if any((benchmark.name, arm) in compared for arm in view.arms)
    ]
    ranked = len(measures) > MOST_IN_ORDER
    if ranked:
        measures.sort(key=lambda benchmark: _rank(view, benchmark))
    groups: dict[str, list[EffectRow]] = {"Value profile": [], "Benchmarks": []}
    for benchmark in measures:
        title = "Value profile" if benchmark.dataset else "Benchmarks"
        groups[title].append(_row(view, benchmark, compared, x))
    effects = [
        effect for rows in groups.values() for row in rows for effect in row.effects if effect
    ]
    kinds: set[str] = {effect.mark for effect in effects}
    keys: dict[str, str] = {kind: MEANINGS.get(kind, kind) for kind in SIGNS if kind in kinds}
    if any(effect.flags for effect in effects):
        keys[CONSTANT] = "dashed: a constant answer"
    return EffectMatrix(
        title=f"Difference of each arm from the {view.control} control",
        note=_note(view, ranked),
        arms=view.arms,
        groups=tuple(
            # a single group needs no title
            (title if view.profile else "", tuple(rows))
            for title, rows in groups.items()
            if rows
        ),
        axis=_axis(x, len(view.arms)),
        legend=tuple((_sign(kind), meaning) for kind, meaning in keys.items()),
    )


def metric_in_words(view: View, benchmark: BenchmarkResult) -> str:
    """Name a benchmark's tested metric and what is better on it."""
    metric = view.tested_metric(benchmark)
    # a derived metric is a distance from the aim, which is better the smaller it is
    return f"{metric}; {AIMS[benchmark.better if metric == benchmark.primary else 'lower']}"


def _rank(view: View, benchmark: BenchmarkResult) -> tuple[int, float]:
    """Return a measure's rank among many: differences first, then equivalence, then precision.

    Measures without a verdict are ranked by their median interval; others keep their order.
    """
    pairs = [pair for arm in view.arms if (pair := view.comparison(benchmark, arm, view.control))]
    verdicts = {pair.verdict for pair in pairs}
    if verdicts & set(DECIDED):
        return 0, 0.0
    if "equivalent" in verdicts:
        return 1, 0.0
    widths = filter(isfinite, (pair.decided.high - pair.decided.low for pair in pairs))
    return 2, median([*widths] or [inf])


def _note(view: View, ranked: bool) -> str:
    margin = view.results.margin
    shaded = f" Shaded: the equivalence margin, ±{number(margin)}." if margin else ""
    opens = " Each sign opens the items behind it." if view.items else ""
    order = (
        " Measures with a verdict come first, then those with the narrowest intervals."
        if ranked
        else ""
    )
    return (
        "Lines: confidence intervals, adjusted as the verdicts are, in the unit of each metric; "
        "higher is better where nothing else is stated."
        f"{shaded}{order}{opens}"
    )


def _row(
    view: View,
    benchmark: BenchmarkResult,
    compared: Mapping[tuple[str, str], Comparison],
    x: Scale,
) -> EffectRow:
    effects = (
        _effect(view, benchmark, comparison, x)
        if (comparison := compared.get((benchmark.name, arm)))
        else None
        for arm in view.arms
    )
    metric = metric_in_words(view, benchmark).removesuffix(f"; {AIMS['higher']}")
    return EffectRow(benchmark.title, metric, tuple(effects))


def _effect(view: View, benchmark: BenchmarkResult, comparison: Comparison, x: Scale) -> Effect:
    label = view.constant_answers(benchmark, comparison.a, comparison.b).label
    return Effect(
        svg=_drawing(comparison, bool(label), x, view.results.margin),
        value=signed(comparison.difference.value),
        interval=interval(comparison.decided),
        mark=comparison.verdict,
        flags=(label,) if label else (),
        link=item_link(view, benchmark, comparison.a, comparison.b),
    )


def _scale(comparisons: Iterable[Comparison], margin: float | None) -> Scale:
    """Return the scale, in percent of a cell, that holds every difference and most intervals.

    Wide intervals that decide nothing are cut, since they would leave no room for those that do.
    """
    finite = [pair for pair in comparisons if isfinite(pair.difference.value)]
    ends = [end for pair in finite for end in _ends(pair)]
    decided = [abs(end) for pair in finite if pair.verdict in DECIDED for end in _ends(pair)]
    reach = ROOM * max([abs(pair.difference.value) for pair in finite], default=0.0)
    typical = median(map(abs, ends)) if ends else 0.0
    limit = max([*decided, reach, typical, ROOM * (margin or 0.0)]) or 1.0
    low, high = max(-limit, min([*ends, 0.0])), min(limit, max([*ends, 0.0]))
    smallest = max(SMALLEST_SIDE * max(-low, high), ROOM * (margin or 0.0))
    return Scale((min(low, -smallest), max(high, smallest)), (0.0, 100.0))


def _ends(comparison: Comparison) -> list[float]:
    return [*filter(isfinite, (comparison.decided.low, comparison.decided.high))]


def _drawing(comparison: Comparison, flagged: bool, x: Scale, margin: float | None) -> Markup:
    """Draw one difference: the margin, zero, the interval (cut at the scale's ends), the sign."""
    elements = []
    if margin:
        form = '<rect class="margin" x="{:.1f}%" y="0" width="{:.1f}%" height="100%"/>'
        elements.append(Markup(form).format(x(-margin), x(margin) - x(-margin)))
    elements.append(_vertical("zero", x(0.0)))
    estimate = comparison.decided
    if all(map(isfinite, (estimate.low, estimate.high))):
        low, high = max(estimate.low, x.domain[0]), min(estimate.high, x.domain[1])
        form = '<line class="reach" x1="{:.1f}%" x2="{:.1f}%" y1="50%" y2="50%"/>'
        elements.append(Markup(form).format(x(low), x(high)))
        if estimate.low < low:
            elements.append(_moved(x(low), '<path class="cut" d="M5 -4L0 0L5 4"/>'))
        if estimate.high > high:
            elements.append(_moved(x(high), '<path class="cut" d="M-5 -4L0 0L-5 4"/>'))
    if isfinite(estimate.value):
        elements.append(_moved(x(estimate.value), _path(comparison.verdict)))
    kind = f"{comparison.verdict} {CONSTANT}" if flagged else comparison.verdict
    return _svg(f"effect {kind}", elements)


def _axis(x: Scale, arms: int) -> Markup:
    """Draw as many numbers under a column as it has room for."""
    form = '<text class="tick" x="{:.1f}%" y="14" text-anchor="middle">{}</text>'
    column = MATRIX_WIDTH / arms - VALUE_WIDTH
    for most in (5, 4, 3, 2, 1):
        marks = [(value, label if value else "0") for value, label in ticks(*x.domain, most)]
        if all(
            (x(b) - x(a)) / 100 * column >= CHARACTER_WIDTH * (len(left) + len(right)) / 2 + GAP
            for (a, left), (b, right) in pairwise(marks)
        ):
            break
    return _svg("scale", [Markup(form).format(x(value), label) for value, label in marks])


def _sign(kind: str) -> Markup:
    return _svg(f"key {kind}", [_moved(50.0, _path(kind))])


def _path(kind: str) -> str:
    return f'<path class="sign" d="{SIGNS.get(kind, SIGNS["undecided"])}"/>'


def _svg(kind: str, elements: Sequence[Markup]) -> Markup:
    # hidden from screen readers, which read the numbers and the verdict beside it
    form = '<svg class="{}" aria-hidden="true">{}</svg>'
    return Markup(form).format(kind, Markup("").join(elements))


def _vertical(kind: str, x: float) -> Markup:
    form = '<line class="{}" x1="{:.1f}%" x2="{:.1f}%" y1="0" y2="100%"/>'
    return Markup(form).format(kind, x, x)


def _moved(x: float, path: str) -> Markup:
    """Move a path, whose coordinates are pixels, to the middle of the cell at ``x`` percent."""
    return Markup('<svg x="{:.1f}%" y="50%">{}</svg>').format(x, Markup(path))

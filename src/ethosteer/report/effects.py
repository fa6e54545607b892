"""Effects at a glance: arms by measures, each difference from the control on one common scale.

A drawing is as wide as its cell: places along it are percentages, so that it fits a column of a
wide page and a line of a telephone alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import median

from markupsafe import Markup

from ethosteer.report.benchmarks import AIMS
from ethosteer.report.blocks import Effect, EffectMatrix, EffectRow
from ethosteer.report.figures import Scale, ticks
from ethosteer.report.items import item_link
from ethosteer.report.numbers import interval, number, signed
from ethosteer.report.view import View
from ethosteer.results import BenchmarkResult, Comparison

FLAGGED = "degenerate"
SIGNS = {
    "better": "M0 -6L6 5H-6z",
    "worse": "M0 6L6 -5H-6z",
    "different": "M0 -6.5L6.5 0L0 6.5L-6.5 0z",
    "equivalent": "M-4.5 -4.5h9v9h-9z",
    "undecided": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
    FLAGGED: "M-4 -4L4 4M-4 4L4 -4",
}
"""The outline of every verdict's sign around the origin, in pixels."""
MEANINGS = {
    "different": "different (no better direction)",
    FLAGGED: "degenerate (constant answers): no finding",
}
ROOM = 1.3
"""How much further than the largest difference the scale reaches, so that signs lie inside."""
SMALLEST_SIDE = 0.25
"""The smallest share of the scale's longer side that the side beyond zero has."""
FEW_ARMS = 5
"""Up to so many arms a column is wide enough for three numbers under it."""


def effect_matrix(view: View) -> EffectMatrix | None:
    """Return every arm's difference from the control on every measure; None without comparisons."""
    profile = view.profile
    groups = {
        "Value profile": profile,
        "Benchmarks" if profile else "": tuple(
            benchmark for benchmark in view.results.benchmarks if benchmark not in profile
        ),
    }
    compared = {
        (benchmark.name, arm): comparison
        for benchmarks in groups.values()
        for benchmark in benchmarks
        for arm in view.arms
        if (comparison := view.comparison(benchmark, arm, view.control))
    }
    if not compared:
        return None
    x = _scale(compared.values(), view.results.margin)
    rows = {
        title: tuple(
            _row(view, benchmark, compared, x)
            for benchmark in benchmarks
            if any((benchmark.name, arm) in compared for arm in view.arms)
        )
        for title, benchmarks in groups.items()
    }
    effects = [effect for row in sum(rows.values(), ()) for effect in row.effects if effect]
    kinds = {FLAGGED if effect.flags else effect.mark for effect in effects}
    return EffectMatrix(
        title=f"Difference of each arm from the {view.control} control",
        note=_note(view),
        arms=view.arms,
        groups=tuple((title, measures) for title, measures in rows.items() if measures),
        axis=_axis(x, 4 if len(view.arms) <= FEW_ARMS else 2),
        legend=tuple((_sign(kind), MEANINGS.get(kind, kind)) for kind in SIGNS if kind in kinds),
    )


def metric_in_words(view: View, benchmark: BenchmarkResult) -> str:
    """Name a benchmark's tested metric and what is better on it."""
    metric = view.tested_metric(benchmark)
    # a derived metric is a distance from the aim, which is better the smaller it is
    return f"{metric}; {AIMS[benchmark.better if metric == benchmark.primary else 'lower']}"


def _note(view: View) -> str:
    margin = view.results.margin
    shaded = f" Shaded: the equivalence margin, ±{number(margin)}." if margin else ""
    opens = " Each sign opens the items behind it." if view.items else ""
    return (
        f"Lines: 95 % confidence intervals, in the unit of each metric; all on one scale."
        f"{shaded}{opens}"
    )


def _row(
    view: View,
    benchmark: BenchmarkResult,
    compared: Mapping[tuple[str, str], Comparison],
    x: Scale,
) -> EffectRow:
    effects = []
    for arm in view.arms:
        comparison = compared.get((benchmark.name, arm))
        if comparison is None:
            effects.append(None)
            continue
        flags = () if view.sound(benchmark, arm, view.control) else (FLAGGED,)
        effects.append(
            Effect(
                svg=_drawing(comparison, FLAGGED if flags else comparison.verdict, x,
                             view.results.margin),
                value=signed(comparison.difference.value),
                interval=interval(comparison.difference),
                mark=comparison.verdict,
                flags=flags,
                link=item_link(view, benchmark, arm, view.control),
            )
        )  # fmt: skip
    return EffectRow(benchmark.title, metric_in_words(view, benchmark), tuple(effects))


def _scale(comparisons: Iterable[Comparison], margin: float | None) -> Scale:
    """Return the scale, in percent of a cell, that holds every difference and most intervals.

    The widest intervals are cut, since they would leave no room for differences that were found.
    """
    known = [pair.difference for pair in comparisons if isfinite(pair.difference.value)]
    ends = [end for estimate in known for end in (estimate.low, estimate.high) if isfinite(end)]
    reach = ROOM * max([abs(estimate.value) for estimate in known], default=0.0)
    typical = median(map(abs, ends)) if ends else 0.0
    limit = max(reach, typical, ROOM * (margin or 0.0)) or 1.0
    low, high = max(-limit, min([*ends, 0.0])), min(limit, max([*ends, 0.0]))
    smallest = max(SMALLEST_SIDE * max(-low, high), ROOM * (margin or 0.0))
    return Scale((min(low, -smallest), max(high, smallest)), (0.0, 100.0))


def _drawing(comparison: Comparison, kind: str, x: Scale, margin: float | None) -> Markup:
    """Draw one difference: the margin, zero, the interval (cut at the scale's ends), the sign."""
    elements = []
    if margin:
        form = '<rect class="margin" x="{:.1f}%" y="0" width="{:.1f}%" height="100%"/>'
        elements.append(Markup(form).format(x(-margin), x(margin) - x(-margin)))
    elements.append(_vertical("zero", x(0.0)))
    estimate = comparison.difference
    if all(map(isfinite, (estimate.low, estimate.high))):
        low, high = max(estimate.low, x.domain[0]), min(estimate.high, x.domain[1])
        form = '<line class="reach" x1="{:.1f}%" x2="{:.1f}%" y1="50%" y2="50%"/>'
        elements.append(Markup(form).format(x(low), x(high)))
        if estimate.low < low:
            elements.append(_at(x(low), '<path class="cut" d="M5 -4L0 0L5 4"/>'))
        if estimate.high > high:
            elements.append(_at(x(high), '<path class="cut" d="M-5 -4L0 0L-5 4"/>'))
    if isfinite(estimate.value):
        elements.append(_at(x(estimate.value), f'<path class="sign" d="{SIGNS[kind]}"/>'))
    return _svg(f"effect {kind}", elements)


def _axis(x: Scale, most: int) -> Markup:
    form = '<text class="tick" x="{:.1f}%" y="14" text-anchor="middle">{}</text>'
    marks = ticks(*x.domain, most)
    return _svg("axis", [Markup(form).format(x(value), label) for value, label in marks])


def _sign(kind: str) -> Markup:
    return _svg(f"key {kind}", [_at(50.0, f'<path class="sign" d="{SIGNS[kind]}"/>')])


def _svg(kind: str, elements: Sequence[Markup]) -> Markup:
    # hidden from screen readers, which read the numbers and the verdict beside it
    form = '<svg class="{}" aria-hidden="true">{}</svg>'
    return Markup(form).format(kind, Markup("").join(elements))


def _vertical(kind: str, x: float) -> Markup:
    form = '<line class="{}" x1="{:.1f}%" x2="{:.1f}%" y1="0" y2="100%"/>'
    return Markup(form).format(kind, x, x)


def _at(x: float, path: str) -> Markup:
    """Move a path, whose coordinates are pixels, to the middle of the cell at ``x`` percent."""
    return Markup('<svg x="{:.1f}%" y="50%">{}</svg>').format(x, Markup(path))

"""Small inline SVG figures: lines over steps, and intervals beside each other.

Numbers in, markup out. Every string is escaped here; colours and fonts are the style sheet's (the
classes ``s0`` to ``s6`` are the arms' colours). A figure is drawn 400 units wide, so that its text
stays readable at the width of a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup

from ethosteer.report.numbers import number, percent, signed

WIDTH = 400
COLOURS = 7
NAME_LENGTH = 15
LABEL_GAP = 15.0
LABELLED_SHARE = 0.1
"""The smallest share of a stacked bar that is wide enough for its number."""

Point = tuple[float, float]
Domain = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One arm's lines: the mean of its seeds, and every seed. ``colour`` counts from 0.

    ``band`` is (x, lowest seed, highest seed); ``marks`` are points that belong to no line. A
    ``quiet`` series is drawn grey and without a name, as a background.
    """

    name: str
    colour: int
    mean: tuple[Point, ...]
    seeds: tuple[tuple[Point, ...], ...] = ()
    marks: tuple[Point, ...] = ()
    quiet: bool = False
    band: tuple[tuple[float, float, float], ...] = ()

    @property
    def points(self) -> Iterator[Point]:
        """All points of all lines and marks that can be drawn."""
        for line in (self.mean, *self.seeds, self.marks):
            yield from filter(_finite, line)
        for x, low, high in self.band:
            yield from ((x, low), (x, high))


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of an interval plot; ``note`` stands at its right, ``solid`` fills its mark."""

    name: str
    colour: int
    value: float
    low: float
    high: float
    note: str = ""
    solid: bool = True


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from ``domain`` (values) to ``extent`` (coordinates of the drawing)."""

    domain: Domain
    extent: tuple[float, float]

    def __call__(self, value: float) -> float:
        """Return the coordinate of ``value``."""
        low, high = self.domain
        start, end = self.extent
        return start + (value - low) / (high - low) * (end - start)


def padded(values: Iterable[float]) -> Domain:
    """Return the range of the finite values with a small margin at both ends, never empty."""
    finite = [value for value in values if isfinite(value)] or [0.0]
    margin = 0.04 * (max(finite) - min(finite)) or 0.5 * abs(finite[0]) or 0.5
    return min(finite) - margin, max(finite) + margin


def ticks(low: float, high: float, most: int = 5) -> tuple[tuple[float, str], ...]:
    """Return the round numbers within [low, high] and how to write them.

    They are 1, 2 or 5 times a power of ten apart, with just the digits that tell them apart, and
    make at most ``most`` steps.
    """
    # the smallest round step that is at least the range over ``most``; 1e-9 absorbs rounding, so
    # that a range of exactly ``most`` round steps keeps them and its end points
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    # + 0.0 turns -0.0 into 0.0, which the zero line is recognised by
    values = [round(multiple * step, digits) + 0.0 for multiple in range(first, last + 1)]
    return tuple((value, number(value, digits)) for value in values)


def spread(positions: Sequence[float], low: float, high: float) -> list[float]:
    """Move labels apart so that none overlaps its neighbour, in their order, within bounds."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    moved = list(positions)
    # downwards from the top each label keeps its distance to the one above it; that may push the
    # last ones out at the bottom, so a pass upwards moves these back, and others only as needed
    floor = low
    for index in order:
        moved[index] = floor = max(moved[index], floor)
        floor += LABEL_GAP
    ceiling = high
    for index in reversed(order):
        moved[index] = ceiling = min(moved[index], ceiling)
        ceiling -= LABEL_GAP
    return moved


def frame(curves: Iterable[Series]) -> tuple[Domain, Domain]:
    """Return the ranges of x and y that hold all series with a small margin."""
    points = [point for series in curves for point in series.points]
    return padded(x for x, _ in points), padded(y for _, y in points)


def line_chart(
    name: str,
    curves: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    within: tuple[Domain, Domain] | None = None,
) -> Markup:
    """Draw series as lines, each labelled at its end: means bold, single seeds thin.

    ``name`` makes ids unique in the page; charts that are drawn ``within`` the same frame share
    their scales. The title and every line's last value are there for screen readers.
    """
    height, right = 270, 288
    loud = [series for series in curves if not series.quiet]
    ends = [
        f"{series.name} ends at {number(series.mean[-1][1], 2)}" for series in loud if series.mean
    ]
    text = f"{y_label} over {x_label}: {'; '.join(ends)}."
    if not any(True for series in curves for _ in series.points):
        return _svg(name, 40, title, text, [_text("label", 0, 24, "no values")])
    x_domain, y_domain = within or frame(curves)
    # svg's y grows downwards, so the extent of y runs from the bottom to the top
    bottom, top = height - 44, 30
    x, y = Scale(x_domain, (46, right)), Scale(y_domain, (bottom, top))
    elements = [_text("label", 0, 14, y_label), _text("label", right, height - 6, x_label, "end")]
    for value, label in ticks(*y_domain):
        elements.append(_rule("zero" if value == 0 else "grid", 46, y(value), right, y(value)))
        elements.append(_text("tick", 40, y(value) + 4, label, "end"))
    elements += _x_axis(x, bottom, 5)
    # from back to front: bands, the background, seeds, means with their labels, marks
    elements += [_band(series, x, y) for series in loud if series.band]
    elements += [_line("quiet", series.mean, x, y) for series in curves if series.quiet]
    for series in loud:
        elements += [_line(f"seed {_colour(series.colour)}", line, x, y) for line in series.seeds]
    for series in loud:
        if series.mean:
            elements.append(_line(f"mean {_colour(series.colour)}", series.mean, x, y))
    elements += _end_labels(loud, x, y, top, bottom)
    for series in loud:
        for point in filter(_finite, series.marks):
            elements.append(_diamond(series.colour, x(point[0]), y(point[1])))
    return _svg(name, height, title, text, elements)


def _finite(point: Point) -> bool:
    return isfinite(point[0]) and isfinite(point[1])


def _colour(colour: int) -> str:
    return f"s{colour % COLOURS}"


def _x_axis(x: Scale, bottom: float, most: int) -> list[Markup]:
    elements = [_rule("axis", x.extent[0], bottom, x.extent[1], bottom)]
    for value, label in ticks(*x.domain, most):
        elements.append(_rule("axis", x(value), bottom, x(value), bottom + 4))
        elements.append(_text("tick", x(value), bottom + 17, label, "middle"))
    return elements


def _line(kind: str, line: Iterable[Point], x: Scale, y: Scale) -> Markup:
    points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in filter(_finite, line))
    return Markup('<polyline class="line {}" points="{}"/>').format(kind, points)


def _band(series: Series, x: Scale, y: Scale) -> Markup:
    """Shade the area between a series' lowest and highest seed: along its top, then back."""
    upper = [f"{x(step):.1f},{y(high):.1f}" for step, _, high in series.band]
    lower = [f"{x(step):.1f},{y(low):.1f}" for step, low, _ in reversed(series.band)]
    form = '<polygon class="band {}" points="{}"/>'
    return Markup(form).format(_colour(series.colour), " ".join(upper + lower))


def _end_labels(
    curves: Sequence[Series], x: Scale, y: Scale, top: float, bottom: float
) -> list[Markup]:
    """Draw a dot at every mean's end, and its name to the right, joined by a line."""
    last = [(series, [*filter(_finite, series.mean)][-1:]) for series in curves]
    ends = [(series, x(points[0][0]), y(points[0][1])) for series, points in last if points]
    label_x = x.extent[1] + 18
    elements = []
    heights = spread([end_y for _, _, end_y in ends], top, bottom)
    for (series, end_x, end_y), label_y in zip(ends, heights, strict=True):
        elements.append(_dot(series.colour, end_x, end_y, solid=True))
        elements.append(_rule("leader", end_x + 5, end_y, label_x - 3, label_y))
        elements.append(_text("name", label_x, label_y + 4, _short(series.name)))
    return elements


def interval_plot(
    name: str, bars: Sequence[Bar], *, title: str, margin: float | None = None
) -> Markup:
    """Draw differences with their intervals around a line at zero, one row each.

    ``margin`` shades the differences that count as equivalent.
    """
    top, row, left, right = 4, 34, 108, 322
    bottom = top + row * len(bars) + 4
    ends = [end for bar in bars for end in (bar.low, bar.high, bar.value)]
    x = Scale(padded([0.0, *ends, *((-margin, margin) if margin else ())]), (left, right))
    elements = []
    if margin:
        elements.append(_box("margin", x(-margin), top, x(margin) - x(-margin), bottom - top))
    # four steps at most, for wide labels; more where that leaves hardly a tick
    elements += _x_axis(x, bottom, 4 if len(ticks(*x.domain, 4)) > 2 else 6)
    elements.append(_rule("zero", x(0), top, x(0), bottom))
    for index, bar in enumerate(bars):
        y = top + row * (index + 0.5)
        elements.append(_text("name", left - 10, y + 4, _short(bar.name), "end"))
        if all(map(isfinite, (bar.value, bar.low, bar.high))):
            kind = f"whisker {_colour(bar.colour)}"
            elements.append(_rule(kind, x(bar.low), y, x(bar.high), y))
            elements.append(_dot(bar.colour, x(bar.value), y, solid=bar.solid))
        elements.append(_text("tick", WIDTH, y - 2, signed(bar.value), "end"))
        elements.append(_text("tick", WIDTH, y + 11, bar.note, "end"))
    text = "; ".join(f"{bar.name} {signed(bar.value)}, {bar.note}" for bar in bars)
    return _svg(name, bottom + 24, title, f"{text}.", elements)


def stacked_bars(
    name: str, rows: Mapping[str, Sequence[float]], kinds: Sequence[str], *, title: str
) -> Markup:
    """Draw shares of a whole, a bar for each of ``rows``: a share for each of ``kinds``.

    Kinds are told apart by shade and by the number that stands in them.
    """
    top, row, left, right = 26, 27, 108, WIDTH
    x = Scale((0.0, 1.0), (left, right))
    elements = []
    legend_x = float(left)
    for index, kind in enumerate(kinds):
        elements.append(_box(f"part p{index}", legend_x, 4, 11, 11))
        elements.append(_text("tick", legend_x + 16, 14, kind))
        legend_x += 30 + 6.4 * len(kind)  # about the width of its letters
    spoken = []
    for line, (label, shares) in enumerate(rows.items()):
        y = top + row * line
        elements.append(_text("name", left - 10, y + 15, _short(label), "end"))
        start = 0.0
        for index, share in enumerate(shares):
            if not share > 0:  # nan as well
                continue
            elements.append(_box(f"part p{index}", x(start), y, x(share) - left, row - 5))
            if share >= LABELLED_SHARE:
                middle, text = x(start + share / 2), percent(share, 0)
                elements.append(_text(f"share q{index}", middle, y + 15, text, "middle"))
            start += share
        values = [f"{kind} {percent(share, 0)}" for kind, share in zip(kinds, shares, strict=True)]
        spoken.append(f"{label}: {', '.join(values)}")
    return _svg(name, top + row * len(rows), title, "; ".join(spoken), elements)


def _svg(name: str, height: float, title: str, text: str, elements: Iterable[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {w} {h:.0f}" role="img" aria-labelledby="{n}-title {n}-desc">'
        '<title id="{n}-title">{title}</title><desc id="{n}-desc">{text}</desc>{body}</svg>'
    ).format(w=WIDTH, h=height, n=name, title=title, text=text, body=Markup("").join(elements))


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> Markup:
    form = '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    return Markup(form).format(kind, x, y, anchor, text)


def _rule(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    form = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return Markup(form).format(kind, x1, y1, x2, y2)


def _dot(colour: int, x: float, y: float, *, solid: bool) -> Markup:
    form = '<circle class="dot {} {}" cx="{:.1f}" cy="{:.1f}" r="4"/>'
    return Markup(form).format("solid" if solid else "hollow", _colour(colour), x, y)


def _diamond(colour: int, x: float, y: float) -> Markup:
    form = '<path class="pick {}" d="M{:.1f} {:.1f}l6 6l-6 6l-6 -6z"/>'
    return Markup(form).format(_colour(colour), x, y - 6)


def _box(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    form = '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    return Markup(form).format(kind, x, y, width, height)


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"

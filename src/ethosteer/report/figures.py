"""Small inline SVG figures: lines over steps, and intervals beside each other.

Numbers in, markup out. Every string is escaped here; colours and fonts are the style sheet's (the
classes ``s0`` to ``s6`` are the arms' colours). A figure is drawn 400 units wide, so that its text
stays readable at the width of a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup

from ethosteer.report.numbers import number, signed

WIDTH = 400
COLOURS = 7
NAME_LENGTH = 15
LABEL_GAP = 15.0
ROOM = 0.1
"""The smallest share of a stacked bar that has room for its number."""

Point = tuple[float, float]
Domain = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One arm's lines: every seed's own, and their mean. ``colour`` counts from 0.

    ``band`` is (x, low, high): where its seeds lie around the mean. ``marks`` are points of their
    own beside the lines; a ``quiet`` series is drawn grey and has no name, to be compared with.
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
            yield from (point for point in line if isfinite(point[0]) and isfinite(point[1]))
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
    """Maps numbers from ``domain`` to places in ``extent``, in a straight line."""

    domain: tuple[float, float]
    extent: tuple[float, float]

    def __call__(self, value: float) -> float:
        """Return the place of ``value``."""
        low, high = self.domain
        start, end = self.extent
        return start + (value - low) / (high - low) * (end - start)


def padded(values: Iterable[float]) -> tuple[float, float]:
    """Return the range of the finite values with a little room at both ends, never empty."""
    finite = [value for value in values if isfinite(value)] or [0.0]
    room = 0.04 * (max(finite) - min(finite)) or 0.5 * abs(finite[0]) or 0.5
    return min(finite) - room, max(finite) + room


def ticks(low: float, high: float, most: int = 5) -> tuple[tuple[float, str], ...]:
    """Return the round numbers within [low, high] and how to write them.

    They are 1, 2 or 5 times a power of ten apart, have just the digits that tell them apart, and
    make ``most`` steps at most.
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    places = [round(place * step, digits) + 0.0 for place in range(first, last + 1)]
    return tuple((place, number(place, digits)) for place in places)


def spread(places: Sequence[float], low: float, high: float) -> list[float]:
    """Move labels apart so that none overlaps its neighbour, in their order, within bounds."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    floor = low
    for index in order:
        moved[index] = floor = max(moved[index], floor)
        floor += LABEL_GAP
    ceiling = high
    for index in reversed(order):
        moved[index] = ceiling = min(moved[index], ceiling)
        ceiling -= LABEL_GAP
    return moved


def frame(series: Iterable[Series]) -> tuple[Domain, Domain]:
    """Return the ranges of x and y that hold all series with a little room."""
    points = [point for each in series for point in each.points]
    return padded(x for x, _ in points), padded(y for _, y in points)


def line_chart(
    name: str,
    series: Sequence[Series],
    *,
    title: str,
    text: str,
    x_label: str,
    y_label: str,
    within: tuple[Domain, Domain] | None = None,
) -> Markup:
    """Draw series as lines, each labelled at its end: means bold, single seeds thin.

    ``name`` makes ids unique in the page; ``title`` and ``text`` are for screen readers; charts
    that are drawn ``within`` the same frame share their scales.
    """
    height, right = 270, 288
    if not any(True for each in series for _ in each.points):
        return _svg(name, 40, title, text, [_text("label", 0, 24, "no values")])
    x_domain, y_domain = within or frame(series)
    x, y = Scale(x_domain, (46, right)), Scale(y_domain, (height - 44, 30))
    parts = [_text("label", 0, 14, y_label), _text("label", right, height - 6, x_label, "end")]
    parts += _y_axis(y, right) + _x_axis(x, height - 44, 5)
    loud = [each for each in series if not each.quiet]
    parts += [_band(each, x, y) for each in loud if each.band]
    parts += [_line("quiet", each.mean, x, y) for each in series if each.quiet]
    for each in loud:
        parts += [_line(f"seed {_colour(each.colour)}", line, x, y) for line in each.seeds]
    parts += [_line(f"mean {_colour(each.colour)}", each.mean, x, y) for each in loud if each.mean]
    parts += _end_labels(loud, x, y, height - 44)
    for each in loud:
        parts += [_diamond(each.colour, x(a), y(b)) for a, b in each.marks if isfinite(a + b)]
    return _svg(name, height, title, text, parts)


def _colour(colour: int) -> str:
    return f"s{colour % COLOURS}"


def _y_axis(y: Scale, right: float) -> list[Markup]:
    parts = []
    for place, label in ticks(*y.domain):
        parts.append(_rule("zero" if place == 0 else "grid", 46, y(place), right, y(place)))
        parts.append(_text("tick", 40, y(place) + 4, label, "end"))
    return parts


def _x_axis(x: Scale, bottom: float, most: int) -> list[Markup]:
    parts = [_rule("axis", x.extent[0], bottom, x.extent[1], bottom)]
    for place, label in ticks(*x.domain, most):
        parts.append(_rule("axis", x(place), bottom, x(place), bottom + 4))
        parts.append(_text("tick", x(place), bottom + 17, label, "middle"))
    return parts


def _line(kind: str, line: Iterable[Point], x: Scale, y: Scale) -> Markup:
    places = [f"{x(a):.1f},{y(b):.1f}" for a, b in line if isfinite(a) and isfinite(b)]
    return Markup('<polyline class="line {}" points="{}"/>').format(kind, " ".join(places))


def _band(series: Series, x: Scale, y: Scale) -> Markup:
    """Shade what lies between a series' lowest and highest seed."""
    upper = [f"{x(at):.1f},{y(high):.1f}" for at, _, high in series.band]
    lower = [f"{x(at):.1f},{y(low):.1f}" for at, low, _ in reversed(series.band)]
    form = '<polygon class="band {}" points="{}"/>'
    return Markup(form).format(_colour(series.colour), " ".join(upper + lower))


def _end_labels(series: Sequence[Series], x: Scale, y: Scale, bottom: float) -> list[Markup]:
    ends = []
    for each in series:
        finite = [(a, b) for a, b in each.mean if isfinite(a) and isfinite(b)]
        if finite:
            ends.append((each, x(finite[-1][0]), y(finite[-1][1])))
    parts = []
    label_x = x.extent[1] + 18
    for (each, end_x, end_y), place in zip(
        ends, spread([end for _, _, end in ends], 30, bottom), strict=True
    ):
        parts.append(_dot(each.colour, end_x, end_y, solid=True))
        parts.append(_rule("leader", end_x + 5, end_y, label_x - 3, place))
        parts.append(_text("name", label_x, place + 4, _short(each.name)))
    return parts


def interval_plot(
    name: str, bars: Sequence[Bar], *, title: str, text: str, margin: float | None = None
) -> Markup:
    """Draw differences with their intervals around a line at zero, one row each.

    ``margin`` shades what counts as equivalent.
    """
    top, row, left, right = 4, 34, 108, 322
    bottom = top + row * len(bars) + 4
    ends = [end for bar in bars for end in (bar.low, bar.high, bar.value)]
    x = Scale(padded([0.0, *ends, *((-margin, margin) if margin else ())]), (left, right))
    parts = []
    if margin:
        parts.append(_box("margin", x(-margin), top, x(margin) - x(-margin), bottom - top))
    parts += _x_axis(x, bottom, 4 if len(ticks(*x.domain, 4)) > 2 else 6)
    parts.append(_rule("zero", x(0), top, x(0), bottom))
    for index, bar in enumerate(bars):
        parts += _bar(bar, x, top + row * (index + 0.5), left)
    return _svg(name, bottom + 24, title, text, parts)


def stacked_bars(
    name: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    parts: Sequence[str],
    *,
    title: str,
    text: str,
) -> Markup:
    """Draw shares of a whole, a bar a row: ``rows`` of (name, a share for each of ``parts``).

    Parts are told apart by pattern of shade and by the number that stands in them.
    """
    top, row, left, right = 26, 27, 108, WIDTH
    x = Scale((0.0, 1.0), (left, right))
    drawn = []
    place = float(left)
    for index, part in enumerate(parts):
        drawn.append(_box(f"part p{index}", place, 4, 11, 11))
        drawn.append(_text("tick", place + 16, 14, part))
        place += 30 + 6.4 * len(part)
    for index, (label, shares) in enumerate(rows):
        y = top + row * index
        drawn.append(_text("name", left - 10, y + 15, _short(label), "end"))
        start = 0.0
        for kind, share in enumerate(shares):
            if isfinite(share) and share > 0:
                drawn.append(_box(f"part p{kind}", x(start), y, x(share) - left, row - 5))
                if share >= ROOM:
                    middle = x(start + share / 2)
                    drawn.append(_text(f"share q{kind}", middle, y + 15, f"{share:.0%}", "middle"))
                start += share
    return _svg(name, top + row * len(rows), title, text, drawn)


def _bar(bar: Bar, x: Scale, y: float, left: float) -> list[Markup]:
    parts = [_text("name", left - 10, y + 4, _short(bar.name), "end")]
    if all(isfinite(value) for value in (bar.value, bar.low, bar.high)):
        whisker = '<line class="whisker {}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
        colour = _colour(bar.colour)
        parts.append(Markup(whisker).format(colour, x(bar.low), y, x(bar.high), y))
        parts.append(_dot(bar.colour, x(bar.value), y, solid=bar.solid))
    parts.append(_text("tick", WIDTH, y - 2, signed(bar.value), "end"))
    parts.append(_text("tick", WIDTH, y + 11, bar.note, "end"))
    return parts


def _svg(name: str, height: float, title: str, text: str, parts: Iterable[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {w} {h:.0f}" role="img" aria-labelledby="{n}-title {n}-desc">'
        '<title id="{n}-title">{title}</title><desc id="{n}-desc">{text}</desc>{body}</svg>'
    ).format(w=WIDTH, h=height, n=name, title=title, text=text, body=Markup("").join(parts))


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

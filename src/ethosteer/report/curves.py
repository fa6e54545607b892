"""The curves of steering: what is drawn of them, and the numbers beside each figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite, nan
from statistics import fmean

from ethosteer.report.axes import POINTS_OVER_STEPS, Axes, all_axes, engine_axes
from ethosteer.report.blocks import Figure, Table
from ethosteer.report.figures import Point, Series, frame, line_chart
from ethosteer.report.numbers import listing, number
from ethosteer.report.reward_models import reward_unit
from ethosteer.report.steering import evaluated_step
from ethosteer.report.table import Numbers, table
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult

Line = Mapping[int, Point]
"""One seed's points by step."""


def curve_figures(view: View) -> tuple[Figure, ...]:
    """Draw reward over steps, KL over steps, and reward against KL; nothing without curves."""
    if not any(result.curve for result in view.results.arms):
        return ()
    names = ("curve-reward", "curve-kl", "curve-kl-reward")
    charts = [*zip(names, all_axes(view), strict=True), *engine_axes(view)]
    return tuple(_curve_figure(view, name, axes) for name, axes in charts)


def _curve_figure(view: View, name: str, axes: Axes) -> Figure:
    """Draw one chart of all arms."""
    curves = _all_series(view, axes)
    marked = []
    for series in curves:
        # one mark for the mean of the seeds, unless they were evaluated at different steps
        marks = tuple(mark for mark in series.marks if all(map(isfinite, mark)))
        steps = {evaluated_step(result) for result in view.arm_results(series.name)}
        marked.append(
            replace(series, marks=(_mean(marks),) if marks and len(steps) == 1 else marks)
        )
    svg = line_chart(
        name,
        marked,
        title=axes.title,
        x_label=axes.x.label,
        y_label=axes.y.label,
    )
    shown = "shaded: range of the seeds" if axes.banded else "thin: single seeds"
    notes = [
        f"Bold: mean of the seeds; {shown}." if view.results.seeds[1:] else "A single seed.",
    ]
    if any(series.marks for series in marked):
        notes.append("Diamond: the evaluated checkpoint, on held-out prompts.")
    if max(len(result.curve) for result in view.results.arms) > axes.points:
        notes.append("Points are means of neighbouring steps.")
    largest = {
        result.arm: max((point.kl for point in result.curve if isfinite(point.kl)), default=0.0)
        for result in view.results.arms
        if result.stopped
    }
    beyond = [f"{arm} ({number(kl, 0)} nats)" for arm, kl in largest.items() if kl > axes.limit]
    if beyond:
        notes.append(f"Not drawn, far beyond the scale: the end of {listing(beyond)}.")
    numbers = _mean_table("arm", curves, axes.x.label, axes.y.label, axes.x_digits, axes.y_digits)
    return Figure(svg, axes.title, " ".join(notes), numbers)


def arm_figures(view: View) -> tuple[Figure, ...]:
    """Draw each arm's reward against KL by itself, all on the same scales, others in grey.

    Nothing for a single arm: that would be the figure of all arms once more.
    """
    axes = all_axes(view)[2]
    curves = _all_series(view, axes)
    if len(curves) < 2:
        return ()
    return tuple(_arm_figure(view, index, curves, axes) for index in range(len(curves)))


def _arm_figure(view: View, index: int, curves: Sequence[Series], axes: Axes) -> Figure:
    """Draw one arm's seeds and evaluated checkpoints, with the other arms' means behind them."""
    arm = curves[index]
    others = [
        replace(series, seeds=(), marks=(), quiet=True) for series in curves if series is not arm
    ]
    results = view.arm_results(arm.name)
    names = [f"seed {result.seed}" for result in results if result.curve]
    lines = arm.seeds or (arm.mean,)
    seeds = [Series(name, arm.colour, line) for name, line in zip(names, lines, strict=True)]
    title = f"{arm.name}: reward against KL"
    svg = line_chart(
        f"course-{index}",
        [*others, *seeds, Series("", arm.colour, (), marks=arm.marks)],
        title=title,
        x_label=axes.x.label,
        y_label=axes.y.label,
        within=frame(curves),
    )
    numbers = table(
        "",
        ("seed", Numbers(axes.x.label, digits=axes.x_digits), Numbers(axes.y.label, digits=2)),
        [
            *_five_points(seeds),
            *(
                (f"seed {result.seed}, evaluated", axes.x.evaluated(result),
                 axes.y.evaluated(result))
                for result in results
            ),
        ],
    )  # fmt: skip
    return Figure(svg, title, _stopped_note(results), numbers)


def reward_model_figures(view: View) -> tuple[Figure, ...]:
    """Draw the mean reward of each arm's answers under every reward model, over the steps.

    Nothing where no more than one reward model scored them.
    """
    panels = {arm: _series_by_reward_model(view, arm) for arm in view.arms}
    panels = {arm: curves for arm, curves in panels.items() if curves}
    if max(map(len, panels.values()), default=0) < 2:
        return ()
    within = frame(series for curves in panels.values() for series in curves)
    x_label, y_label = all_axes(view)[0].x.label, f"mean reward, {reward_unit(view)}"
    figures = []
    for index, (arm, curves) in enumerate(panels.items()):
        reward_model = view.reward_model_of(arm)
        title = f"Answers of {arm} under every reward model"
        notes = [f"Own reward model: {reward_model}."] if reward_model else []
        svg = line_chart(
            f"rewards-{index}",
            curves,
            title=title,
            x_label=x_label,
            y_label=y_label,
            within=within,
        )
        note = " ".join(filter(None, (*notes, _stopped_note(view.arm_results(arm)))))
        numbers = _mean_table("reward model", curves, x_label, y_label, 0)
        figures.append(Figure(svg, title, note, numbers))
    return tuple(figures)


def _series_by_reward_model(view: View, arm: str) -> list[Series]:
    """Return an arm's mean reward over steps under each reward model that scored its answers."""
    curves = []
    for index, name in enumerate(view.reward_models):
        lines = [
            {
                point.step: (float(point.step), point.rewards[name])
                for point in result.curve
                if isfinite(point.rewards.get(name, nan))
            }
            for result in view.arm_results(arm)
        ]
        mean = mean_line([line for line in lines if line])
        colour = view.arms.index(name) if name in view.arms else index
        if mean:
            width = bin_width(mean, POINTS_OVER_STEPS)
            curves.append(Series(name, colour, binned(mean, width)))
    return curves


def _stopped_note(results: Sequence[ArmResult]) -> str:
    """Return which seeds have a shorter line, and what that means for a mean."""
    stopped = [str(result.seed) for result in results if result.stopped]
    if not stopped:
        return ""
    if len(results) == 1:
        return "Stopped early."
    seeds = f"Seed {stopped[0]} was" if len(stopped) == 1 else f"Seeds {listing(stopped)} were"
    return f"{seeds} stopped early; means over the seeds end there."


def _all_series(view: View, axes: Axes) -> list[Series]:
    """Return the lines and evaluated checkpoints of every arm with a curve.

    One seed is its own mean. Several make a band where the chart has bands and none was stopped.
    """
    curves = []
    for colour, arm in enumerate(view.arms):
        results = view.arm_results(arm)
        lines = [line_of(result, axes) for result in results if result.curve]
        mean = mean_line(lines)
        width = max((bin_width(line, axes.points) for line in lines), default=1)
        several = len(lines) > 1
        completed = not any(result.stopped for result in results)
        band = _band(lines, width) if axes.banded and completed and several else ()
        series = Series(
            arm,
            colour,
            binned(mean, width),
            seeds=tuple(binned(line, width) for line in lines) if several and not band else (),
            marks=tuple(
                (axes.x.evaluated(result), axes.y.evaluated(result))
                for result in results
                if not (result.stopped and result.kl.value > axes.limit)
            ),
            band=band,
        )
        if series.mean:
            curves.append(series)
    return curves


def _band(lines: Sequence[Line], width: int) -> tuple[tuple[float, float, float], ...]:
    """Return (x, lowest, highest seed) at the steps that all seeds have, every ``width`` steps."""
    # averaged as the mean line is, so that the band surrounds it
    steps = mean_line(lines)
    averaged = [binned({step: line[step] for step in steps}, width) for line in lines]
    return tuple(
        (points[0][0], min(y for _, y in points), max(y for _, y in points))
        for points in zip(*averaged, strict=True)
    )


def line_of(result: ArmResult, axes: Axes) -> Line:
    """Return the finite points of a curve by step; of a stopped arm, those within the limit."""
    limit = axes.limit if result.stopped else inf
    points = {point.step: (axes.x.measured(point), axes.y.measured(point))
              for point in result.curve if not point.kl > limit}  # fmt: skip
    return {step: point for step, point in points.items() if all(map(isfinite, point))}


def mean_line(lines: Sequence[Line]) -> Line:
    """Return the mean of several seeds' points at the steps that all of them have.

    A seed that was stopped ends the mean: one over fewer seeds would jump there.
    """
    if not lines:
        return {}
    shared = [step for step in sorted(lines[0]) if all(step in line for line in lines)]
    return {step: _mean([line[step] for line in lines]) for step in shared}


def binned(line: Line, width: int) -> tuple[Point, ...]:
    """Return the means over every ``width`` steps, however many of these were measured."""
    bins: dict[int, list[Point]] = {}
    for step in sorted(line):
        bins.setdefault(step // width, []).append(line[step])
    return tuple(map(_mean, bins.values()))


def bin_width(line: Line, points: int) -> int:
    """Return the fewest steps a bin must have for a line to have at most ``points`` bins."""
    return max(1, -(-(max(line, default=0) + 1) // points))


def _mean(points: Sequence[Point]) -> Point:
    return fmean(x for x, _ in points), fmean(y for _, y in points)


def _mean_table(
    head: str,
    curves: Iterable[Series],
    x_label: str,
    y_label: str,
    x_digits: int,
    y_digits: int = 2,
) -> Table:
    return table(
        "",
        (head, Numbers(x_label, digits=x_digits), Numbers(y_label, digits=y_digits)),
        _five_points(curves),
        note="Mean of the seeds at five points of the curve.",
    )


def _five_points(curves: Iterable[Series]) -> list[tuple[str, float, float]]:
    """Return (name, x, y) at five points of every mean line: enough to see its course."""
    return [
        (series.name, *series.mean[index])
        for series in curves
        for index in sorted({round((len(series.mean) - 1) * k / 4) for k in range(5)})
    ]

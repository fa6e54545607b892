"""The courses of steering: what is drawn of them, and the numbers beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from statistics import fmean

from ethosteer.report.blocks import Cell, Column, Figure, Table
from ethosteer.report.figures import Point, Series, frame, line_chart
from ethosteer.report.numbers import listing, number
from ethosteer.report.steering import ALGORITHMS, evaluated_step
from ethosteer.report.view import View
from ethosteer.results import ArmResult, CurvePoint

MOST_STEPS = 120
MOST_ALONG_KL = 24
RUNAWAY = 2.0
"""A stopped arm is drawn up to this many times the largest KL of the arms that were not."""

Read = Callable[[CurvePoint], float]
Line = dict[int, Point]
"""One seed's points by step."""


@dataclass(frozen=True, slots=True)
class Axes:
    """What a chart shows of every point of a curve, and of the evaluated checkpoint."""

    title: str
    x_label: str
    y_label: str
    x: Read
    y: Read
    x_end: Callable[[ArmResult], float]
    y_end: Callable[[ArmResult], float]
    most: int = MOST_STEPS
    limit: float = inf
    x_digits: int = 0
    banded: bool = True


def _step(point: CurvePoint) -> float:
    return float(point.step)


def _reward(point: CurvePoint) -> float:
    return point.reward


def _kl(point: CurvePoint) -> float:
    return point.kl


def _end_step(result: ArmResult) -> float:
    step = evaluated_step(result)
    return float("nan") if step is None else float(step)


def _end_reward(result: ArmResult) -> float:
    return result.end.value


def _end_kl(result: ArmResult) -> float:
    return result.kl.value


def all_axes(view: View) -> tuple[Axes, Axes, Axes]:
    """Return the axes of reward over steps, KL over steps, and reward against KL."""
    algorithms = {ALGORITHMS.get(each.algorithm, each.algorithm) for each in view.results.arms}
    step = f"{algorithms.pop()} step" if len(algorithms) == 1 else "step"
    reward, kl = "reward, sd of base answers", "KL to the reference, nats"
    limit = _kl_limit(view.results.arms)
    return (
        Axes("Reward over steps", step, reward, _step, _reward, _end_step, _end_reward),
        Axes("KL over steps", step, kl, _step, _kl, _end_step, _end_kl, limit=limit),
        Axes(
            "Reward against KL", kl, reward, _kl, _reward, _end_kl, _end_reward,
            MOST_ALONG_KL, limit, 2, banded=False,
        ),
    )  # fmt: skip


def _kl_limit(results: Iterable[ArmResult]) -> float:
    """Return the KL up to which stopped arms are drawn: one far beyond would flatten the rest."""
    calm = [each for each in results if not each.stopped]
    measured = [point.kl for each in calm for point in each.curve]
    measured += [each.kl.value for each in calm]
    largest = max((kl for kl in measured if isfinite(kl)), default=0.0)
    return RUNAWAY * largest if largest > 0 else inf


def curve_figures(view: View) -> tuple[Figure, ...]:
    """Draw reward over steps, KL over steps, and reward against KL; nothing without curves."""
    if not any(result.curve for result in view.results.arms):
        return ()
    names = ("reward", "kl", "kl-reward")
    return tuple(
        _together(view, f"curve-{name}", axes)
        for name, axes in zip(names, all_axes(view), strict=True)
    )


def arm_figures(view: View) -> tuple[Figure, ...]:
    """Draw each arm's reward against KL by itself, all on the same scales, others in grey.

    Nothing for a single arm: that would be the figure of all arms once more.
    """
    axes = all_axes(view)[2]
    drawn = [series for arm in view.arms if (series := _series(view, arm, axes)).mean]
    if len(drawn) < 2:
        return ()
    return tuple(_alone(view, index, drawn, axes) for index in range(len(drawn)))


def judged_figures(view: View) -> tuple[Figure, ...]:
    """Draw, for each arm, the course of its answers' reward under every reward model.

    Nothing where no more than one reward model judged them.
    """
    panels = [(arm, series) for arm in view.arms if (series := _judged(view, arm))]
    if not panels or max(len(series) for _, series in panels) < 2:
        return ()
    within = frame(each for _, series in panels for each in series)
    x_label, y_label = all_axes(view)[0].x_label, "mean reward, sd of base answers"
    figures = []
    for index, (arm, series) in enumerate(panels):
        own = view.own_judge(arm)
        notes = (f"Own reward model: {own}." if own else "", _stopped_note(view.arm_results(arm)))
        svg = line_chart(
            f"judged-{index}",
            series,
            title=f"Answers of {arm} under every reward model",
            text=_ends(series),
            x_label=x_label,
            y_label=y_label,
            within=within,
        )
        table = _course_table("reward model", series, x_label, y_label, 0)
        figures.append(Figure(svg, f"Answers of {arm}", " ".join(filter(None, notes)), table))
    return tuple(figures)


def _judged(view: View, arm: str) -> list[Series]:
    """Return an arm's mean reward over steps under each reward model that judged it."""
    series = []
    for place, judge in enumerate(view.judges):
        lines = [
            {
                point.step: (float(point.step), point.rewards[judge])
                for point in result.curve
                if isfinite(point.rewards.get(judge, inf))
            }
            for result in view.arm_results(arm)
        ]
        mean = mean_line([line for line in lines if line])
        colour = view.arms.index(judge) if judge in view.arms else place
        if mean:
            series.append(Series(judge, colour, binned(mean, _width(mean, MOST_STEPS))))
    return series


def _together(view: View, name: str, axes: Axes) -> Figure:
    """Draw one chart of all arms."""
    drawn = [series for arm in view.arms if (series := _series(view, arm, axes)).mean]
    svg = line_chart(
        name,
        [replace(each, marks=_marks(view, each)) for each in drawn],
        title=axes.title,
        text=f"{axes.y_label} over {axes.x_label}: {_ends(drawn)}",
        x_label=axes.x_label,
        y_label=axes.y_label,
    )
    many = len(view.results.seeds) > 1
    each = "shaded: from the lowest seed to the highest" if axes.banded else "thin: each seed"
    seeds = f"Bold: mean of the seeds; {each}. " if many else "One seed. "
    note = f"{seeds}Diamond: the evaluated checkpoint, on held-out prompts.{_averaged(view, axes)}"
    table = _course_table("arm", drawn, axes.x_label, axes.y_label, axes.x_digits)
    return Figure(svg, axes.title, note + _beyond(view, axes), table)


def _alone(view: View, index: int, drawn: Sequence[Series], axes: Axes) -> Figure:
    """Draw one arm's seeds and evaluated checkpoints, with the other arms' means behind them."""
    arm = drawn[index]
    others = [replace(each, seeds=(), marks=(), quiet=True) for each in drawn if each is not arm]
    results = view.arm_results(arm.name)
    names = [f"seed {each.seed}" for each in results if each.curve]
    lines = arm.seeds or (arm.mean,)
    seeds = [Series(name, arm.colour, line) for name, line in zip(names, lines, strict=True)]
    marks = Series("", arm.colour, (), marks=arm.marks)
    title = f"{arm.name}: reward against KL"
    svg = line_chart(
        f"course-{index}",
        [*others, *seeds, marks],
        title=title,
        text=f"{axes.y_label} over {axes.x_label}: {_ends(seeds)}",
        x_label=axes.x_label,
        y_label=axes.y_label,
        within=frame(drawn),
    )
    rows = _course_rows([(each.name, each.mean) for each in seeds], axes.x_digits)
    rows += [
        (
            Cell(f"seed {each.seed}, evaluated"),
            Cell(number(axes.x_end(each), 2)),
            Cell(number(axes.y_end(each), 2)),
        )
        for each in results
    ]
    columns = (Column("seed"), Column(axes.x_label, "number"), Column(axes.y_label, "number"))
    return Figure(svg, title, _stopped_note(results), Table("", columns, tuple(rows)))


def _stopped_note(results: Sequence[ArmResult]) -> str:
    """Say which seeds have a shorter line, and what that means for a mean."""
    stopped = [str(each.seed) for each in results if each.stopped]
    if not stopped:
        return ""
    if len(results) == 1:
        return "Stopped early."
    seeds = f"Seed {stopped[0]} was" if len(stopped) == 1 else f"Seeds {listing(stopped)} were"
    return f"{seeds} stopped early; means over the seeds end there."


def _averaged(view: View, axes: Axes) -> str:
    steps = max(len(each.curve) for each in view.results.arms)
    return " Points are means of neighbouring steps." if steps > axes.most else ""


def _beyond(view: View, axes: Axes) -> str:
    """Name the arms that leave the chart, and how far they went."""
    farthest = {
        each.arm: max((p.kl for p in each.curve if isfinite(p.kl)), default=0.0)
        for each in view.results.arms
        if each.stopped
    }
    gone = [f"{arm} ({number(kl, 0)} nats)" for arm, kl in farthest.items() if kl > axes.limit]
    return f" Not drawn, for it would flatten the rest: the end of {listing(gone)}." if gone else ""


def _marks(view: View, series: Series) -> tuple[Point, ...]:
    """Return the mean of an arm's marks, or each where its seeds' steps differ."""
    marks = [(x, y) for x, y in series.marks if isfinite(x) and isfinite(y)]
    steps = {evaluated_step(each) for each in view.arm_results(series.name)}
    return (_centre(marks),) if marks and len(steps) == 1 else tuple(marks)


def _series(view: View, arm: str, axes: Axes) -> Series:
    """Return an arm's lines and evaluated checkpoints; one seed is its own mean.

    Seeds make a band where the chart has bands and none was stopped on the way.
    """
    results = view.arm_results(arm)
    lines = [line_of(each, axes) for each in results if each.curve]
    mean = mean_line(lines)
    width = max((_width(line, axes.most) for line in lines), default=1)
    seeds = tuple(binned(line, width) for line in lines) if lines[1:] else ()
    whole = not any(each.stopped for each in results)
    band = _band(lines, width) if axes.banded and whole and lines[1:] else ()
    within = [each for each in results if not (each.stopped and each.kl.value > axes.limit)]
    marks = tuple((axes.x_end(each), axes.y_end(each)) for each in within)
    shown = () if band else seeds
    return Series(arm, view.arms.index(arm), binned(mean, width), shown, marks, band=band)


def _band(lines: Sequence[Line], width: int) -> tuple[tuple[float, float, float], ...]:
    """Return (x, lowest, highest seed) at the steps that all seeds have, every ``width`` steps."""
    shared = {step: [line[step] for line in lines] for step in mean_line(lines)}
    averaged = [binned({step: own[seed] for step, own in shared.items()}, width)
                for seed in range(len(lines))]  # fmt: skip
    return tuple(
        (points[0][0], min(y for _, y in points), max(y for _, y in points))
        for points in zip(*averaged, strict=True)
    )


def line_of(result: ArmResult, axes: Axes) -> Line:
    """Return what is drawn of an arm's curve, by step: what is finite and, if it was stopped,
    within the axes' limit.
    """
    limit = axes.limit if result.stopped else inf
    return {
        point.step: (axes.x(point), axes.y(point))
        for point in result.curve
        if isfinite(axes.x(point)) and isfinite(axes.y(point)) and not point.kl > limit
    }


def mean_line(lines: Sequence[Line]) -> Line:
    """Return the mean of several seeds' points at the steps that all of them have.

    A seed that was stopped ends the mean: one over fewer seeds would jump there.
    """
    if not lines:
        return {}
    shared = [step for step in sorted(lines[0]) if all(step in line for line in lines)]
    points = {step: [line[step] for line in lines] for step in shared}
    return {step: _centre(group) for step, group in points.items()}


def binned(line: Mapping[int, Point], width: int) -> tuple[Point, ...]:
    """Return the means over every ``width`` steps, however many of these were measured."""
    groups: dict[int, list[Point]] = {}
    for step in sorted(line):
        groups.setdefault(step // width, []).append(line[step])
    return tuple(_centre(group) for group in groups.values())


def _width(line: Mapping[int, Point], most: int) -> int:
    return max(1, -(-(max(line, default=0) + 1) // most))


def _centre(points: Sequence[Point]) -> Point:
    return fmean(x for x, _ in points), fmean(y for _, y in points)


def _ends(series: Iterable[Series]) -> str:
    ends = [f"{each.name} ends at {number(each.mean[-1][1], 2)}" for each in series if each.mean]
    return f"{'; '.join(ends)}."


def _course_table(
    head: str, series: Iterable[Series], x_label: str, y_label: str, x_digits: int
) -> Table:
    """Return five points of every mean line: enough to see its course."""
    rows = _course_rows([(each.name, each.mean) for each in series], x_digits)
    columns = (Column(head), Column(x_label, "number"), Column(y_label, "number"))
    return Table("", columns, tuple(rows), note="Mean of the seeds, at five points of its course.")


def _course_rows(
    lines: Iterable[tuple[str, Sequence[Point]]], x_digits: int
) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for name, line in lines:
        last = len(line) - 1
        for index in sorted({round(last * share / 4) for share in range(5) if line}):
            x, y = line[index]
            rows.append((Cell(name), Cell(number(x, x_digits)), Cell(number(y, 2))))
    return rows

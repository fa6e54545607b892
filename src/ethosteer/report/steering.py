"""Tables of steering: where each arm ended, how fast its reward rose, and which alarms rang."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan

from ethosteer.report.blocks import Cell, Column, Table
from ethosteer.report.numbers import (
    MINUS,
    NONE,
    count,
    interval,
    listing,
    number,
    p_value,
    plural,
    signed,
)
from ethosteer.report.tables import CORRECTIONS
from ethosteer.report.view import View
from ethosteer.results import ArmResult, Estimate, Slope, SlopeResult

TOO_FEW = "not enough data"
ALGORITHMS = {"ppo": "PPO", "rloo": "RLOO", "dpo": "DPO", "best_of_n": "best of n"}
RULES = {
    "step": "Evaluated is each arm's last step.",
    "kl": "Evaluated is each arm's last checkpoint within the study's KL target, so arms are "
    "compared at about equal KL rather than at equal steps.",
}
STOPPED = "stopped"
ANOTHER_FALLS = "own reward up, another down"
MEANINGS = {
    "length drift": "answers less than half or more than twice as long as at the start",
    "EOS drift": "answers that end by themselves grew much rarer or much more common",
    "negative KL": "the estimate of KL fell below 0, which the true KL cannot",
    "ratio drift": "the first update did not start from the policy that had sampled",
    "not finite": "a reward, KL or gradient was not a finite number",
    STOPPED: "the arm was ended early at this point",
    ANOTHER_FALLS: "the answers' reward fell under the reward models named below the alarm",
}
_FALL = re.compile(r"reward up while that of (.+) falls")


def evaluated_step(result: ArmResult) -> int | None:
    """Return the step of the evaluated checkpoint, None where a study did not keep it.

    Such a study's field is 0, which is also what an arm has that was ended at once.
    """
    kept = result.step > 0 or result.stopped or result.select == "kl"
    return result.step if kept else None


def steering_table(view: View) -> Table:
    """Return each arm's own reward before and after steering, and the KL it took."""
    heads = ("evaluated step", "reward before", "reward after", "gain", "KL, nats per response")
    rules = dict.fromkeys(RULES.get(each.select, each.select) for each in view.results.arms)
    return Table(
        title="Steering",
        columns=(
            Column("arm"),
            Column("seed", "number"),
            Column("algorithm"),
            *(Column(head, "number") for head in (*heads, "prompts")),
        ),
        rows=tuple(_steering_row(view, each) for each in _results(view)),
        note="Normalised reward by the arm's own reward model, on held-out prompts; the gain is "
        f"the paired difference. {' '.join(rules)}",
    )


def _results(view: View) -> list[ArmResult]:
    return [each for arm in view.arms for each in view.arm_results(arm)]


def _steering_row(view: View, result: ArmResult) -> tuple[Cell, ...]:
    judge, step = view.own_judge(result.arm), evaluated_step(result)
    borrowed = (f"by reward: {judge}",) if judge and judge != result.arm else ()
    stopped = (f"stopped early: {result.stopped}",) if result.stopped else ()
    return (
        Cell(result.arm),
        Cell(str(result.seed)),
        Cell(ALGORITHMS.get(result.algorithm, result.algorithm), borrowed),
        Cell(NONE if step is None else count(step), flags=stopped),
        _estimate(result.start),
        _estimate(result.end),
        Cell(signed(result.gain.value, 2), (interval(result.gain, 2),)),
        _estimate(result.kl),
        Cell(count(result.gain.n)),
    )


def _estimate(estimate: Estimate) -> Cell:
    return Cell(number(estimate.value, 2), (interval(estimate, 2),))


@dataclass(frozen=True, slots=True)
class Alarm:
    """One kind of alarm of one arm: at how many measured points it rang, first at which step.

    ``others`` counts the points for every other reward model that it names.
    """

    name: str
    points: int
    measured: int
    first: int
    others: dict[str, int]


def alarms_of(results: Iterable[ArmResult]) -> list[Alarm]:
    """Sum up the alarms of one arm over its seeds, the most frequent first."""
    points = [point for each in results for point in each.curve]
    rung: dict[str, list[int]] = {}
    others: dict[str, dict[str, int]] = {}
    for point in points:
        for name, fallen in map(_kind, point.alarms):
            rung.setdefault(name, []).append(point.step)
            counts = others.setdefault(name, {})
            for judge in fallen:
                counts[judge] = counts.get(judge, 0) + 1
    # other rewards are measured at some points only, so that alarm can ring at no others
    judged = sum(bool(point.rewards) for point in points)
    found = [
        Alarm(
            name,
            len(steps),
            judged if name == ANOTHER_FALLS else len(points),
            min(steps),
            others[name],
        )
        for name, steps in rung.items()
    ]
    return sorted(found, key=lambda alarm: -alarm.points)


def _kind(alarm: str) -> tuple[str, list[str]]:
    """Tell an alarm's kind from the reward models that it names."""
    found = _FALL.fullmatch(alarm)
    return (ANOTHER_FALLS, found[1].split(", ")) if found else (alarm, [])


def alarms_said(results: Iterable[ArmResult]) -> str:
    """Sum up the alarms of one arm in words; "" where none rang.

    That an arm was stopped is left out: it is told by its reason.
    """
    return listing(
        [
            f"{alarm.name} at {plural(alarm.points, 'point')}"
            for alarm in alarms_of(results)
            if alarm.name != STOPPED
        ]
    )


def alarm_table(view: View) -> Table | None:
    """Return which alarms rang for which arm, at how many points; None where none did."""
    rows = [
        _alarm_row(arm, alarm) for arm in view.arms for alarm in alarms_of(view.arm_results(arm))
    ]
    if not rows:
        return None
    loud = {row[0].text for row in rows}
    silent = [arm for arm in view.arms if arm not in loud]
    return Table(
        title="Alarms while steering",
        columns=(
            Column("arm"),
            Column("alarm"),
            Column("points", "number"),
            Column("first at step", "number"),
            Column("what it means", "long"),
        ),
        rows=tuple(rows),
        note="An alarm marks a measured point of the curve that a reader should look at; seeds of "
        "an arm are taken together." + (f" None for {listing(silent)}." if silent else ""),
    )


def _alarm_row(arm: str, alarm: Alarm) -> tuple[Cell, ...]:
    named = tuple(f"{judge}: {plural(points, 'point')}" for judge, points in alarm.others.items())
    return (
        Cell(arm),
        Cell(alarm.name, named),
        Cell(f"{count(alarm.points)} of {count(alarm.measured)}"),
        Cell(count(alarm.first)),
        Cell(MEANINGS.get(alarm.name, NONE)),
    )


def rate_tables(view: View) -> tuple[Table, ...]:
    """Return how fast each arm's reward rises, and whether arms differ; nothing without slopes."""
    own = [each for each in view.results.slopes if not each.b]
    pairs = [each for each in view.results.slopes if each.b]
    tables = ((own, _rates), (pairs, _differences))
    return tuple(table(view, slopes) for slopes, table in tables if slopes)


def _rates(view: View, slopes: list[SlopeResult]) -> Table:
    return Table(
        title="How fast rewards rise",
        columns=(
            Column("arm"),
            Column("algorithm"),
            *(Column(head, "number") for head in ("rise per 100 steps", "p", "seeds")),
        ),
        rows=tuple(
            (
                Cell(each.a),
                Cell(_algorithm(view, each.a)),
                _slope_cell(each.slope),
                _p_cell(each.slope, each.slope.p),
                Cell(str(each.slope.seeds)),
            )
            for each in slopes
        ),
        note="Own reward, in sd of base answers: the straight line that fits all of an arm's steps "
        f"best, with its 95 % interval; p is that of no rise at all. {_resting_on(slopes)}",
    )


def _differences(view: View, slopes: list[SlopeResult]) -> Table:
    return Table(
        title="Whether rewards rise at different rates",
        columns=(
            Column(f"a {MINUS} b"),
            Column("algorithm"),
            *(Column(head, "number") for head in ("difference per 100 steps", "p", "adjusted p")),
            Column("in words"),
        ),
        rows=tuple(
            (
                Cell(f"{each.a} {MINUS} {each.b}"),
                Cell(_algorithm(view, each.a)),
                _slope_cell(each.slope),
                _p_cell(each.slope, each.slope.p),
                _p_cell(each.slope, each.adjusted_p),
                Cell(in_words(each, view.results.alpha)),
            )
            for each in slopes
        ),
        note="Of arms steered by the same algorithm, step by step on the same prompts; p adjusted "
        f"by {CORRECTIONS[view.results.correction]} over all pairs. Two arms differ where the "
        "adjusted p is below "
        f"{view.results.alpha:g} and the interval leaves out 0. {_resting_on(slopes)}",
    )


def in_words(result: SlopeResult, alpha: float) -> str:
    """Say what a difference of slopes shows, no more than its p and its interval both hold."""
    if _unknown(result.slope):
        return TOO_FEW
    beyond = result.slope.low > 0 or result.slope.high < 0
    return "differ" if beyond and result.adjusted_p < alpha else "no difference shown"


def _unknown(slope: Slope) -> bool:
    return isnan(slope.value)


def _slope_cell(slope: Slope) -> Cell:
    if _unknown(slope):
        return Cell(TOO_FEW)
    bounds = Estimate(slope.value, slope.low, slope.high, slope.seeds)
    return Cell(signed(slope.value), (interval(bounds),))


def _p_cell(slope: Slope, p: float) -> Cell:
    return Cell(NONE if _unknown(slope) else p_value(p))


def _resting_on(slopes: list[SlopeResult]) -> str:
    """Say what the intervals cover: the seeds, or the noise of a single run."""
    if any(each.slope.seeds == 1 for each in slopes):
        return (
            "With one seed, the interval covers the noise along that one run only: another seed "
            "may rise at another rate."
        )
    return "Intervals and p are Student's over the seeds."


def _algorithm(view: View, arm: str) -> str:
    names = dict.fromkeys(each.algorithm for each in view.arm_results(arm))
    return listing([ALGORITHMS.get(name, name) for name in names]) or NONE

"""The alarms of steering, summed up over an arm's seeds."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ethosteer.report.blocks import Cell, Column, Table
from ethosteer.report.numbers import count, listing, plural
from ethosteer.report.table import Numbers, cell, record_table
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult

STOPPED = "stopped"
ANOTHER_FALLS = "another reward falls"
MEANINGS = {
    "length drift": "mean response length below half or above twice that of the first step",
    "EOS drift": "far fewer or far more responses end with EOS than at the first step",
    "negative KL": "the estimate of KL is below 0 by more than its error; KL is never negative",
    "ratio drift": "the first update's policy differs from the policy that sampled",
    "engine disagrees": "log-probabilities of the sampled tokens by the engine and by the trainer "
    "differ in the mean by more than rollout.max_disagreement",
    "not finite": "a reward, KL or gradient is not finite",
    STOPPED: "the arm was stopped at this step",
    ANOTHER_FALLS: "reward rose under the own reward model and fell under those listed here",
}
_ANOTHER_FALLS = re.compile(r"reward up while that of (.+) falls")


@dataclass(frozen=True, slots=True)
class Alarm:
    """One kind of alarm of one arm, over its seeds.

    points: measured points with it, of the ``measured`` that could have it; first: its first step;
    reward_models: the points for every reward model that it names.
    """

    arm: str
    name: str
    points: int
    measured: int
    first: int
    reward_models: dict[str, int]


def alarms_of(results: Sequence[ArmResult]) -> list[Alarm]:
    """Return the alarms of one arm's seeds by kind, the most frequent first."""
    points = [point for result in results for point in result.curve]
    steps: defaultdict[str, list[int]] = defaultdict(list)
    reward_models: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for point in points:
        for alarm in point.alarms:
            match = _ANOTHER_FALLS.fullmatch(alarm)
            name = ANOTHER_FALLS if match else alarm
            steps[name].append(point.step)
            reward_models[name].update(match[1].split(", ") if match else ())
    # the other reward models score the answers of some points only
    scored = sum(bool(point.rewards) for point in points)
    alarms = [
        Alarm(
            results[0].arm,
            name,
            len(alarm_steps),
            scored if name == ANOTHER_FALLS else len(points),
            min(alarm_steps),
            dict(reward_models[name]),
        )
        for name, alarm_steps in steps.items()
    ]
    return sorted(alarms, key=lambda alarm: -alarm.points)


def alarms_in_words(results: Sequence[ArmResult]) -> str:
    """Return the alarms of one arm as a list in words; "" without any.

    That an arm was stopped is left out, since its reason is reported beside it.
    """
    return listing(
        [
            f"{alarm.name} at {plural(alarm.points, 'point')}"
            for alarm in alarms_of(results)
            if alarm.name != STOPPED
        ]
    )


def alarm_table(view: View) -> Table | None:
    """Return the alarms of every arm and at how many points they came; None without any."""
    alarms = [alarm for arm in view.arms for alarm in alarms_of(view.arm_results(arm))]
    if not alarms:
        return None
    alarmed = {alarm.arm for alarm in alarms}
    without = listing([arm for arm in view.arms if arm not in alarmed])

    def name(alarm: Alarm) -> Cell:
        points = alarm.reward_models.items()
        return cell(alarm.name, small=[f"{model}: {plural(n, 'point')}" for model, n in points])

    return record_table(
        "Alarms during steering",
        alarms,
        {
            "arm": lambda alarm: alarm.arm,
            "alarm": name,
            Numbers("points"): lambda alarm: f"{count(alarm.points)} of {count(alarm.measured)}",
            "first step": lambda alarm: alarm.first,
            Column("meaning", "long"): lambda alarm: MEANINGS.get(alarm.name),
        },
        note="Measured points of the curves that need inspection; seeds of an arm are pooled."
        f"{f' None for {without}.' if without else ''}",
    )

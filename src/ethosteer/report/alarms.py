"""The alarms of steering, summed up over an arm's seeds."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ethosteer.report.blocks import Column, Table
from ethosteer.report.numbers import count, listing, plural
from ethosteer.report.table import Numbers, cell, record_table
from ethosteer.report.view import View
from ethosteer.results import ArmResult

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
_ANOTHER_FALLS = re.compile(r"reward up while that of (.+) falls")


@dataclass(frozen=True, slots=True)
class Alarm:
    """One kind of alarm of one arm, over its seeds.

    points: measured points with it, of the ``measured`` that could have it; first: its first step;
    reward_models: the points for every reward model that it names.
    """

    name: str
    points: int
    measured: int
    first: int
    reward_models: dict[str, int]


def alarms_of(results: Iterable[ArmResult]) -> list[Alarm]:
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
            name,
            len(alarm_steps),
            scored if name == ANOTHER_FALLS else len(points),
            min(alarm_steps),
            dict(reward_models[name]),
        )
        for name, alarm_steps in steps.items()
    ]
    return sorted(alarms, key=lambda alarm: -alarm.points)


def alarms_in_words(results: Iterable[ArmResult]) -> str:
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
    alarms = [(arm, alarm) for arm in view.arms for alarm in alarms_of(view.arm_results(arm))]
    if not alarms:
        return None
    without = listing([arm for arm in view.arms if arm not in dict(alarms)])
    return record_table(
        "Alarms while steering",
        alarms,
        {
            "arm": lambda pair: pair[0],
            "alarm": lambda pair: cell(pair[1].name, small=_counts(pair[1])),
            Numbers("points"): lambda pair: f"{count(pair[1].points)} of {count(pair[1].measured)}",
            "first at step": lambda pair: pair[1].first,
            Column("what it means", "long"): lambda pair: MEANINGS.get(pair[1].name),
        },
        note="An alarm marks a measured point of the curve that a reader should look at; seeds of "
        f"an arm are taken together.{f' None for {without}.' if without else ''}",
    )


def _counts(alarm: Alarm) -> list[str]:
    return [f"{name}: {plural(points, 'point')}" for name, points in alarm.reward_models.items()]

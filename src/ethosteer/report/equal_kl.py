"""Arms side by side at equal KL: how far each was steered, and what their rewards were there.

A reward rises with the KL divergence from the reference (Gao et al. 2023, arXiv:2210.10760), and so
does what steering changes elsewhere. Arms that were evaluated at different KL are compared at the
largest KL that all of their curves reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite, nan
from statistics import fmean
from typing import Literal

from ethosteer.report.axes import all_axes
from ethosteer.report.curves import bin_width, binned, line_of
from ethosteer.report.figures import Point
from ethosteer.report.prose import paragraph
from ethosteer.report.reward_models import is_sound, reward_unit
from ethosteer.report.steering import DIFFER, slope_verdict
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult

ABOUT_EQUAL = 1.25
CLOSE = 0.25
"""Arms whose KL differ by at most this factor, or by so many nats, are compared as evaluated."""
NOT_COMPARABLE = 5.0
"""Where the largest KL is more than this factor above the common one, arms are not compared."""
BINS = 8
"""Steps are averaged into this many bins before a curve is interpolated."""


@dataclass(frozen=True, slots=True)
class ArmAtKl:
    """One arm: the mean KL and gain of its seeds where it was evaluated.

    ``rewards`` are those of its seeds at the common KL.
    """

    arm: str
    kl: float
    gain: float
    rewards: tuple[float, ...] = ()


@dataclass(frozen=True)
class EqualKl:
    """The facts of ``text/equal_kl.j2``.

    ``kl`` is the largest KL that all curves reach; ``sound`` are the arms whose reward models allow
    a conclusion. ``reversed`` are pairs of arms of which the first has the higher slope of reward
    over steps and the smaller gain.
    """

    comparison: Literal["as evaluated", "interpolated", "not comparable"]
    kl: float
    unit: str
    several: bool
    arms: list[ArmAtKl]
    sound: list[ArmAtKl]
    reversed: list[tuple[str, str]]


def equal_kl(view: View) -> str:
    """Return at which KL the arms' gains stand, and their rewards at equal KL; "" for one arm."""
    arms = [_as_evaluated(view, arm) for arm in view.arms if view.arm_results(arm)]
    kls = [arm.kl for arm in arms]
    if len(arms) < 2 or not all(map(isfinite, kls)):
        return ""
    lines = {arm.arm: [curve_of(view, run) for run in view.arm_results(arm.arm)] for arm in arms}
    common = min(max(x for x, _ in line) for seeds in lines.values() for line in seeds)
    comparison: Literal["as evaluated", "interpolated", "not comparable"] = "not comparable"
    if max(kls) <= ABOUT_EQUAL * min(kls) or max(kls) - min(kls) <= CLOSE:
        comparison = "as evaluated"
    elif max(kls) <= NOT_COMPARABLE * common:
        comparison = "interpolated"
    facts = EqualKl(
        comparison=comparison,
        kl=common,
        unit=reward_unit(view),
        several=len(view.results.seeds) > 1,
        arms=arms,
        sound=[
            replace(arm, rewards=tuple(reward_at(line, common) for line in lines[arm.arm]))
            for arm in arms
            if _is_sound(view, arm.arm)
        ],
        reversed=_reversed(view, arms),
    )
    return paragraph("equal_kl", **vars(facts))


def curve_of(view: View, run: ArmResult) -> list[Point]:
    """Return one seed's (KL, reward) along its curve, from the start: base answers have reward 0.

    Neighbouring steps are averaged, since a step's reward is that of one batch.
    """
    line = line_of(run, all_axes(view)[2])
    return [(0.0, 0.0), *binned(line, bin_width(line, BINS))]


def reward_at(line: Sequence[Point], kl: float) -> float:
    """Return the reward where a curve first reaches ``kl``, interpolated between two points.

    nan where it never does.
    """
    for (x, y), (next_x, next_y) in pairwise(line):
        if x <= kl <= next_x:
            return y if next_x == x else y + (next_y - y) * (kl - x) / (next_x - x)
    return nan


def _as_evaluated(view: View, arm: str) -> ArmAtKl:
    runs = view.arm_results(arm)
    return ArmAtKl(arm, fmean(run.kl.value for run in runs), fmean(run.gain.value for run in runs))


def _is_sound(view: View, arm: str) -> bool:
    return is_sound(view, view.reward_model_of(arm) or arm)


def _reversed(view: View, arms: Sequence[ArmAtKl]) -> list[tuple[str, str]]:
    """Return the pairs of arms whose slopes differ, the other way round than their gains."""
    gains = {arm.arm: arm.gain for arm in arms if _is_sound(view, arm.arm)}
    pairs = []
    for result in view.results.slopes:
        if {result.a, result.b} <= set(gains) and (
            slope_verdict(result, view.results.alpha) == DIFFER
        ):
            rising = result.slope.value > 0
            faster, slower = (result.a, result.b) if rising else (result.b, result.a)
            if gains[faster] < gains[slower]:
                pairs.append((faster, slower))
    return pairs

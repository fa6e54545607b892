"""Did steering work? Each arm's own reward, and how far from the base it was earned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from ethosteer.report.prose import paragraph
from ethosteer.report.reward_models import Doubt, doubts, reward_unit
from ethosteer.report.view import View
from ethosteer.results.estimates import Estimate, Slope

Direction = Literal["rose", "fell", "unclear"]


@dataclass(frozen=True, slots=True)
class SteeredArm:
    """One arm's gain in its own reward and its KL, averaged over seeds.

    ``doubt`` is why its reward allows no conclusion.
    """

    arm: str
    gain: float
    kl: float
    direction: Direction
    doubt: Doubt | None


def steered(view: View) -> str:
    """Return in a sentence or two whether the arms' own rewards rose; "" without arms."""
    by_model = doubts(view)
    arms = []
    for arm in view.arms:
        if runs := view.arm_results(arm):
            gain = fmean(run.gain.value for run in runs)
            kl = fmean(run.kl.value for run in runs)
            doubt = by_model.get(view.reward_model_of(arm) or arm)
            arms.append(SteeredArm(arm, gain, kl, direction_of([run.gain for run in runs]), doubt))
    if not arms:
        return ""
    several = len(view.results.seeds) > 1
    return paragraph("steered", arms=arms, unit=reward_unit(view), several=several)


def direction_of(estimates: Sequence[Estimate | Slope]) -> Direction:
    """Return where all intervals, one per seed, lie: above 0, below 0, or neither."""
    if all(estimate.low > 0 for estimate in estimates):
        return "rose"
    return "fell" if all(estimate.high < 0 for estimate in estimates) else "unclear"

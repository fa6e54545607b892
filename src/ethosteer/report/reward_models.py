"""Which reward models a conclusion may rest on, and the unit of their rewards.

A reward model that does not tell chosen from rejected responses, or may follow their length alone,
says nothing of a dataset's values. Conclusions need a held-out accuracy above chance, also at
matched length, in every seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Literal, get_args

from ethosteer.records import FINETUNED
from ethosteer.report.prose import paragraphs
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult
from ethosteer.results.estimates import Estimate

CHANCE = 0.5

Reason = Literal["not above chance", "not above chance at matched length", "length not excluded"]
"""From the gravest. The last where too few held-out pairs have a longer, or a shorter, chosen
response for an accuracy at matched length."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why nothing is concluded from a reward model; ``run`` is a seed that shows it."""

    reward_model: str
    reason: Reason
    run: ArmResult

    @property
    def estimate(self) -> Estimate:
        """The accuracy that the reason is about."""
        at_matched_length = self.reason == "not above chance at matched length"
        return self.run.matched_accuracy if at_matched_length else self.run.accuracy


def doubt_of(run: ArmResult) -> Reason | None:
    """Return why nothing is concluded from one seed's reward model, None where something may be.

    Lengths are excluded as well where all of them are equal (no correlation is defined).
    """
    if not run.accuracy.low > CHANCE:
        return "not above chance"
    if isnan(run.matched_accuracy.value):
        return None if isnan(run.length_correlation) else "length not excluded"
    return None if run.matched_accuracy.low > CHANCE else "not above chance at matched length"


def doubts(view: View) -> dict[str, Doubt]:
    """Return the reward models that no conclusion rests on, in the study's order, with reasons.

    Of a reward model's seeds the one with the gravest reason is named, and of two with the same
    reason the one of lower accuracy.
    """
    reasons: tuple[Reason, ...] = get_args(Reason)
    found: dict[str, Doubt] = {}

    def rank(doubt: Doubt) -> tuple[int, float]:
        return reasons.index(doubt.reason), doubt.estimate.value

    for run in view.runs:
        reason, name = doubt_of(run), run.reward_model or run.arm
        if reason:
            doubt = Doubt(name, reason, run)
            found[name] = min(found.get(name, doubt), doubt, key=rank)
    return found


def is_sound(view: View, reward_model: str) -> bool:
    """Whether a reward model is above chance, also at matched length, in every seed."""
    return reward_model not in doubts(view)


def warnings(view: View) -> tuple[str, ...]:
    """Return a sentence for every reward model that no conclusion rests on."""
    return paragraphs(
        "reward_models", doubts=doubts(view).values(), several=len(view.results.seeds) > 1
    )


def reward_unit(view: View) -> str:
    """Name the unit of rewards, which are normalised on the answers of the model arms start from.

    Those have mean 0 and standard deviation 1 under every reward model.
    """
    base = "fine-tuned" if view.start == FINETUNED else "raw"
    return f"sd of the {base} base's answers"

"""An arm: how its reward model and its steering went, and the slope of its reward."""

from __future__ import annotations

from dataclasses import dataclass

from ethosteer.results.estimates import UNKNOWN, Estimate, Slope
from ethosteer.results.reward_models import ValidationPoint
from ethosteer.results.steering import CurvePoint, Select


@dataclass(frozen=True, slots=True)
class ArmResult:
    """How one arm's reward model and its steering went.

    ``start`` and ``end`` are normalised rewards of answers to the same held-out prompts, before and
    after steering; ``gain`` is their paired difference; ``kl`` is from the reference at the end, in
    nats per response. The end is the checkpoint that the study evaluates, of ``step``, by rule
    ``select``. ``reward_model`` is named after the arm whose pairs it was trained on, ``dataset``
    is that of the pairs; ``stopped`` is the reason for which an arm ended early.
    ``matched_accuracy`` is the reward model's accuracy at matched length.
    """

    arm: str
    seed: int
    accuracy: Estimate
    length_correlation: float
    normalisation_gain: float
    normalisation_bias: float
    start: Estimate
    end: Estimate
    gain: Estimate
    kl: Estimate
    curve: tuple[CurvePoint, ...]
    reward_model: str = ""
    algorithm: str = "ppo"
    select: Select = "step"
    step: int = 0
    stopped: str = ""
    validation: tuple[ValidationPoint, ...] = ()
    dataset: str = ""
    matched_accuracy: Estimate = UNKNOWN


@dataclass(frozen=True, slots=True)
class SlopeResult:
    """The slope of arm ``a``'s reward, or, with ``b``, its difference to ``b``'s slope."""

    a: str
    b: str
    slope: Slope
    adjusted_p: float = float("nan")

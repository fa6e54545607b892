"""The steering of one arm: its curve, and its checkpoints on held-out prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Select = Literal["step", "kl"]
"""Which checkpoint a study evaluates: the last step, or the last within its KL target."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One measured step of one arm's steering, of the policy before the step's updates.

    Rewards are normalised (the base's samples have mean 0 and sd 1), KL is in nats per response.
    ``rewards`` has the same answers' mean reward under every reward model of the study, where that
    was measured. ``engine_difference`` is the mean, and ``engine_largest`` the largest, difference
    between log-probabilities of the sampled tokens by an engine that sampled and by the trainer.
    """

    step: int
    reward: float
    kl: float
    kl_k3: float
    kl_coefficient: float
    response_tokens: float
    eos_fraction: float
    entropy: float
    loss: float = 0.0
    value_loss: float = 0.0
    clip_fraction: float = 0.0
    rewards: dict[str, float] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    engine_difference: float | None = None
    engine_largest: float | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint of an arm: held-out rewards (normalised) and KL (nats) per response."""

    step: int
    rewards: list[float]
    kl: list[float]


@dataclass(frozen=True, slots=True)
class SteeringResult:
    """One arm's steering.

    ``start`` are the held-out rewards before it; ``checkpoints`` are keyed by the rule that selects
    them; ``stopped`` is the reason for which it ended early, "" if it did not.
    """

    algorithm: str
    start: list[float]
    checkpoints: dict[Select, Checkpoint]
    curve: list[CurvePoint]
    stopped: str = ""

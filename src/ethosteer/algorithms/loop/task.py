"""The input of a run of steering, and the result of an arm's updates in a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ethosteer.models.base import SharedBase
from ethosteer.models.generation import Sampling
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_models import RewardModels
from ethosteer.settings import SteerSettings


@dataclass(frozen=True, slots=True)
class Task:
    """Arms of one seed to be steered by one algorithm: their adapters, and what they learn from.

    ``reward_models`` are all those of the seed, called ``reward_names``; arm ``i`` learns from
    number ``reward_index[i]`` of them. ``pairs`` are each arm's training pairs, for algorithms that
    learn from pairs. ``settings`` are at the algorithm's pace (``SteerSettings.for_algorithm``).
    """

    base: SharedBase
    policies: LoraBank
    reward_models: RewardModels
    reward_names: Sequence[str]
    reward_index: Sequence[int]
    prompts: Sequence[Sequence[int]]
    pairs: Sequence[Sequence[EncodedPair]]
    settings: SteerSettings
    sampling: Sampling
    seed: int


@dataclass(frozen=True, slots=True)
class Learned:
    """The updates of one arm in one step: mean losses, and figures that raise alarms.

    ``clip_fraction`` is the share of tokens whose ratio was clipped, ``drift`` the largest
    ``|ratio - 1|`` before the first update; ``finite`` is False if a gradient was not finite.
    """

    loss: float
    value_loss: float = 0.0
    clip_fraction: float = 0.0
    drift: float = 0.0
    finite: bool = True

"""The interface of a steering algorithm, and the tokens that it costs.

Algorithms are imported without torch, since study files are validated and studies planned without
it. Their functions that need torch import it themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from ethosteer.settings import AlgorithmSettings, SteerSettings

if TYPE_CHECKING:
    from ethosteer.algorithms.loop.steering import Learner, Steering
    from ethosteer.algorithms.loop.task import Task


@dataclass(frozen=True, slots=True)
class Cost:
    """The tokens that pass through the base to steer one arm.

    ``sampled_tokens``: prompts and new tokens during generation; ``forward_tokens``: forward passes
    for log-probabilities and rewards; ``trained_tokens``: forward and backward passes.
    """

    sampled_tokens: float = 0.0
    forward_tokens: float = 0.0
    trained_tokens: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.sampled_tokens + other.sampled_tokens,
            self.forward_tokens + other.forward_tokens,
            self.trained_tokens + other.trained_tokens,
        )

    def __mul__(self, times: int) -> Cost:
        return Cost(
            self.sampled_tokens * times, self.forward_tokens * times, self.trained_tokens * times
        )

    def flop(self, parameters: float, *, checkpointing: bool = False) -> float:
        """Return the floating-point operations through a frozen base of so many parameters.

        A forward pass takes 2 per parameter and token (Kaplan et al. 2020, table 1). The backward
        pass takes as many again, not twice as many: frozen weights need no gradient. With gradient
        ``checkpointing`` it runs the forward pass once more.
        """
        trained = (3 if checkpointing else 2) * self.trained_tokens
        return 2 * parameters * (self.sampled_tokens + self.forward_tokens + trained)


@dataclass(frozen=True, slots=True)
class Workload:
    """Mean lengths, in tokens, of what an arm reads and writes.

    ``pair_tokens`` counts both responses of a preference pair and their common prompt once. With
    ``exact`` (float32 arithmetic) the sampling pass provides the policy's log-probabilities.
    """

    prompt_tokens: float
    answer_tokens: float
    pair_tokens: float
    exact: bool = True

    @property
    def row_tokens(self) -> float:
        """A prompt and its answer."""
        return self.prompt_tokens + self.answer_tokens

    def rollouts(self, answers: float, recomputed: float) -> Cost:
        """Return the cost of sampling answers and measuring them.

        Each is read by the reference and by the arm's reward model; ``recomputed`` answers also by
        the policy, for log-probabilities that equal the learner's exactly.
        """
        return Cost(
            sampled_tokens=answers * self.row_tokens,
            forward_tokens=(2 * answers + recomputed) * self.row_tokens,
        )


def measured_steps(steer: SteerSettings) -> int:
    """Return the number of steps whose answers are scored by every reward model."""
    return ceil(steer.steps / steer.measure_every)


def curve_cost(steer: SteerSettings, workload: Workload) -> Cost:
    """Return the cost of the curve's points, for an algorithm whose training samples none."""
    answers = measured_steps(steer) * steer.batch
    return workload.rollouts(answers, recomputed=answers)


def policy_gradient_cost(steer: SteerSettings, workload: Workload) -> Cost:
    """Return the cost of clipped policy-gradient steps on fresh answers (PPO, RLOO).

    Every step samples a batch and passes over it ``steer.epochs`` times. In exact arithmetic only
    the first step recomputes the policy's log-probabilities.
    """
    answers = steer.steps * steer.batch
    sampling = workload.rollouts(answers, recomputed=steer.batch if workload.exact else answers)
    return sampling + Cost(trained_tokens=steer.epochs * answers * workload.row_tokens)


@dataclass(frozen=True, slots=True)
class Batch:
    """What an arm has in memory at once.

    It samples ``answers`` together. One update of its optimiser learns from ``rows`` (prompts with
    answers) or from preference ``pairs``.
    """

    answers: int
    rows: int = 0
    pairs: int = 0


def policy_gradient_batch(steer: SteerSettings) -> Batch:
    """Return the batch of a policy gradient, whose updates learn from minibatches of answers."""
    return Batch(steer.batch, rows=steer.batch // steer.minibatches)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A steering algorithm.

    ``settings`` is the class of its table [steer.NAME]. ``learner(steering)`` returns its learner,
    which takes ``updates(steer)`` optimiser steps per step and, with ``critic``, also trains a
    value head. ``cost(steer, workload)`` counts the tokens of a run of one arm, and
    ``batch(steer)`` what it has in memory at once. ``steer`` is always
    ``SteerSettings.for_algorithm`` of this algorithm.
    """

    name: str
    title: str
    settings: type[AlgorithmSettings]
    learner: Callable[[Steering], Learner]
    updates: Callable[[SteerSettings], int]
    cost: Callable[[SteerSettings, Workload], Cost]
    batch: Callable[[SteerSettings], Batch] = policy_gradient_batch
    critic: bool = False

    def steering(self, task: Task) -> Steering:
        """Return a run of this algorithm over the arms of ``task``."""
        from ethosteer.algorithms.loop.steering import Steering  # needs torch

        return Steering(task, self.learner, updates=self.updates(task.settings), critic=self.critic)

"""The points of an arm's curve: measurements of a step's rollout, and the alarms they raise."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt

import torch
from torch import Tensor

from ethosteer.algorithms.loop.rollouts import Collector
from ethosteer.algorithms.loop.task import Learned, Task
from ethosteer.maths.masked import masked_mean
from ethosteer.maths.ppo import kl_k1, kl_k3
from ethosteer.records import Rollout
from ethosteer.results.steering import CurvePoint

RATIO_DRIFT = 1e-3
NEGATIVE_KL = -0.05
EOS_DRIFT = 0.3
REWARD_FALL = 0.5
"""Fall of another reward model's score, in sd of the base's answers, that raises an alarm."""


def measure(
    collector: Collector, step: int, rollout: Rollout, kl_coefficients: Sequence[float]
) -> dict[int, CurvePoint]:
    """Return a point of the curve for every arm of a rollout.

    Raises AssertionError at step 0 unless all policies equal the reference exactly.
    """
    settings = collector.task.settings
    mask = rollout.response_mask
    log_p, log_q = rollout.log_probabilities, rollout.reference_log_probabilities
    if step == 0:
        assert torch.equal(log_p, log_q), "an untrained policy is the reference, exactly"
    k1 = (kl_k1(log_p, log_q) * mask).sum(dim=1)
    k3 = (kl_k3(log_p, log_q) * mask).sum(dim=1)
    rewards: list[dict[str, float]] = [{} for _ in rollout.arms]
    if step % settings.measure_every == 0:
        rewards = _mean_rewards(collector, rollout)
    points = {}
    for position, arm in enumerate(rollout.arms):
        rows = collector.block(rollout, position)
        difference, largest = _engine_differences(rollout, rows)
        points[arm] = CurvePoint(
            step=step,
            reward=float(rollout.scores[rows].mean()),
            kl=float(k1[rows].mean()),
            kl_k3=float(k3[rows].mean()),
            kl_coefficient=kl_coefficients[arm],
            response_tokens=float(mask[rows].sum(dim=1).float().mean()),
            eos_fraction=float(collector.ended(rollout)[rows].float().mean()),
            entropy=float(masked_mean(rollout.entropy[rows], mask[rows])),
            rewards=rewards[position],
            engine_difference=difference,
            engine_largest=largest,
        )
    return points


def _engine_differences(rollout: Rollout, rows: Tensor) -> tuple[float | None, float | None]:
    """Return the mean and the largest absolute difference of log-probabilities of ``rows``' tokens.

    It is between the engine that sampled and the trainer; None where there is no engine.
    """
    if rollout.engine_log_probabilities is None:
        return None, None
    difference = (rollout.engine_log_probabilities - rollout.log_probabilities)[rows].abs()
    difference = difference[rollout.response_mask[rows]]
    return float(difference.mean()), float(difference.max())


def _mean_rewards(collector: Collector, rollout: Rollout) -> list[dict[str, float]]:
    """Return each arm's mean reward under every reward model, without penalties.

    A reward model reads all arms' answers together, so equal answers (at step 0) are read once.
    """
    task = collector.task
    means: list[dict[str, float]] = [{} for _ in rollout.arms]
    blocks = [collector.block(rollout, position) for position in range(len(rollout.arms))]
    for index, name in enumerate(task.reward_names):
        scores = rollout.scores.clone()
        # an arm's own reward model has scored its answers, but with the penalty for a missing EOS
        unscored = [
            block
            for arm, block in zip(rollout.arms, blocks, strict=True)
            if task.settings.missing_eos_penalty or task.reward_index[arm] != index
        ]
        if unscored:
            rows = torch.cat(unscored)
            scores[rows] = collector.score(rollout, rows, index)
        for arm_means, block in zip(means, blocks, strict=True):
            arm_means[name] = float(scores[block].mean())
    return means


def alarms(
    task: Task, arm: int, point: CurvePoint, first: CurvePoint, learned: Learned, *, stopped: bool
) -> tuple[str, ...]:
    """Return the alarms that a point of an arm's curve raises; ``first`` is the first point."""
    learns_from = task.reward_names[task.reward_index[arm]]
    fallen = [
        name
        for name, reward in point.rewards.items()
        if name != learns_from and reward < first.rewards[name] - REWARD_FALL
    ]
    # the standard error of a batch's mean KL: a log-ratio of mean k has a variance of about 2 k
    kl_error = sqrt(2 * max(0.0, point.kl_k3) / task.settings.batch)
    engine, difference = task.base.engine, point.engine_difference
    raised = {
        "engine disagrees": engine is not None
        and difference is not None
        and difference > engine.max_disagreement,
        "negative KL": point.kl < NEGATIVE_KL - 3 * kl_error,
        # with dropout the learner's passes differ from the sampling pass anyway
        "ratio drift": learned.drift > RATIO_DRIFT and not task.policies.settings.dropout,
        "length drift": not 0.5 * first.response_tokens
        <= point.response_tokens
        <= 2 * first.response_tokens,
        "EOS drift": not task.sampling.ignore_eos
        and abs(point.eos_fraction - first.eos_fraction) > EOS_DRIFT,
        "not finite": not learned.finite or not isfinite(point.reward + point.kl),
        f"reward up while that of {', '.join(fallen)} falls": bool(fallen)
        and point.reward > first.reward,
        "stopped": stopped,
    }
    return tuple(name for name, is_raised in raised.items() if is_raised)

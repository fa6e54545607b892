"""A run of steering over the arms of one seed: its loop, its rules and its checkpoints.

An algorithm (one file each: ppo, rloo, dpo, best_of_n) says what it samples at a step and how it
learns from that. What all share is here: each arm's optimiser, KL controller and stop rules, the
curve, the checkpoint at equal KL, and resumption.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ethosteer.algorithms.rollouts import Collector, HeldOut, draw_prompts
from ethosteer.maths.masked import masked_mean
from ethosteer.maths.ppo import adapted_coefficient, kl_k1, kl_k3
from ethosteer.models.base import SharedBase
from ethosteer.models.fast.budget import training_tokens
from ethosteer.models.generation import Sampling
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import ArmOptimiser, generator, load_checkpoint, save_checkpoint
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_models import RewardModels
from ethosteer.models.timing import Stopwatch
from ethosteer.records import Rollout
from ethosteer.results import CurvePoint
from ethosteer.settings import SteerSettings

RATIO_DRIFT = 1e-3
NEGATIVE_KL = -0.05
EOS_DRIFT = 0.3
REWARD_FALL = 0.5
"""In standard deviations of the base's answers: another reward's fall while an arm's own rises."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be steered: an adapter bank, one reward model per arm, and what arms read.

    ``rewards`` holds every reward model of the study's seed, by ``judges``' names; arm ``i`` learns
    from ``own[i]`` of them. ``pairs`` are each arm's training pairs, for algorithms that learn from
    them. ``settings`` are of one algorithm.
    """

    base: SharedBase
    policies: LoraBank
    rewards: RewardModels
    judges: Sequence[str]
    own: Sequence[int]
    prompts: Sequence[Sequence[int]]
    pairs: Sequence[Sequence[EncodedPair]]
    settings: SteerSettings
    sampling: Sampling
    seed: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What one step of one arm did: mean losses, and what alarms look at."""

    loss: float
    value_loss: float = 0.0
    clip_fraction: float = 0.0
    drift: float = 0.0
    finite: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An arm's trainable parameters as they were before a step's updates."""

    step: int
    parameters: list[Tensor]


class Steering(ABC):
    """Steers the arms of a task. Arms share nothing that another arm could change."""

    def __init__(self, task: Task, *, updates: int, critic: bool = False) -> None:
        self.task = task
        self.settings = task.settings
        self.base = task.base
        self.running = list(range(task.policies.arms))
        self.watch = Stopwatch()
        heads = ScalarHeads(len(self.running), self.base.hidden_size, bias=True)
        self.values = heads.to(self.base.device) if critic else None
        self.collector = Collector(
            self.base,
            task.policies,
            task.rewards,
            task.own,
            task.sampling,
            self.settings.batch // self.settings.minibatches,
            training_tokens(self.base, self.settings.tokens_per_batch),
            self.values,
            self.settings.missing_eos_penalty,
            self.watch,
        )
        self.updates = updates
        self.optimisers = [
            ArmOptimiser.build(
                self.parameters(arm), self.settings.optimiser, self.settings.steps * updates
            )
            for arm in self.running
        ]
        self.coefficients = [self.settings.kl_coefficient for _ in self.running]
        self.curves: list[list[CurvePoint]] = [[] for _ in self.running]
        self.stopped: dict[int, str] = {}
        self.healthy = {arm: self.snapshot(arm, 0) for arm in self.running}
        self.within_kl = dict(self.healthy)

    @abstractmethod
    def observe(self, step: int) -> Rollout | None:
        """Sample with the running arms; None at a step that measures nothing."""

    @abstractmethod
    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """Update every running arm once or more."""

    def parameters(self, arm: int) -> list[torch.nn.Parameter]:
        """Return one arm's own trainable parameters."""
        critic = self.values.arm_parameters(arm) if self.values is not None else []
        return [*self.task.policies.arm_parameters(arm), *critic]

    def generator(self, *parts: object, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator that all arms of the seed share."""
        return generator(self.task.seed, *parts, device=device)

    def train(
        self, checkpoints: Path, report: Callable[[int, Mapping[int, CurvePoint]], None]
    ) -> None:
        """Run all steps, resuming from ``checkpoints``.

        ``report(step, points)`` is called after every step, with a point for each measured arm.
        """
        steps = self.settings.steps
        for step in range(self._resume(checkpoints), steps):
            report(step, self.step(step) if self.running else {})
            if (step + 1) % self.settings.checkpoint_every == 0 and step + 1 < steps:
                self._save(checkpoints, step + 1)
        for arm in self.stopped:
            self.restore(arm, self.healthy[arm])

    def step(self, step: int) -> dict[int, CurvePoint]:
        """Sample, judge and learn once; return a point for every arm that was measured."""
        rollout = self.observe(step)
        points = {} if rollout is None else self._measure(step, rollout)
        for arm, point in points.items():
            self._keep(step, arm, point)
        with self.watch.part("train"):
            learned = self.learn(step, rollout)
        for arm, own in learned.items():
            if not own.finite:
                self._stop(arm, f"a gradient was not finite at step {step}")
                if arm not in points:
                    self._mark(arm)
        points = {arm: self._with(point, arm, learned.get(arm)) for arm, point in points.items()}
        for arm, point in points.items():
            self.curves[arm].append(point)
            if self.settings.kl_target is not None:
                self._adapt(arm, point.kl, self.settings.kl_target)
        return points

    def sample(self, step: int, count: int, *, copies: int = 1, recompute: bool = True) -> Rollout:
        """Answer ``count`` prompts, ``copies`` times each, with every running arm."""
        prompts = draw_prompts(self.task.prompts, count, self.generator("prompts", step))
        return self.collector.collect(
            [prompt for prompt in prompts for _ in range(copies)],
            self.generator("sampling", step),
            self.running,
            recompute=recompute,
        )

    def held_out(self, prompts: Sequence[Sequence[int]]) -> HeldOut:
        """Answer held-out prompts with every arm, with the same noise at every call."""
        arms = range(self.task.policies.arms)
        return self.collector.held_out(prompts, self.generator("held-out"), arms)

    @torch.no_grad()
    def restore(self, arm: int, snapshot: Snapshot) -> None:
        """Put an arm back to what it was."""
        for parameter, value in zip(self.parameters(arm), snapshot.parameters, strict=True):
            parameter.copy_(value)

    def snapshot(self, arm: int, step: int = 0) -> Snapshot:
        """Copy an arm's parameters as they are now."""
        return Snapshot(step, [parameter.detach().clone() for parameter in self.parameters(arm)])

    def _keep(self, step: int, arm: int, point: CurvePoint) -> None:
        """Stop an arm that has gone astray; else remember it as it is now."""
        if not (isfinite(point.reward) and isfinite(point.kl)):
            self._stop(arm, f"its reward or KL was not finite at step {step}")
            return
        if point.kl > self.settings.max_kl:
            self._stop(
                arm,
                f"KL {point.kl:.0f} nats at step {step}, above max_kl {self.settings.max_kl:g}",
            )
            return
        self.healthy[arm] = self.snapshot(arm, step)
        if self.settings.kl_target is None or point.kl <= self.settings.kl_target:
            self.within_kl[arm] = self.healthy[arm]

    def _stop(self, arm: int, reason: str) -> None:
        self.stopped[arm] = reason
        self.running.remove(arm)

    def _mark(self, arm: int) -> None:
        """Say at an arm's last point that it was stopped: the step that did may measure nothing."""
        if self.curves[arm]:
            last = self.curves[arm][-1]
            self.curves[arm][-1] = replace(last, alarms=(*last.alarms, "stopped"))

    def _adapt(self, arm: int, kl: float, target: float) -> None:
        """Move an arm's KL coefficient towards its target."""
        self.coefficients[arm] = adapted_coefficient(
            self.coefficients[arm], kl, target, self.settings.batch, self.settings.kl_horizon
        )

    def _measure(self, step: int, rollout: Rollout) -> dict[int, CurvePoint]:
        """Return a point of the curve for every arm of the rollout."""
        mask = rollout.response_mask
        log_p, log_q = rollout.log_probabilities, rollout.reference_log_probabilities
        if step == 0:
            assert torch.equal(log_p, log_q), "an untrained policy is the reference, exactly"
        k1 = (kl_k1(log_p, log_q) * mask).sum(dim=1)
        k3 = (kl_k3(log_p, log_q) * mask).sum(dim=1)
        judged = self._judged(step, rollout)
        points = {}
        for place, arm in enumerate(rollout.arms):
            rows = self.collector.block(rollout, place)
            points[arm] = CurvePoint(
                step=step,
                reward=float(rollout.scores[rows].mean()),
                kl=float(k1[rows].mean()),
                kl_k3=float(k3[rows].mean()),
                kl_coefficient=self.coefficients[arm],
                response_tokens=float(mask[rows].sum(dim=1).float().mean()),
                eos_fraction=float(self.collector.ended(rollout)[rows].float().mean()),
                entropy=float(masked_mean(rollout.entropy[rows], mask[rows])),
                rewards=judged[place],
            )
        return points

    def _judged(self, step: int, rollout: Rollout) -> list[dict[str, float]]:
        """Return each arm's mean reward under every reward model, now and then.

        A reward model reads all arms' answers together: at the first step they are the same.
        """
        means: list[dict[str, float]] = [{} for _ in rollout.arms]
        if step % self.settings.measure_every:
            return means
        blocks = [self.collector.block(rollout, place) for place in range(len(rollout.arms))]
        for judge, name in enumerate(self.task.judges):
            scores = rollout.scores.clone()
            unknown = [
                block
                for arm, block in zip(rollout.arms, blocks, strict=True)
                if self.settings.missing_eos_penalty or self.task.own[arm] != judge
            ]
            if unknown:
                rows = torch.cat(unknown)
                scores[rows] = self.collector.judged_rows(rollout, rows, judge)
            for own, block in zip(means, blocks, strict=True):
                own[name] = float(scores[block].mean())
        return means

    def _with(self, point: CurvePoint, arm: int, learned: Learned | None) -> CurvePoint:
        """Complete a point by what was learnt after it was measured, and by its alarms."""
        own = learned or Learned(0.0)
        return replace(
            point,
            loss=own.loss,
            value_loss=own.value_loss,
            clip_fraction=own.clip_fraction,
            alarms=self._alarms(arm, point, own),
        )

    def _alarms(self, arm: int, point: CurvePoint, learned: Learned) -> tuple[str, ...]:
        """Name what a reader of the curve should look at."""
        first = self.curves[arm][0] if self.curves[arm] else point
        own = self.task.judges[self.task.own[arm]]
        fallen = [
            name
            for name, reward in point.rewards.items()
            if name != own and reward < first.rewards[name] - REWARD_FALL
        ]
        found = {
            "negative KL": point.kl < NEGATIVE_KL - 3 * self._kl_error(point),
            "ratio drift": learned.drift > RATIO_DRIFT and not self.task.policies.settings.dropout,
            "length drift": not 0.5 * first.response_tokens
            <= point.response_tokens
            <= 2 * first.response_tokens,
            "EOS drift": not self.task.sampling.ignore_eos
            and abs(point.eos_fraction - first.eos_fraction) > EOS_DRIFT,
            "not finite": not learned.finite or not isfinite(point.reward + point.kl),
            f"reward up while that of {', '.join(fallen)} falls": bool(fallen)
            and point.reward > first.reward,
            "stopped": arm in self.stopped,
        }
        return tuple(name for name, seen in found.items() if seen)

    def _kl_error(self, point: CurvePoint) -> float:
        """The standard error of a batch's KL: a log-ratio of mean k varies by about 2 k."""
        return sqrt(2 * max(0.0, point.kl_k3) / self.settings.batch)

    def _save(self, folder: Path, done: int) -> None:
        facts: dict[str, Any] = {
            "done": done,
            "updates": done * self.updates,
            "coefficients": self.coefficients,
            "running": self.running,
            "stopped": list(self.stopped.items()),
            "curves": [[asdict(point) for point in curve] for curve in self.curves],
            "steps": {
                name: [own[arm].step for arm in sorted(own)]
                for name, own in (("healthy", self.healthy), ("within", self.within_kl))
            },
        }
        extra = {
            f"{name}.{arm}.{i}": tensor
            for name, own in (("healthy", self.healthy), ("within", self.within_kl))
            for arm, snapshot in own.items()
            for i, tensor in enumerate(snapshot.parameters)
        }
        save_checkpoint(folder, self.optimisers, facts, extra)

    def _resume(self, folder: Path) -> int:
        found = load_checkpoint(folder, self.optimisers, "updates")
        if found is None:
            return 0
        facts: Any = found.facts
        self.coefficients = list(facts["coefficients"])
        self.running = list(facts["running"])
        self.stopped = dict(facts["stopped"])
        self.curves = [[point_from(point) for point in curve] for curve in facts["curves"]]
        for name, own in (("healthy", self.healthy), ("within", self.within_kl)):
            for arm, step in enumerate(facts["steps"][name]):
                count = len(own[arm].parameters)
                own[arm] = Snapshot(step, [found.extra[f"{name}.{arm}.{i}"] for i in range(count)])
        return int(facts["done"])


def point_from(fields: Mapping[str, Any]) -> CurvePoint:
    """Read a point of a curve back from JSON."""
    return CurvePoint(**{**fields, "alarms": tuple(fields["alarms"])})

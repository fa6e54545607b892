"""The loop that steers the arms of one seed: its steps, stop rules and checkpoints.

An algorithm's learner decides what is sampled at a step and how an arm learns from it. All
algorithms share the rest: each arm's optimiser, KL controller, stop rules, curve, the checkpoint at
equal KL, and resumption.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import TypeAdapter
from torch import Tensor

from ethosteer.algorithms.loop.curve import alarms, measure
from ethosteer.algorithms.loop.rollouts import Collector, HeldOut, draw_prompts
from ethosteer.algorithms.loop.task import Learned, Task
from ethosteer.maths.ppo import adapted_coefficient
from ethosteer.models.checkpoints import CheckpointSchedule, load_checkpoint, save_checkpoint
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.optimiser import ArmOptimiser, derived_seed, generator
from ethosteer.models.timing import Stopwatch
from ethosteer.records import Rollout
from ethosteer.results.steering import CurvePoint


class Learner(Protocol):
    """What an algorithm does at each step."""

    def observe(self, step: int) -> Rollout | None:
        """Sample with the running arms; None at a step without a point of the curve."""

    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """Update every running arm, and return what each has learned."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An arm's trainable parameters before the updates of a step."""

    step: int
    parameters: list[Tensor]


class Steering:
    """Steers the arms of a task. No state that an arm changes is shared with another arm.

    ``learner(steering)`` makes the algorithm's learner, which takes ``updates`` optimiser steps per
    step; ``critic`` gives each arm a value head, trained together with its adapter.
    """

    def __init__(
        self,
        task: Task,
        learner: Callable[[Steering], Learner],
        *,
        updates: int,
        critic: bool = False,
    ) -> None:
        self.task = task
        self.settings = task.settings
        self.base = task.base
        self.running = list(range(task.policies.arms))
        self.watch = Stopwatch()
        heads = ScalarHeads(len(self.running), self.base.hidden_size, bias=True)
        self.values = heads.to(self.base.device) if critic else None
        self.collector = Collector(task, self.values, self.watch)
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
        self.healthy = {arm: self.snapshot(arm) for arm in self.running}
        self.within_kl = dict(self.healthy)
        self.learner = learner(self)

    def parameters(self, arm: int) -> list[torch.nn.Parameter]:
        """Return the trainable parameters of one arm: its adapter's and its value head's."""
        critic = self.values.arm_parameters(arm) if self.values is not None else []
        return [*self.task.policies.arm_parameters(arm), *critic]

    def generator(self, *purpose: object) -> torch.Generator:
        """Return a generator that all arms of the seed share."""
        return generator(self.task.seed, *purpose)

    def dropout_seed(self, *update: int) -> int:
        """Return the seed of an update's dropout masks, which all arms of the seed share."""
        return derived_seed(self.task.seed, "dropout", *update)

    def kl_coefficients(self, rollout: Rollout) -> Tensor:
        """Return the KL coefficient of each row's arm, ``[R]``."""
        by_arm = torch.tensor([self.coefficients[arm] for arm in rollout.arms])
        rows = len(rollout.tokens) // len(rollout.arms)
        return by_arm.to(rollout.tokens.device).repeat_interleave(rows)

    def train(
        self, checkpoints: Path, report: Callable[[int, Mapping[int, CurvePoint]], None]
    ) -> None:
        """Run all steps, resuming from the folder ``checkpoints``.

        ``report(step, points)`` is called after every step, with a point for each measured arm.
        """
        steps = self.settings.steps
        schedule = CheckpointSchedule(self.settings.checkpoint_every)
        for step in range(self._resume(checkpoints), steps):
            report(step, self.step(step) if self.running else {})
            if schedule.is_due(step + 1) and (step + 1 < steps or schedule.is_stopping):
                self._save(checkpoints, step + 1)
            schedule.stop_if_requested()
        for arm in self.stopped:
            self.restore(arm, self.healthy[arm])

    def step(self, step: int) -> dict[int, CurvePoint]:
        """Sample, measure and learn once; return a point for every arm that was measured."""
        rollout = self.learner.observe(step)
        points: dict[int, CurvePoint] = {}
        if rollout is not None:
            points = measure(self.collector, step, rollout, self.coefficients)
        for arm, point in points.items():
            self._check(step, arm, point)
        with self.watch.part("train"):
            learned = self.learner.learn(step, rollout)
        for arm, result in learned.items():
            if not result.finite:
                self.stop(arm, f"a gradient was not finite at step {step}")
                if arm not in points and self.curves[arm]:
                    # without a point of this step, the last one has to show the stop
                    last = self.curves[arm][-1]
                    self.curves[arm][-1] = replace(last, alarms=(*last.alarms, "stopped"))
        for arm, point in points.items():
            result = learned.get(arm, Learned(0.0))
            points[arm] = replace(
                point,
                loss=result.loss,
                value_loss=result.value_loss,
                clip_fraction=result.clip_fraction,
                alarms=alarms(
                    self.task,
                    arm,
                    point,
                    first=self.curves[arm][0] if self.curves[arm] else point,
                    learned=result,
                    stopped=arm in self.stopped,
                ),
            )
            self.curves[arm].append(points[arm])
            if self.settings.kl_target is not None:
                self.coefficients[arm] = adapted_coefficient(
                    self.coefficients[arm],
                    point.kl,
                    self.settings.kl_target,
                    self.settings.batch,
                    self.settings.kl_horizon,
                )
        return points

    def _check(self, step: int, arm: int, point: CurvePoint) -> None:
        """Stop an arm that has diverged; otherwise take a snapshot of it."""
        if not (isfinite(point.reward) and isfinite(point.kl)):
            self.stop(arm, f"its reward or KL was not finite at step {step}")
        elif point.kl > self.settings.max_kl:
            limit = self.settings.max_kl
            self.stop(arm, f"KL {point.kl:.0f} nats at step {step}, above max_kl {limit:g}")
        else:
            self.healthy[arm] = self.snapshot(arm, step)
            if self.settings.kl_target is None or point.kl <= self.settings.kl_target:
                self.within_kl[arm] = self.healthy[arm]

    def stop(self, arm: int, reason: str) -> None:
        """Train an arm no further, for a reason that its result states."""
        self.stopped[arm] = reason
        self.running.remove(arm)

    def sample(self, step: int, count: int, *, copies: int = 1, recompute: bool = True) -> Rollout:
        """Answer ``count`` prompts, ``copies`` times each, with every running arm."""
        prompts = draw_prompts(self.task.prompts, count, self.generator("prompts", step))
        return self.collector.collect(
            [prompt for prompt in prompts for _ in range(copies)],
            self.generator("sampling", step),
            self.running,
            recompute=recompute,
        )

    def sample_for_curve(self, step: int) -> Rollout | None:
        """Answer a batch of prompts every ``measure_every`` steps, for the curve alone."""
        if step % self.settings.measure_every:
            return None
        return self.sample(step, self.settings.batch)

    def held_out(self, prompts: Sequence[Sequence[int]]) -> HeldOut:
        """Answer held-out prompts with every arm, with the same noise at every call."""
        arms = range(self.task.policies.arms)
        return self.collector.held_out(prompts, self.generator("held-out"), arms)

    def snapshot(self, arm: int, step: int = 0) -> Snapshot:
        """Copy an arm's parameters as they are now."""
        return Snapshot(step, self.optimisers[arm].copy_parameters())

    def restore(self, arm: int, snapshot: Snapshot) -> None:
        """Set an arm's parameters to those of a snapshot."""
        self.optimisers[arm].set_parameters(snapshot.parameters)

    def _save(self, folder: Path, done: int) -> None:
        snapshots = {"healthy": self.healthy, "within": self.within_kl}
        facts: dict[str, Any] = {
            "done": done,
            "updates": done * self.updates,
            "coefficients": self.coefficients,
            "running": self.running,
            "stopped": list(self.stopped.items()),
            "curves": [[asdict(point) for point in curve] for curve in self.curves],
            "steps": {
                name: [by_arm[arm].step for arm in sorted(by_arm)]
                for name, by_arm in snapshots.items()
            },
        }
        extra = {
            f"{name}.{arm}.{i}": tensor
            for name, by_arm in snapshots.items()
            for arm, snapshot in by_arm.items()
            for i, tensor in enumerate(snapshot.parameters)
        }
        save_checkpoint(folder, self.optimisers, facts, extra)

    def _resume(self, folder: Path) -> int:
        """Restore the last checkpoint; return the number of steps that are done."""
        checkpoint = load_checkpoint(folder, self.optimisers, "updates")
        if checkpoint is None:
            return 0
        facts: Any = checkpoint.facts
        self.coefficients = list(facts["coefficients"])
        self.running = list(facts["running"])
        self.stopped = dict(facts["stopped"])
        self.curves = TypeAdapter(list[list[CurvePoint]]).validate_python(facts["curves"])
        for name, by_arm in (("healthy", self.healthy), ("within", self.within_kl)):
            for arm, step in enumerate(facts["steps"][name]):
                count = len(by_arm[arm].parameters)
                tensors = [checkpoint.extra[f"{name}.{arm}.{i}"] for i in range(count)]
                by_arm[arm] = Snapshot(step, tensors)
        return int(facts["done"])

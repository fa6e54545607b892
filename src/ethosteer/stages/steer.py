"""Steer: the arms of one seed, beside each other on the fine-tuned base."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ethosteer import catalog
from ethosteer.algorithms.loop.curve import point_from
from ethosteer.algorithms.loop.rollouts import HeldOut
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.algorithms.loop.task import Task
from ethosteer.algorithms.tracking import Tracking
from ethosteer.files import write_json
from ethosteer.models.adapters import save_adapter
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import derived_seed
from ethosteer.models.reward_models import load_rewards
from ethosteer.records import Arm
from ethosteer.results import Checkpoint, CurvePoint, Select, SteeringResult
from ethosteer.stages.curate import encode, stored_set
from ethosteer.stages.workspace import AT_KL, Workspace

RESULT = "steering.json"


def run(work: Workspace, seed: int) -> None:
    """Steer one seed's arms where that is not done, those of one algorithm beside each other."""
    own = [arm for arm in work.config.arm_seeds() if arm.seed == seed]
    for algorithm in catalog.algorithm_names():
        arms = [arm for arm in own if work.config.algorithm_of(arm.name) == algorithm]
        missing = work.missing_of(work.plan.steering, arms)
        if missing:
            _steer(work, seed, algorithm, missing)


def _steer(work: Workspace, seed: int, algorithm: str, arms: Sequence[Arm]) -> None:
    """Steer arms by one algorithm and store them."""
    started = time.monotonic()
    name = f"steer {algorithm}, seed {seed}"
    headings = ("arm", "reward", "KL", "tokens", "alarms")
    scratch = work.scratch([work.plan.steering[arm] for arm in arms])
    track = Tracking.open(
        work.config.track.trackers, f"{algorithm}-s{seed}", work.folder / "tracking"
    )
    with track as tracking, work.terminal.table(name, headings) as show:
        task = make_task(work, seed, algorithm, arms)
        steering = catalog.algorithm(algorithm).steering(task)
        rows = {arm.label: ("", "", "", "") for arm in arms}

        def report(step: int, points: Mapping[int, CurvePoint]) -> None:
            by_label = {arms[place].label: point for place, point in points.items()}
            tracking.log(step, by_label)
            rows.update({label: _shown(point) for label, point in by_label.items()})
            show(step + 1, task.settings.steps, [(label, *row) for label, row in rows.items()])

        held_out = work.prompt_ids("test")[: work.config.steer.held_out_prompts]
        run = steer(steering, held_out, scratch, report)
        share = (time.monotonic() - started) / len(arms)
        for place, arm in enumerate(arms):
            with work.writing(work.plan.steering[arm], seconds=share) as folder:
                run.write(folder, place)
    for place, reason in steering.stopped.items():
        work.terminal.say(f"{arms[place].label} was stopped: {reason}")


def _shown(point: CurvePoint) -> tuple[str, str, str, str]:
    tokens = f"{point.response_tokens:.0f}"
    return f"{point.reward:+.2f}", f"{point.kl:.1f}", tokens, ", ".join(point.alarms)


def make_task(work: Workspace, seed: int, algorithm: str, arms: Sequence[Arm]) -> Task:
    """Bring together what an algorithm is given for some arms of one seed."""
    judges = work.plan.judges(seed)
    settings = work.config.steer.for_algorithm(algorithm)
    policies = LoraBank(
        work.base.layers, len(arms), settings.lora, derived_seed(seed, "policy adapters")
    )
    names = list(judges)
    return Task(
        base=work.base,
        policies=policies.to(work.base.device),
        reward_models=load_rewards(work.base, [work.path(step) for step in judges.values()]),
        reward_names=names,
        reward_index=[names.index(work.config.data_of(arm.name)) for arm in arms],
        prompts=work.prompt_ids("train"),
        pairs=[encode(stored_set(work, arm.name).train, work.template) for arm in arms],
        settings=settings,
        sampling=work.sampling,
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class Steered:
    """A run that has ended: held-out answers before it, and of both checkpoints."""

    steering: Steering
    before: HeldOut
    last: HeldOut
    within: HeldOut | None

    def result(self, arm: int) -> SteeringResult:
        """Return one arm's result."""
        steering = self.steering
        checkpoints: dict[Select, Checkpoint] = {
            "step": _checkpoint(self.last, arm, _last_step(steering, arm))
        }
        if self.within is not None:
            checkpoints["kl"] = _checkpoint(self.within, arm, steering.within_kl[arm].step)
        return SteeringResult(
            steering.settings.algorithm,
            self.before.scores[arm].tolist(),
            checkpoints,
            steering.curves[arm],
            steering.stopped.get(arm, ""),
        )

    def write(self, folder: Path, arm: int) -> None:
        """Write one arm's result and both its checkpoints as PEFT adapters."""
        steering = self.steering
        save_adapter(folder, steering.base, steering.task.policies, arm)
        write_json(folder / RESULT, asdict(self.result(arm)))
        if self.within is not None:
            last = steering.snapshot(arm)
            steering.restore(arm, steering.within_kl[arm])
            save_adapter(folder / AT_KL, steering.base, steering.task.policies, arm)
            steering.restore(arm, last)


def steer(
    steering: Steering,
    held_out: Sequence[Sequence[int]],
    checkpoints: Path,
    report: Callable[[int, Mapping[int, CurvePoint]], None],
) -> Steered:
    """Carry a run through, from ``checkpoints`` if it was broken off, and measure its ends."""
    before = steering.held_out(held_out)
    assert float(before.kl.abs().max()) == 0.0, "an untrained policy is the reference, exactly"
    steering.train(checkpoints, report)
    last = steering.held_out(held_out)
    target = steering.settings.kl_target
    if target is None:
        return Steered(steering, before, last, None)
    arms = range(len(steering.curves))
    ends = [steering.snapshot(arm, _last_step(steering, arm)) for arm in arms]
    for arm in arms:
        if float(last.kl[arm].mean()) <= target:
            steering.within_kl[arm] = ends[arm]
        steering.restore(arm, steering.within_kl[arm])
    within = steering.held_out(held_out)
    for arm in arms:
        steering.restore(arm, ends[arm])
    return Steered(steering, before, last, within)


def _last_step(steering: Steering, arm: int) -> int:
    """Return how many steps lie behind an arm's last checkpoint."""
    return steering.healthy[arm].step if arm in steering.stopped else steering.settings.steps


def _checkpoint(found: HeldOut, arm: int, step: int) -> Checkpoint:
    return Checkpoint(step, found.scores[arm].tolist(), found.kl[arm].tolist())


def read_steered(folder: Path) -> SteeringResult:
    """Read one arm's result."""
    fields: dict[str, Any] = json.loads((folder / RESULT).read_text("utf-8"))
    checkpoints = fields.pop("checkpoints")
    return SteeringResult(
        curve=[point_from(point) for point in fields.pop("curve")],
        checkpoints={rule: Checkpoint(**own) for rule, own in checkpoints.items()},
        **fields,
    )

"""A run of steering carried through, and its ends: the last step, and the one at the KL target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ethosteer.algorithms.loop import Steering
from ethosteer.algorithms.rollouts import HeldOut
from ethosteer.files import write_json
from ethosteer.models.adapters import save_adapter
from ethosteer.results import Checkpoint, CurvePoint, Select, SteeringResult


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

    def write(self, folder: Path, arm: int, result: str, at_kl: str) -> None:
        """Write one arm's adapter and ``result`` file, and the other adapter below ``at_kl``."""
        steering = self.steering
        save_adapter(folder, steering.base, steering.task.policies, arm)
        write_json(folder / result, self.result(arm))
        if self.within is not None:
            last = steering.snapshot(arm)
            steering.restore(arm, steering.within_kl[arm])
            save_adapter(folder / at_kl, steering.base, steering.task.policies, arm)
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

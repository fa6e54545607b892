"""A whole run of steering, and its two checkpoints: the last step, and the last one at equal KL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ethosteer.algorithms.loop.rollouts import HeldOut
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.files import write_json
from ethosteer.maths.finite import check_finite
from ethosteer.models.adapters import save_adapter
from ethosteer.results.steering import Checkpoint, CurvePoint, Select, SteeringResult


@dataclass(frozen=True, slots=True)
class Steered:
    """A finished run: held-out answers before it, and of both checkpoints."""

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
    """Run all steps, resuming from ``checkpoints``, and measure both ends on held-out prompts.

    An arm whose numbers are not finite after the last step is stopped and set back. Raises
    InputError where a reward is not finite before the first step, and AssertionError unless the
    policies equal the reference exactly there.
    """
    before = steering.held_out(held_out)
    assert float(before.kl.abs().max()) == 0.0, "an untrained policy is the reference, exactly"
    _check_rewards(steering, before)
    steering.train(checkpoints, report)
    last = steering.held_out(held_out)
    # the last updates have no point of the curve, by which a diverged arm would have been stopped
    broken = [arm for arm in steering.running if not _is_finite(last, arm)]
    for arm in broken:
        steering.stop(arm, "its reward or KL was not finite after the last step")
        steering.restore(arm, steering.healthy[arm])
    if broken:
        last = steering.held_out(held_out)
    target = steering.settings.kl_target
    if target is None:
        return Steered(steering, before, last, None)
    arms = range(len(steering.curves))
    ends = [steering.snapshot(arm, _last_step(steering, arm)) for arm in arms]
    for arm in arms:
        # the curve measures an arm before each step, so the last state is known only from here
        if float(last.kl[arm].mean()) <= target:
            steering.within_kl[arm] = ends[arm]
        steering.restore(arm, steering.within_kl[arm])
    within = steering.held_out(held_out)
    for arm in arms:
        steering.restore(arm, ends[arm])
    return Steered(steering, before, last, within)


def _check_rewards(steering: Steering, before: HeldOut) -> None:
    """Raise InputError unless the rewards of the base's answers are finite."""
    scores, task = before.scores.tolist(), steering.task
    count = len(scores[0])

    def name(index: int) -> str:
        reward_model = task.reward_names[task.reward_index[index // count]]
        return f"reward model {reward_model}: the reward of held-out answer {index % count}"

    mend = "the reward model is damaged, or too large for the number format of base.dtype"
    check_finite([score for row in scores for score in row], name, mend)


def _is_finite(held_out: HeldOut, arm: int) -> bool:
    return bool(held_out.scores[arm].isfinite().all() and held_out.kl[arm].isfinite().all())


def _last_step(steering: Steering, arm: int) -> int:
    """Return the number of steps before an arm's last checkpoint."""
    return steering.healthy[arm].step if arm in steering.stopped else steering.settings.steps


def _checkpoint(held_out: HeldOut, arm: int, step: int) -> Checkpoint:
    return Checkpoint(step, held_out.scores[arm].tolist(), held_out.kl[arm].tolist())

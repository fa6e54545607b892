"""Steer: the arms of one seed and one algorithm, in parallel on the base that they share."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from ethosteer import catalog
from ethosteer.files import read_json
from ethosteer.records import Arm
from ethosteer.results.steering import CurvePoint, Select, SteeringResult
from ethosteer.settings import SteerSettings
from ethosteer.stages.prompts import Prompts
from ethosteer.stages.reward import Reward
from ethosteer.stages.stage import CUTS_PASSES, Stage
from ethosteer.stages.workspace import Workspace

if TYPE_CHECKING:
    from ethosteer.algorithms.loop.steering import Steering

RESULT = "steering.json"
AT_KL = "at-kl"
"""The folder, within an arm's artifact, of its last checkpoint within the KL target."""


@dataclass(frozen=True, eq=False)
class Steer(Stage[SteeringResult]):
    """One arm's policy: an adapter at its last step, and one at the KL target.

    ``reward`` is the model that the arm learns from; ``rewards`` are all distinct ones of its seed,
    under each of which the curve shows the arm's answers. ``max_disagreement`` is that of
    [rollout], None where ethosteer samples.
    """

    kind: ClassVar[str] = "steer"
    version: ClassVar[int] = 6
    runs_base: ClassVar[bool] = True
    left_out: ClassVar = {
        "steer.select": "both checkpoints are kept",
        "steer.tokens_per_batch": CUTS_PASSES,
    }

    arm: Arm
    algorithm: str
    steer: SteerSettings
    reward: Reward
    rewards: tuple[Reward, ...]
    prompts: Prompts
    max_disagreement: float | None = None

    @property
    def name(self) -> str:
        """The arm and its seed."""
        return self.arm.label

    def exclusions(self) -> Mapping[str, str]:
        """Leave out the tables of other algorithms too."""
        tables = (name for name in self.steer.tables if name != self.algorithm)
        return {**self.left_out, **{f"steer.{name}": "of another algorithm" for name in tables}}

    def batch(self) -> Hashable:
        """Arms of one seed and one algorithm are steered together."""
        return self.kind, self.arm.seed, self.algorithm

    @classmethod
    def title(cls, stages: Sequence[Self]) -> str:
        """Name the algorithm too."""
        return f"{super().title(stages)} by {stages[0].algorithm}"

    @classmethod
    def run(cls, stages: Sequence[Self], workspace: Workspace) -> None:
        """Steer the arms and store them."""
        from ethosteer.algorithms.loop.checkpoints import steer

        started = time.monotonic()
        first, labels = stages[0], [stage.arm.label for stage in stages]
        seed, algorithm = first.arm.seed, first.algorithm
        headings = ("arm", "reward", "KL", "tokens", "alarms")
        with (
            workspace.trackers(f"{algorithm}-s{seed}") as tracking,
            workspace.terminal.table(cls.title(stages), headings) as show,
            workspace.store.checkpoints(stages) as checkpoints,
        ):
            steering = cls.steering(stages, workspace)
            rows = dict.fromkeys(labels, ("", "", "", ""))

            def report(step: int, points: Mapping[int, CurvePoint]) -> None:
                by_label = {labels[arm]: point for arm, point in points.items()}
                tracking.log(step, by_label)
                rows.update({label: _table_row(point) for label, point in by_label.items()})
                show(step + 1, first.steer.steps, [(label, *row) for label, row in rows.items()])

            held_out = first.prompts.ids("test", workspace)[: first.steer.held_out_prompts]
            steered = steer(steering, held_out, checkpoints, report)
            seconds = (time.monotonic() - started) / len(stages)
            for index, stage in enumerate(stages):
                # arms that were stored before the run was interrupted only complete the batch
                if not workspace.store.has(stage):
                    with workspace.store.write(stage, seconds, together=stages) as folder:
                        steered.write(folder, index, RESULT, AT_KL)
        for index, reason in steering.stopped.items():
            workspace.terminal.say(f"{labels[index]} was stopped: {reason}")

    def load(self, folder: Path) -> SteeringResult:
        """Read the arm's result."""
        return read_json(folder / RESULT, SteeringResult)

    def checkpoint(self, folder: Path, select: Select) -> Path:
        """Return the folder of the adapter that a study with ``select`` evaluates."""
        return folder / AT_KL if select == "kl" else folder

    @classmethod
    def steering(cls, stages: Sequence[Self], workspace: Workspace) -> Steering:
        """Return the run of the arms' algorithm, before its first step."""
        from ethosteer.algorithms.loop.task import Task
        from ethosteer.models.lora_bank import LoraBank
        from ethosteer.models.optimiser import derived_seed
        from ethosteer.models.pairs import encode
        from ethosteer.models.reward_models import load_rewards

        first = stages[0]
        seed, rewards = first.arm.seed, first.rewards
        base = workspace.base(first.reward.base)
        if base.engine is not None:
            base.engine.start()  # before token budgets are taken from the memory that is free
        template = first.prompts.template(workspace)
        policies = LoraBank(
            base.layers, len(stages), first.steer.lora, derived_seed(seed, "policy adapters")
        )
        pairs = [workspace.store.load(stage.reward.pairs).train for stage in stages]
        task = Task(
            base=base,
            template=template,
            policies=policies.to(base.device),
            reward_models=load_rewards(base, [workspace.store.path(reward) for reward in rewards]),
            reward_names=[reward.arm.name for reward in rewards],
            reward_index=[rewards.index(stage.reward) for stage in stages],
            prompts=first.prompts.ids("train", workspace),
            pairs=[encode(train, template) for train in pairs],
            settings=first.steer,
            sampling=first.reward.sampling.sampling(),
            seed=seed,
        )
        return catalog.algorithm(first.algorithm).steering(task)


def _table_row(point: CurvePoint) -> tuple[str, str, str, str]:
    """Return what the terminal shows of a point: reward, KL, tokens, alarms."""
    tokens = f"{point.response_tokens:.0f}"
    return f"{point.reward:+.2f}", f"{point.kl:.1f}", tokens, ", ".join(point.alarms)

"""Reward: one Bradley-Terry reward model for each set of pairs, trained in parallel on one base."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from ethosteer.data.pair_sets import ranked_by_hash
from ethosteer.files import read_json, write_json
from ethosteer.records import Arm
from ethosteer.results.reward_models import HeldOutPairs
from ethosteer.settings import RewardSettings
from ethosteer.stages.curate import Curate
from ethosteer.stages.finetune import Finetune
from ethosteer.stages.prompts import Prompts
from ethosteer.stages.stage import CUTS_PASSES, RawBase, SamplingSettings, Stage
from ethosteer.stages.workspace import Workspace

HELD_OUT = "held_out.json"


@dataclass(frozen=True, eq=False)
class Reward(Stage[HeldOutPairs]):
    """One reward model: an adapter with its head and scale.

    ``arm`` is the first arm with these pairs; arms with the same pairs share the reward model.
    """

    kind: ClassVar[str] = "reward"
    version: ClassVar[int] = 5
    runs_base: ClassVar[bool] = True
    left_out: ClassVar = {"reward.tokens_per_batch": CUTS_PASSES}
    is_separable: ClassVar[bool] = True  # no pass has rows of two arms

    arm: Arm
    reward: RewardSettings
    sampling: SamplingSettings
    pairs: Curate
    prompts: Prompts
    base: RawBase | Finetune

    @property
    def name(self) -> str:
        """The arm and its seed."""
        return self.arm.label

    def batch(self) -> Hashable:
        """Reward models of one seed are trained together."""
        return self.kind, self.arm.seed

    @classmethod
    def run(cls, stages: Sequence[Self], workspace: Workspace) -> None:
        """Train the reward models of one seed; evaluate, normalise and store each."""
        from ethosteer.models.pairs import encode
        from ethosteer.models.reward_models import save_reward
        from ethosteer.models.reward_training import RewardTraining

        started = time.monotonic()
        first = stages[0]
        seed = first.arm.seed
        template = first.prompts.template(workspace)
        base = workspace.base(first.base)
        if base.engine is not None:
            base.engine.start()  # an unfit one is refused before anything is trained
        sets = [workspace.store.load(stage.pairs) for stage in stages]
        with (
            workspace.terminal.stage(cls.title(stages)) as progress,
            workspace.store.checkpoints(stages) as checkpoints,
        ):
            limit = first.reward.validation_pairs
            training = RewardTraining(
                base,
                [encode(pairs.train, template) for pairs in sets],
                first.reward,
                seed,
                [encode(ranked_by_hash(pairs.validation, limit), template) for pairs in sets],
                [stage.arm.label for stage in stages],
            )
            training.train(checkpoints, progress)
            samples = first.base_samples(workspace)
            seconds = (time.monotonic() - started) / len(stages)
            for index, (stage, pairs) in enumerate(zip(stages, sets, strict=True)):
                if workspace.store.has(stage):  # before the run was interrupted
                    continue
                held_out = training.held_out(index, encode(pairs.test, template))
                scale = training.normalisation(index, samples)
                with workspace.store.write(stage, seconds) as folder:
                    save_reward(folder, base, training.bank, training.heads, index, scale)
                    write_json(folder / HELD_OUT, held_out)

    def base_samples(self, workspace: Workspace) -> list[list[int]]:
        """Return the rows that all reward models of the seed are normalised on.

        They are steering prompts with the shared base's answers, as token ids.
        """
        from ethosteer.models.generation import generate
        from ethosteer.models.optimiser import generator

        base, sampling = workspace.base(self.base), self.sampling.sampling()
        prompts = self.prompts.ids("train", workspace)
        count = self.reward.normalisation_samples
        chosen = [prompts[i % len(prompts)] for i in range(count)]
        noise = generator(self.arm.seed, "normalisation")
        answers = generate(base, chosen, 1, sampling, noise)
        template = self.prompts.template(workspace)
        return sampling.scored_rows(base, template, chosen, answers)

    def load(self, folder: Path) -> HeldOutPairs:
        """Read the scores of held-out pairs."""
        return read_json(folder / HELD_OUT, HeldOutPairs)

"""Reward: one Bradley-Terry reward model per arm, trained beside each other on one base."""

from __future__ import annotations

import time
from pathlib import Path

from ethosteer.files import read_json, write_json
from ethosteer.models.generation import generate
from ethosteer.models.optimiser import (
    generator,
)
from ethosteer.models.pairs import encode
from ethosteer.models.reward_models import save_reward
from ethosteer.models.reward_training import RewardTraining
from ethosteer.records import Arm
from ethosteer.results import HeldOutPairs
from ethosteer.stages.curate import stored_set
from ethosteer.stages.workspace import Workspace

HELD_OUT = "held_out.json"


def run(work: Workspace, seed: int) -> None:
    """Train the reward models of one seed's arms, beside each other, where they are missing."""
    own = [Arm(name, seed) for name in work.config.data_arms()]
    arms = work.missing_of(work.plan.rewards, own)
    if not arms:
        return
    started = time.monotonic()
    with work.terminal.stage(f"reward, seed {seed}") as progress:
        sets = [stored_set(work, arm.name) for arm in arms]
        training = RewardTraining(
            work.base,
            [encode(curated.train, work.template) for curated in sets],
            work.config.reward,
            seed,
        )
        training.train(work.scratch([work.plan.rewards[arm] for arm in arms]), progress)
        samples = base_samples(work, seed)
        share = (time.monotonic() - started) / len(arms)
        for place, (arm, curated) in enumerate(zip(arms, sets, strict=True)):
            held_out = training.held_out(place, encode(curated.test, work.template))
            scale = training.normalisation(place, samples)
            with work.writing(work.plan.rewards[arm], seconds=share) as folder:
                save_reward(folder, work.base, training.bank, training.heads, place, scale)
                write_json(folder / HELD_OUT, held_out)


def base_samples(work: Workspace, seed: int) -> list[list[int]]:
    """Prompts with answers of the unsteered base, as rewards see them: for the normalisation."""
    prompts = work.prompt_ids("train")
    count = work.config.reward.normalisation_samples
    chosen = [prompts[i % len(prompts)] for i in range(count)]
    answers = generate(work.base, chosen, 1, work.sampling, generator(seed, "normalisation"))
    return [
        [*prompt, *work.sampling.scored_part(answer, work.base.tokenizer.eos_token_id)]
        for prompt, answer in zip(chosen, answers, strict=True)
    ]


def read_held_out(folder: Path) -> HeldOutPairs:
    """Read how a stored reward model did on held-out pairs."""
    return read_json(folder / HELD_OUT, HeldOutPairs)

"""Cross: every model's answers, and every dataset's pairs, under every reward model of a seed.

Where an arm's reward rises under its own reward model and falls under the others', values conflict
or the reward is hacked; where a reward model orders another's pairs, the values agree.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ethosteer.data.splits import unit_hash
from ethosteer.files import read_json, write_json
from ethosteer.models.base import SharedBase
from ethosteer.models.generation import generate
from ethosteer.models.optimiser import generator
from ethosteer.models.pairs import encode
from ethosteer.models.reward_models import load_rewards
from ethosteer.records import BASE, FINETUNED, Model, PreferencePair
from ethosteer.results import CrossResult
from ethosteer.stages.curate import stored_set
from ethosteer.stages.workspace import Workspace

RESULT = "cross.json"


def run(work: Workspace, seed: int) -> None:
    """Judge one seed's models where that is not done."""
    step = work.plan.cross[seed]
    if work.is_done(step):
        return
    started = time.monotonic()
    with work.terminal.stage(f"evaluate cross-rewards, seed {seed}"):
        found = _judge(work, seed)
    with work.writing(step, seconds=time.monotonic() - started) as folder:
        write_json(folder / RESULT, found)


def _judge(work: Workspace, seed: int) -> CrossResult:
    judges = work.plan.judges(seed)
    rewards = load_rewards(work.base, [work.path(step) for step in judges.values()])
    prompts = work.prompt_ids("test")[: work.config.steer.held_out_prompts]
    answers = _answers(work, seed, prompts)
    eos = work.base.tokenizer.eos_token_id
    rows = [
        [*prompt, *work.sampling.scored_part(answer, eos)]
        for own in answers.values()
        for prompt, answer in zip(prompts, own, strict=True)
    ]
    limit = work.config.evaluate.cross_pairs
    pairs = {name: encode(_some(work, name, limit), work.template) for name in judges}
    scores: dict[str, dict[str, list[float]]] = {model: {} for model in answers}
    right: dict[str, dict[str, list[bool]]] = {}
    for place, judge in enumerate(judges):
        by_model = rewards.score(work.base, place, rows).view(len(answers), -1)
        for model, own in zip(answers, by_model.tolist(), strict=True):
            scores[model][judge] = own
        right[judge] = {}
        for name, held_out in pairs.items():
            sides = [row for pair in held_out for row in (pair.chosen, pair.rejected)]
            found = rewards.score(work.base, place, sides).view(-1, 2)
            right[judge][name] = torch.gt(found[:, 0], found[:, 1]).tolist()
    groups = {name: [pair.group for pair in held_out] for name, held_out in pairs.items()}
    return CrossResult(scores, right, groups)


def _some(work: Workspace, name: str, limit: int) -> list[PreferencePair]:
    """At most ``limit`` held-out pairs of a dataset, chosen by hash, scenarios kept together."""
    pairs = stored_set(work, name).test
    return sorted(pairs, key=lambda pair: (unit_hash(pair.group), pair.id))[:limit]


def _answers(
    work: Workspace, seed: int, prompts: Sequence[Sequence[int]]
) -> dict[str, list[list[int]]]:
    """Answers of both controls and the seed's arms to the same prompts, with the same noise."""
    arms = [arm for arm in work.config.arm_seeds() if arm.seed == seed]
    models = [Model(FINETUNED), *(Model(arm.name, arm.seed) for arm in arms)]

    def answer(base: SharedBase, count: int) -> list[list[list[int]]]:
        flat = generate(base, prompts, count, work.sampling, generator(seed, "cross"))
        return [flat[start : start + len(prompts)] for start in range(0, len(flat), len(prompts))]

    (raw,) = answer(work.raw_base, 1)
    steered = work.with_adapters(work.base, models, lambda: answer(work.base, len(models)))
    return {BASE: raw} | {model.name: own for model, own in zip(models, steered, strict=True)}


def read_cross(folder: Path) -> CrossResult:
    """Read one seed's scores."""
    return read_json(folder / RESULT, CrossResult)

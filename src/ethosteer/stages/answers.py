"""Answers of every model of a study to the same prompts, with the same sampling noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ethosteer import interruption
from ethosteer.records import BASE
from ethosteer.results.steering import Select
from ethosteer.stages.finetune import Finetune, name_of
from ethosteer.stages.steer import Steer
from ethosteer.stages.workspace import Workspace

if TYPE_CHECKING:
    from ethosteer.models.base import SharedBase


def answers_of_all(
    steering: Sequence[Steer],
    select: Select,
    prompts: Sequence[Sequence[int]],
    purpose: str,
    workspace: Workspace,
) -> dict[str, list[list[int]]]:
    """Answer prompts with the controls and the arms of one seed.

    The sampling noise is derived from the seed and ``purpose``, the same for every model. Returns
    each model's answers by its name, as token ids in the order of ``prompts``.
    """
    from ethosteer.models.generation import generate
    from ethosteer.models.optimiser import generator

    first = steering[0]
    sampling = first.reward.sampling.sampling()

    def answer(base: SharedBase, models: Sequence[str]) -> dict[str, list[list[int]]]:
        noise = generator(first.arm.seed, purpose)
        flat = iter(generate(base, prompts, len(models), sampling, noise))
        return {model: [next(flat) for _ in prompts] for model in models}

    shared = first.reward.base
    folders = {stage.arm.name: stage.checkpoint(workspace.store.path(stage), select)
               for stage in steering}  # fmt: skip
    answers = {}
    if isinstance(shared, Finetune):
        answers = answer(workspace.base(shared.base), [BASE])
        interruption.stop_if_requested()
    base, adapters = workspace.base(shared), {name_of(shared): None, **folders}
    with workspace.adapters(base, adapters):
        return answers | answer(base, list(adapters))

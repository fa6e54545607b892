"""Supervised fine-tuning of a base on whole conversations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from ethosteer.maths.finite import check_finite
from ethosteer.models.base import SharedBase
from ethosteer.models.checkpoints import CheckpointSchedule, load_checkpoint, save_checkpoint
from ethosteer.models.fast.budget import training_tokens
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import ArmOptimiser, derived_seed, generator
from ethosteer.models.pairs import accumulate_nll
from ethosteer.models.text import Row
from ethosteer.progress import Report
from ethosteer.settings import FinetuneSettings

CHECKPOINT_EVERY = 50
MEND = "it diverged: lower finetune.optimiser.learning_rate, or use base.dtype = 'float32'"


def finetune(
    base: SharedBase,
    rows: Sequence[Row],
    settings: FinetuneSettings,
    checkpoints: Path,
    progress: Report,
) -> tuple[LoraBank, list[float]]:
    """Train one adapter on conversations (next-token loss, mean over the tokens of their masks).

    Resumes from ``checkpoints``; ``progress(done, steps, note)`` after every step. Returns the bank
    of one arm and the loss of each step. Raises InputError where a loss or gradient is not finite.
    """
    bank = LoraBank(base.layers, 1, settings.lora, seed=0).to(base.device)
    per_epoch = math.ceil(len(rows) / settings.batch)
    steps = max(1, round(settings.epochs * per_epoch))
    steps = min(steps, settings.max_steps or steps)
    optimiser = ArmOptimiser.build(bank.arm_parameters(0), settings.optimiser, steps)
    checkpoint = load_checkpoint(checkpoints, [optimiser], "done")
    losses: list[float] = list(checkpoint.facts["losses"]) if checkpoint else []  # type: ignore[call-overload]
    token_budget = training_tokens(base, settings.lora, settings.tokens_per_batch)
    schedule = CheckpointSchedule(CHECKPOINT_EVERY)
    for step in range(len(losses), steps):
        epoch, batch = divmod(step, per_epoch)
        order = torch.randperm(len(rows), generator=generator("finetune", epoch))
        indices = order.split(settings.batch)[batch].tolist()
        batch_rows = [rows[index] for index in indices]
        with bank.applied():
            dropout = derived_seed("dropout", step)
            loss = accumulate_nll(
                base, batch_rows, token_budget, dropout, optimiser.adamw.zero_grad
            )
        _check(loss, f"the loss at step {step}")
        if not optimiser.step():
            _check(math.nan, f"the gradient at step {step}")
        losses.append(loss)
        progress(step + 1, steps, f"loss {loss:.3f}")
        if schedule.is_due(step + 1):
            save_checkpoint(checkpoints, [optimiser], {"done": step + 1, "losses": losses})
        schedule.stop_if_requested()
    return bank, losses


def _check(value: float, name: str) -> None:
    check_finite([value], lambda _: f"fine-tuning: {name}", MEND)

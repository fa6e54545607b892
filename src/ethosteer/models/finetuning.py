"""Supervised fine-tuning of a base on whole conversations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from ethosteer.models.base import SharedBase, pad_right
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import ArmOptimiser, generator, load_checkpoint, save_checkpoint
from ethosteer.settings import FinetuneSettings

CHECKPOINT_EVERY = 50


def finetune(
    base: SharedBase,
    rows: Sequence[Sequence[int]],
    settings: FinetuneSettings,
    checkpoints: Path,
    progress: Callable[[int, int, str], None],
) -> tuple[LoraBank, list[float]]:
    """Train one adapter on whole conversations (next-token loss, mean over tokens).

    Resumes from ``checkpoints``; ``progress(done, steps, note)`` after every step. Returns the bank
    of one arm and the losses.
    """
    bank = LoraBank(base.layers, 1, settings.lora, seed=0).to(base.device)
    per_epoch = math.ceil(len(rows) / settings.batch)
    steps = max(1, round(settings.epochs * per_epoch))
    steps = min(steps, settings.max_steps or steps)
    optimiser = ArmOptimiser.build(bank.arm_parameters(0), settings.optimiser, steps)
    found = load_checkpoint(checkpoints, [optimiser], "done")
    losses: list[float] = list(found.facts["losses"]) if found else []  # type: ignore[call-overload]
    for step in range(len(losses), steps):
        epoch, place = divmod(step, per_epoch)
        order = torch.randperm(len(rows), generator=generator("finetune", epoch)).tolist()
        batch = [rows[i] for i in order[place * settings.batch : (place + 1) * settings.batch]]
        tokens, lengths = pad_right(batch, base.device)
        with bank.applied(dropout=generator("dropout", step, device=base.device)):
            hidden = base.hidden(tokens[:, :-1])
        real = torch.arange(1, tokens.shape[1], device=base.device) < lengths.unsqueeze(1)
        loss = cross_entropy(base.logits(hidden[real]).float(), tokens[:, 1:][real])
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_checkpoint(checkpoints, [optimiser], {"done": step + 1, "losses": losses})
        progress(step + 1, steps, f"loss {losses[-1]:.3f}")
    return bank, losses

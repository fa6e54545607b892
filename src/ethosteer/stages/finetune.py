"""Finetune: the base learns the dialogue form, once, before the arms branch off."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from ethosteer.data.sources import read_jsonl
from ethosteer.errors import InputError
from ethosteer.files import write_json
from ethosteer.models.adapters import merge_into_base, save_adapter
from ethosteer.models.base import SharedBase, pad_right, resolve_model
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import ArmOptimiser, generator, load_checkpoint, save_checkpoint
from ethosteer.records import Turn
from ethosteer.settings import BaseSettings, FinetuneSettings
from ethosteer.stages.workspace import MERGED, Workspace

ADAPTER = "adapter"
LOSSES = "losses.json"
CHECKPOINT_EVERY = 50
_HEADING = re.compile(r"###\s*(Human|Assistant):")


def run(work: Workspace) -> None:
    """Fine-tune the base, unless that is done."""
    step = work.plan.finetuning
    if work.is_done(step):
        return
    with work.terminal.stage("finetune") as progress, work.writing(step) as folder:
        rows = [
            work.template.conversation_ids(turns)
            for turns in read_conversations(work.plan.conversations)
        ]
        most = work.config.data.max_tokens
        fitting = [row for row in rows if len(row) <= most]
        if not fitting:
            raise InputError(f"data.max_tokens: no conversation has {most} tokens or fewer")
        settings, base = work.config.finetune, work.raw_base
        bank, losses = finetune(base, fitting, settings, work.scratch([step]), progress)
        write_json(folder / LOSSES, losses)
        write_finetuned(folder, base, bank, work.config.base)


def read_conversations(path: Path) -> list[list[Turn]]:
    """Read openassistant-guanaco's layout: ``### Human: ...### Assistant: ...`` in ``text``.

    A last turn of the human is left out; a row without an answer is an InputError.
    """
    conversations = []
    for row in read_jsonl(path, ["text"]):
        _, *parts = _HEADING.split(row.text("text"))
        turns: list[Turn] = [
            ("human" if role == "Human" else "assistant", text.strip())
            for role, text in zip(parts[::2], parts[1::2], strict=True)
        ]
        if turns and turns[-1][0] == "human":
            turns.pop()
        if not turns or turns[0][0] != "human":
            raise row.fail("a conversation must have '### Human:' and then '### Assistant:'")
        conversations.append(turns)
    return conversations


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


def write_finetuned(folder: Path, base: SharedBase, bank: LoraBank, settings: BaseSettings) -> None:
    """Write the adapter, and the base it was merged into: the base that all arms share."""
    save_adapter(folder / ADAPTER, base, bank, arm=0)
    merge_into_base(
        resolve_model(settings.model), settings.revision, folder / ADAPTER, folder / MERGED
    )
    base.tokenizer.save_pretrained(folder / MERGED)

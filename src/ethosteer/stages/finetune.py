"""Finetune: the base learns the dialogue form, once, before the arms branch off."""

from __future__ import annotations

from pathlib import Path

from ethosteer.data.conversations import read_conversations
from ethosteer.errors import InputError
from ethosteer.files import write_json
from ethosteer.models.adapters import merge_into_base, save_adapter
from ethosteer.models.base import SharedBase, resolve_model
from ethosteer.models.finetuning import finetune
from ethosteer.models.lora_bank import LoraBank
from ethosteer.settings import BaseSettings
from ethosteer.stages.workspace import MERGED, Workspace

ADAPTER = "adapter"
LOSSES = "losses.json"


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


def write_finetuned(folder: Path, base: SharedBase, bank: LoraBank, settings: BaseSettings) -> None:
    """Write the adapter, and the base it was merged into: the base that all arms share."""
    save_adapter(folder / ADAPTER, base, bank, arm=0)
    merge_into_base(
        resolve_model(settings.model), settings.revision, folder / ADAPTER, folder / MERGED
    )
    base.tokenizer.save_pretrained(folder / MERGED)

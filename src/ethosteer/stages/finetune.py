"""Finetune: the base learns the dialogue form, once, before the arms branch off."""

from __future__ import annotations

import re
from pathlib import Path

from ethosteer.data.sources import read_jsonl
from ethosteer.errors import InputError
from ethosteer.files import write_json
from ethosteer.models.adapters import merge_into_base, save_adapter
from ethosteer.models.base import SharedBase, resolve_model
from ethosteer.models.finetuning import finetune
from ethosteer.models.lora_bank import LoraBank
from ethosteer.records import Turn
from ethosteer.settings import BaseSettings
from ethosteer.stages.workspace import MERGED, Workspace

ADAPTER = "adapter"
LOSSES = "losses.json"
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


def write_finetuned(folder: Path, base: SharedBase, bank: LoraBank, settings: BaseSettings) -> None:
    """Write the adapter, and the base it was merged into: the base that all arms share."""
    save_adapter(folder / ADAPTER, base, bank, arm=0)
    merge_into_base(
        resolve_model(settings.model), settings.revision, folder / ADAPTER, folder / MERGED
    )
    base.tokenizer.save_pretrained(folder / MERGED)

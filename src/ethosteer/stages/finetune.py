"""Finetune: the base is fine-tuned on dialogues, once for all arms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ethosteer.data.conversations import read_conversations
from ethosteer.errors import InputError
from ethosteer.files import write_json
from ethosteer.progress import Report
from ethosteer.settings import BaseSettings, DataSettings, FinetuneSettings
from ethosteer.stages.stage import BY_EDITION, READ_ELSEWHERE, PublishedFiles, RawBase, Stage
from ethosteer.stages.store import Store
from ethosteer.stages.workspace import Workspace

ADAPTER = "adapter"
MERGED = "model"
LOSSES = "losses.json"


@dataclass(frozen=True, eq=False)
class Finetune(Stage[list[float]]):
    """The fine-tuned base that all arms share: an adapter, merged by stock PEFT."""

    kind: ClassVar[str] = "finetune"
    version: ClassVar[int] = 2
    left_out: ClassVar = {
        "data.origin": BY_EDITION,
        "data.conversations": BY_EDITION,
        "data.prompts": READ_ELSEWHERE,
        "data.max_prompt_tokens": READ_ELSEWHERE,
    }

    finetune: FinetuneSettings
    data: DataSettings
    base: RawBase
    conversations: PublishedFiles

    @property
    def name(self) -> str:
        """There is one fine-tuned base."""
        return "base"

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Train the adapter and merge it."""
        from ethosteer.models.adapters import merge_into_base, save_adapter
        from ethosteer.models.finetuning import finetune
        from ethosteer.models.identity import resolve_model

        base = workspace.base(self.base)
        with workspace.store.checkpoints([self]) as checkpoints:
            rows = self._rows(workspace)
            bank, losses = finetune(base, rows, self.finetune, checkpoints, progress)
            write_json(folder / LOSSES, losses)
            save_adapter(folder / ADAPTER, base, bank, arm=0)
            model, revision = resolve_model(self.base.settings.model), self.base.settings.revision
            merge_into_base(model, revision, folder / ADAPTER, self.merged(folder))
            base.tokenizer.save_pretrained(self.merged(folder))

    def _rows(self, workspace: Workspace) -> list[list[int]]:
        """Return the conversations that are short enough, as token ids."""
        template = workspace.template(self.base.settings, self.data.template)
        (path,) = self.conversations.paths()
        limit = self.data.max_tokens
        rows = [template.conversation_ids(turns) for turns in read_conversations(path)]
        rows = [row for row in rows if len(row) <= limit]
        if not rows:
            raise InputError(f"data.max_tokens: no conversation has {limit} tokens or fewer")
        return rows

    def load(self, folder: Path) -> list[float]:
        """Read the losses, step by step."""
        losses: list[float] = json.loads((folder / LOSSES).read_text("utf-8"))
        return losses

    def to_load(self, store: Store) -> BaseSettings:
        """Return the settings that load the merged model."""
        folder = self.merged(store.path(self))
        return self.base.settings.model_copy(update={"model": str(folder), "revision": None})

    def merged(self, folder: Path) -> Path:
        """Return the folder of the merged model within the artifact's."""
        return folder / MERGED

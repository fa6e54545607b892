"""Finetune: the base is fine-tuned on dialogues, once for all arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, Self

from ethosteer.data.conversations import read_conversations
from ethosteer.errors import InputError, RefusedDialogueError
from ethosteer.files import read_json, write_json
from ethosteer.progress import Report
from ethosteer.records import BASE, FINETUNED
from ethosteer.settings import DataSettings, FinetuneSettings
from ethosteer.stages.stage import (
    BY_EDITION,
    CUTS_PASSES,
    READ_ELSEWHERE,
    PublishedFiles,
    RawBase,
    Stage,
)
from ethosteer.stages.workspace import Workspace

if TYPE_CHECKING:
    from ethosteer.models.base import SharedBase
    from ethosteer.models.text import Row

FEWEST_STEPS = 20
ADAPTER = "adapter"
LOSSES = "losses.json"
CONVERSATIONS = "conversations.json"


@dataclass(frozen=True, slots=True)
class Conversations:
    """How many conversations were learned from, and how many were dropped by reason."""

    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True, eq=False)
class Finetune(Stage[list[float]]):
    """The fine-tuned base that all arms share: the raw base with a frozen adapter."""

    kind: ClassVar[str] = "finetune"
    version: ClassVar[int] = 4
    runs_base: ClassVar[bool] = True
    left_out: ClassVar = {
        "data.origin": BY_EDITION,
        "data.conversations": BY_EDITION,
        "data.prompts": READ_ELSEWHERE,
        "data.max_prompt_tokens": READ_ELSEWHERE,
        "finetune.tokens_per_batch": CUTS_PASSES,
    }

    finetune: FinetuneSettings
    data: DataSettings
    base: RawBase
    conversations: PublishedFiles

    @property
    def name(self) -> str:
        """There is one fine-tuned base."""
        return "base"

    @classmethod
    def run(cls, stages: Sequence[Self], workspace: Workspace) -> None:
        """Train and store, keeping checkpoints until the adapter is stored."""
        with workspace.store.checkpoints(stages):
            super().run(stages, workspace)

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Train the adapter."""
        from ethosteer.models.adapters import save_adapter
        from ethosteer.models.finetuning import finetune

        base = workspace.base(self.base)
        rows, dropped = self._rows(workspace)
        write_json(folder / CONVERSATIONS, Conversations(len(rows), dropped))
        checkpoints = workspace.store.checkpoint_folder([self])
        bank, losses = finetune(base, rows, self.finetune, checkpoints, progress)
        write_json(folder / LOSSES, losses)
        if note := rising(losses):
            workspace.terminal.say(note)
        save_adapter(folder / ADAPTER, base, bank, arm=0)

    def _rows(self, workspace: Workspace) -> tuple[list[Row], dict[str, int]]:
        """Return the conversations that are short enough, and how many were dropped and why."""
        template = workspace.template(self.base.settings, self.data.template, self.data.date)
        (path,) = self.conversations.paths()
        conversations = read_conversations(path)
        self.conversations.check_unchanged()  # before it is learned from
        dropped, rows = conversations.dropped, []
        for turns in conversations.turns:
            try:
                row = template.conversation_row(turns)
            except RefusedDialogueError:
                dropped["template refuses"] += 1
                continue
            if len(row.ids) <= self.data.max_tokens:
                rows.append(row)
            else:
                dropped["too long"] += 1
        if not rows:
            raise InputError(f"data.conversations: none can be learned from ({dict(dropped)})")
        return rows, dict(sorted(dropped.items()))

    def load(self, folder: Path) -> list[float]:
        """Read the losses, step by step."""
        return read_json(folder / LOSSES, list[float])

    def dropped(self, folder: Path) -> dict[str, int]:
        """Return how many conversations were not learned from, by reason."""
        return read_json(folder / CONVERSATIONS, Conversations).dropped

    def load_base(self, workspace: Workspace) -> SharedBase:
        """Return the fine-tuned view of the raw base."""
        from ethosteer.models.adapters import with_fine_tuning

        raw = workspace.base(self.base, with_engine=False)
        return with_fine_tuning(raw, workspace.store.path(self) / ADAPTER)


def rising(losses: Sequence[float]) -> str:
    """Say so where the loss ended higher than it began, by means of tenths; "" where it did not.

    Fewer than ``FEWEST_STEPS`` losses are too noisy to be compared.
    """
    tenth = len(losses) // 10
    if len(losses) < FEWEST_STEPS or fmean(losses[-tenth:]) <= fmean(losses[:tenth]):
        return ""
    return (
        f"warning: fine-tuning ended with a loss of {fmean(losses[-tenth:]):.3f}, which began at "
        f"{fmean(losses[:tenth]):.3f}: lower finetune.optimiser.learning_rate"
    )


def name_of(base: RawBase | Finetune) -> str:
    """Return the name of the control that a base is by itself."""
    return FINETUNED if isinstance(base, Finetune) else BASE

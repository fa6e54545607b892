"""Prompts: those that arms are steered on, and held-out ones for comparing all models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ethosteer.data.conversations import read_conversations
from ethosteer.data.prompts import first_turns, steering_prompts
from ethosteer.errors import InputError
from ethosteer.files import read_json, write_json
from ethosteer.progress import Report
from ethosteer.records import Split, Turn
from ethosteer.settings import DataSettings
from ethosteer.stages.curate import Curate
from ethosteer.stages.stage import BY_EDITION, PublishedFiles, RawBase, Stage
from ethosteer.stages.workspace import Workspace

if TYPE_CHECKING:
    from ethosteer.models.text import Template

PROMPTS = "prompts.json"


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts to steer on, and held-out prompts of the same kind; each is a list of turns."""

    train: tuple[tuple[Turn, ...], ...]
    test: tuple[tuple[Turn, ...], ...]


@dataclass(frozen=True, eq=False)
class Prompts(Stage[PromptSet]):
    """The prompts of a study, the same for all arms.

    ``source`` is what they are taken from: the arms' pairs, mixed in equal parts, or the opening
    questions of a file of conversations.
    """

    kind: ClassVar[str] = "curate"
    version: ClassVar[int] = 3
    left_out: ClassVar = {"data.origin": BY_EDITION, "data.conversations": BY_EDITION}

    data: DataSettings
    base: RawBase
    source: tuple[Curate, ...] | PublishedFiles

    @property
    def name(self) -> str:
        """There is one set of prompts."""
        return "prompts"

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Gather the prompts of both splits."""
        train, test = (
            tuple(map(tuple, self._split(split, workspace))) for split in ("train", "test")
        )
        write_json(folder / PROMPTS, PromptSet(train, test))

    def _split(self, split: Split, workspace: Workspace) -> Sequence[Sequence[Turn]]:
        template, limit = self.template(workspace), self.data.max_prompt_tokens
        if isinstance(self.source, PublishedFiles):
            (path,) = self.source.paths()
            prompts = first_turns(read_conversations(path).turns, split, template, limit)
            if not prompts:
                raise InputError(
                    f"{path}: no conversation of the {split} split opens with a question of at "
                    f"most {limit} tokens (data.max_prompt_tokens)"
                )
            return prompts
        sets = [workspace.store.load(pairs) for pairs in self.source]
        return steering_prompts(sets, split, template, limit)

    def load(self, folder: Path) -> PromptSet:
        """Read the prompts."""
        return read_json(folder / PROMPTS, PromptSet)

    def template(self, workspace: Workspace) -> Template:
        """Return the template of the study's dialogues."""
        return workspace.template(self.base.settings, self.data.template, self.data.date)

    def ids(self, split: Split, workspace: Workspace) -> list[list[int]]:
        """Return the prompts of a split as token ids."""
        template = self.template(workspace)
        prompts: PromptSet = workspace.store.load(self)
        return [template.prompt_ids(turns) for turns in getattr(prompts, split)]

"""Curate: the published rows of a dataset become preference pairs, split by group, with a card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ethosteer import catalog
from ethosteer.data.pair_sets import curate, read_set, write_set
from ethosteer.progress import Report
from ethosteer.records import PreferenceSet
from ethosteer.settings import ArmSettings, DataSettings
from ethosteer.stages.stage import BY_EDITION, READ_ELSEWHERE, PublishedFiles, RawBase, Stage
from ethosteer.stages.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Curate(Stage[PreferenceSet]):
    """The preference pairs of an arm; arms with equal settings share those of the first."""

    kind: ClassVar[str] = "curate"
    version: ClassVar[int] = 2
    left_out: ClassVar = {
        "arms.dataset": "the dataset's name is a field",
        "arms.algorithm": READ_ELSEWHERE,
        "data.origin": BY_EDITION,
        "data.conversations": READ_ELSEWHERE,
        "data.prompts": READ_ELSEWHERE,
        "data.max_prompt_tokens": READ_ELSEWHERE,
    }

    arm: str
    dataset: str
    arms: ArmSettings
    data: DataSettings
    base: RawBase
    files: PublishedFiles

    @property
    def name(self) -> str:
        """The first arm with these pairs."""
        return self.arm

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Curate the dataset."""
        template = workspace.template(self.base.settings, self.data.template)
        dataset, origin = catalog.dataset(self.dataset), self.files.origin
        write_set(curate(dataset, self.arms, self.data, origin, template), folder)

    def load(self, folder: Path) -> PreferenceSet:
        """Read the pairs."""
        return read_set(folder)

"""Curate: the published rows of a dataset become preference pairs, split by group, with a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from ethosteer import catalog
from ethosteer.data.pair_sets import curate, read_set, write_set
from ethosteer.records import PreferenceSet
from ethosteer.settings import ArmSettings, DataSettings
from ethosteer.stages.stage import PublishedFiles, RawBase, Stage

if TYPE_CHECKING:
    from ethosteer.stages.workspace import Workspace

READ_ELSEWHERE = "read by another stage"
BY_EDITION = "files count by their editions"


@dataclass(frozen=True, eq=False)
class Curate(Stage[PreferenceSet]):
    """The preference pairs of an arm: arms with equal settings share the first one's."""

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
        """The arm that brings the pairs."""
        return self.arm

    @classmethod
    def run(cls, stages: Sequence[Self], workspace: Workspace) -> None:
        """Curate each dataset."""
        for stage in stages:
            template = workspace.template(stage.base, stage.data.template)
            dataset, origin = catalog.dataset(stage.dataset), stage.files.origin
            with (
                workspace.terminal.stage(f"curate {stage.name}"),
                workspace.store.write(stage) as folder,
            ):
                pairs = curate(dataset, stage.arms, stage.data, origin, template)
                write_set(pairs, folder)

    def load(self, folder: Path) -> PreferenceSet:
        """Read the pairs."""
        return read_set(folder)

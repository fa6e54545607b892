"""Curate: the rows of a dataset become preference pairs, split by group, with a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ethosteer import catalog
from ethosteer.data.pair_sets import Dataset, curate, read_set, write_set
from ethosteer.progress import Report
from ethosteer.records import PreferenceSet
from ethosteer.settings import FILE_SETTINGS, LABELS, ArmSettings, DataSettings
from ethosteer.stages.stage import BY_EDITION, READ_ELSEWHERE, PublishedFiles, RawBase, Stage
from ethosteer.stages.workspace import Workspace

ON_THE_CARD = "written on the card when it is read"
OF_FILES = "set for files alone"


@dataclass(frozen=True, eq=False)
class Curate(Stage[PreferenceSet]):
    """The preference pairs of an arm; arms with equal settings share those of the first."""

    kind: ClassVar[str] = "curate"
    version: ClassVar[int] = 3
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

    def exclusions(self) -> Mapping[str, str]:
        """Leave out, of a file, where it is kept and what pairs do not depend on.

        Of a built-in dataset all that is set for files is left out, so that a new setting of files
        changes no pairs that are stored.
        """
        if not self.arms.from_file:
            return {**self.left_out, **{f"arms.{name}": OF_FILES for name in FILE_SETTINGS}}
        moved = dict.fromkeys(("arms.file", "arms.collected", "arms.revision"), BY_EDITION)
        labels = dict.fromkeys((f"arms.{name}" for name in LABELS), ON_THE_CARD)
        return {**self.left_out, **moved, **labels}

    def definition(self) -> Dataset:
        """Return the dataset: a built-in one, or the arm's file."""
        return catalog.arm_dataset(self.dataset, self.arms)

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Curate the dataset."""
        template = workspace.template(self.base.settings, self.data.template, self.data.date)
        curated = curate(self.definition(), self.arms, self.data, self.files.origin, template)
        write_set(curated, folder)

    def load(self, folder: Path) -> PreferenceSet:
        """Read the pairs; the card has the settings' title, web page and licence."""
        curated, dataset = read_set(folder), self.definition()
        source = dataset.source
        card = replace(
            curated.card, title=dataset.title, source=source.home, licence=source.licence
        )
        return replace(curated, card=card)

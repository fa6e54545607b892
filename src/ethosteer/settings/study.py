"""A whole study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from ethosteer.records import BASE, CONTROLS, Arm
from ethosteer.settings.base import BaseSettings, Settings
from ethosteer.settings.data import FILE_SETTINGS, LABELS, ArmSettings, DataSettings
from ethosteer.settings.evaluation import (
    BenchmarkSettings,
    CompareSettings,
    EvaluateSettings,
    TrackSettings,
)
from ethosteer.settings.rollout import RolloutSettings
from ethosteer.settings.steer import SteerSettings
from ethosteer.settings.training import FinetuneSettings, RewardSettings

RESERVED_NAMES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10)))
)
"""Names of devices on Windows, where no file may be called so, whatever its extension."""
LONGEST_NAME = 80
"""Bytes of an arm's and a benchmark's name: an artifact's folder is called by both."""
SEEDS = 2**32
"""Seeds are below this, as NumPy's and accelerate's generators require."""


class StudySettings(Settings):
    """A whole study."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="also the folder's name",
    )
    question: str = Field(description="the research question, for the report")
    seeds: tuple[int, ...] = Field(
        (0,), min_length=1, max_length=1000, description="every arm is trained with each"
    )
    base: BaseSettings = BaseSettings()
    data: DataSettings = DataSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    arms: dict[str, ArmSettings] = Field(min_length=1)
    reward: RewardSettings = RewardSettings()
    steer: SteerSettings = SteerSettings()
    rollout: RolloutSettings = RolloutSettings()
    benchmarks: dict[str, BenchmarkSettings] = Field(min_length=1)
    evaluate: EvaluateSettings = EvaluateSettings()
    compare: CompareSettings = CompareSettings()
    track: TrackSettings = TrackSettings()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if name.partition(".")[0].lower() in RESERVED_NAMES or name.endswith("."):
            raise ValueError("is no name of a folder on Windows; choose another")
        return name

    @field_validator("seeds")
    @classmethod
    def _seed_generators(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        for seed in seeds:
            if not 0 <= seed < SEEDS:
                raise ValueError(f"a seed must be from 0 to 2**32 - 1, and {seed} is not")
        if len(set(seeds)) != len(seeds):
            raise ValueError("must differ from each other")
        return seeds

    @model_validator(mode="before")
    @classmethod
    def _control_without_finetuning(cls, table: Any) -> Any:  # noqa: ANN401 (any input)
        """Compare arms with the base where nothing is fine-tuned and no control is named."""
        finetune = table.get("finetune") if isinstance(table, Mapping) else None
        if isinstance(finetune, Mapping) and finetune.get("enabled") is False:
            compare = table.get("compare", {})
            if isinstance(compare, Mapping):
                return {**table, "compare": {"control": BASE, **compare}}
        return table

    @model_validator(mode="before")
    @classmethod
    def _files_by_arm(cls, table: Any) -> Any:  # noqa: ANN401 (any input)
        """Let an arm whose ``dataset`` names an arm with a file read that file."""
        arms = table.get("arms") if isinstance(table, Mapping) else None
        if not isinstance(arms, Mapping):
            return table
        plain = {
            name: arm.model_dump(exclude_unset=True) if isinstance(arm, ArmSettings) else arm
            for name, arm in arms.items()
        }

        def shared(arm: Any) -> Any:  # noqa: ANN401 (any input)
            named = arm.get("dataset") if isinstance(arm, Mapping) else None
            source = plain.get(named) if isinstance(named, str) else None
            kinds = ("file", "collected", "hub")
            if not isinstance(source, Mapping) or not any(map(source.get, kinds)):
                return arm
            taken = {key: source[key] for key in FILE_SETTINGS if key in source}
            return taken | {key: value for key, value in arm.items() if key != "dataset"}

        return {**table, "arms": {name: shared(arm) for name, arm in plain.items()}}

    @model_validator(mode="after")
    def _consistent(self) -> StudySettings:
        if not self.finetune.enabled and self.compare.control != BASE:
            raise ValueError(
                "compare.control = 'fine-tuned' needs a fine-tuned model, and finetune.enabled is "
                "false; set compare.control = 'base'"
            )
        primary = self.compare.primary or ()
        if len(set(primary)) < len(primary):
            raise ValueError("compare.primary names a benchmark twice")
        for name in primary:
            if name not in self.benchmarks:
                raise ValueError(
                    f"compare.primary names {name!r}, which is not among the study's benchmarks: "
                    f"{', '.join(self.benchmarks)}"
                )
        for kind, names in (("arms", self.arms), ("benchmarks", self.benchmarks)):
            for name in names:
                if len(name.encode()) > LONGEST_NAME:
                    raise ValueError(
                        f"{kind}.{name[:20]}...: a name has at most {LONGEST_NAME} bytes, since "
                        "files are called by it"
                    )
        for name in self.arms:
            if name in CONTROLS or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"arms.{name} is not a usable name for an arm")
        return self

    @property
    def controls(self) -> tuple[str, ...]:
        """The models that are not steered: the base, and the fine-tuned one where there is one."""
        return CONTROLS if self.finetune.enabled else (BASE,)

    def dataset_of(self, arm: str) -> str:
        """Return the name of an arm's dataset; a file's is that of the first arm that reads it."""
        settings = self.arms[arm]
        if settings.from_file:
            same = (name for name in self.arms if self.arms[name].content == settings.content)
            return next(same)
        return settings.dataset or arm

    def algorithm_of(self, arm: str) -> str:
        """Return the algorithm that steers an arm."""
        return self.arms[arm].algorithm or self.steer.algorithm

    def data_of(self, arm: str) -> str:
        """Return the first arm with the same pairs, whose pairs and reward model ``arm`` shares."""
        pairs = self._pairs(arm)
        return next(name for name in self.arms if self._pairs(name) == pairs)

    def data_arms(self) -> tuple[str, ...]:
        """Return the first arm of each set of pairs; these are curated and rewarded once."""
        return tuple(name for name in self.arms if self.data_of(name) == name)

    def _pairs(self, arm: str) -> dict[str, Any]:
        """Return the settings that determine an arm's pairs."""
        settings = self.arms[arm].model_dump(exclude={"algorithm", *LABELS})
        return {**settings, "dataset": self.dataset_of(arm)}

    def arm_seeds(self) -> tuple[Arm, ...]:
        """Return every arm of the study, seed by seed."""
        return tuple(Arm(name, seed) for seed in self.seeds for name in self.arms)

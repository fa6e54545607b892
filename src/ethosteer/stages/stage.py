"""A stage of a study: what it reads, what it writes, how it runs, and how its result is loaded.

A stage is a frozen dataclass. Its fields are everything that its work may read: tables of settings,
published files, a seed, earlier stages. They are also its identity, so a setting that can change a
result is always part of it. The few settings that are left out are listed in ``left_out``, each
with the reason; ``tests/stages/test_identity.py`` varies each of them and finds the same artifact.

This module and those of the stages import torch only inside ``run``, so that a study can be planned
and its status shown without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel

from ethosteer.benchmarks.harness.task import HarnessTask
from ethosteer.data.sources import Origin, Source
from ethosteer.errors import InputError
from ethosteer.files import fingerprint
from ethosteer.models.identity import folder_fingerprint, model_fingerprint
from ethosteer.progress import Report
from ethosteer.settings import BaseSettings, RolloutSettings, SteerSettings
from ethosteer.stages.workspace import Workspace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ethosteer.models.base import SharedBase
    from ethosteer.models.generation import Sampling

Result = TypeVar("Result")

READ_ELSEWHERE = "read by another stage"
BY_EDITION = "files count by their editions"
CUTS_PASSES = "bounds how much runs at once; no mask, gradient or likelihood depends on it"


@dataclass(frozen=True)
class PublishedFiles:
    """Published files, and the user's, identified by their editions, not by where they are kept."""

    origin: Origin
    sources: tuple[Source, ...]

    def identity(self) -> list[str]:
        """Return the edition of every file: the hub's revision, or the file's hash."""
        return self._editions

    @cached_property
    def _editions(self) -> list[str]:
        return [self.origin.revision(source) for source in self.sources]

    def check_unchanged(self) -> None:
        """Raise InputError where a file was replaced since its edition was taken."""
        for source, before in zip(self.sources, self._editions, strict=True):
            if self.origin.revision(source) != before:
                raise InputError(
                    f"{self.origin.locate(source)}: changed while the study ran; run it again"
                )

    def paths(self) -> list[Path]:
        """Return where the files are on this machine, downloading them if need be."""
        return [self.origin.locate(source) for source in self.sources]


@dataclass(frozen=True)
class RawBase:
    """The base before fine-tuning, identified by its content and its precision."""

    settings: BaseSettings

    def identity(self) -> str:
        """Return the base's fingerprint."""
        return self._fingerprint

    def load_base(self, workspace: Workspace) -> SharedBase:
        """Load it; InputError where its files changed since it was identified."""
        from ethosteer.models.checks import check_sampling
        from ethosteer.models.loading import load_base

        self.check_unchanged()
        base = load_base(self.settings)
        check_sampling(base)  # before anything is trained that is to be sampled from
        return base

    def check_unchanged(self) -> None:
        """Raise InputError where the model's files were replaced since the study was planned."""
        if model_fingerprint(self.settings) != self._fingerprint:
            raise InputError(
                f"base.model = {self.settings.model!r}: its files changed while the study ran; "
                "run it again"
            )

    @cached_property
    def _fingerprint(self) -> str:
        return model_fingerprint(self.settings)


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model of the user's, such as a classifier, identified by its content."""

    path: Path

    def identity(self) -> str:
        """Return the folder's fingerprint."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return folder_fingerprint(self.path)


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How responses are drawn: the settings of [steer] that reward models are normalised with.

    ``engine`` is the name and version of the engine of [rollout]; None where ethosteer samples.
    """

    min_new_tokens: int
    max_new_tokens: int
    ignore_eos: bool
    temperature: float
    engine: str | None = None

    @classmethod
    def of(cls, steer: SteerSettings, rollout: RolloutSettings) -> SamplingSettings:
        """Select them from [steer] and [rollout]."""
        return cls(
            steer.min_new_tokens,
            steer.max_new_tokens,
            steer.ignore_eos,
            steer.temperature,
            rollout.sampler,
        )

    def sampling(self) -> Sampling:
        """Return them as the type that ``generate`` takes."""
        from ethosteer.models.generation import Sampling

        return Sampling(
            self.min_new_tokens,
            self.max_new_tokens,
            ignore_eos=self.ignore_eos,
            temperature=self.temperature,
        )


@dataclass(frozen=True, eq=False)
class Stage(ABC, Generic[Result]):
    """One piece of work, and the artifact it writes. Stages with the same fingerprint are equal."""

    kind: ClassVar[str]
    """The folder its artifacts are kept in."""
    version: ClassVar[int]
    """Raised when a change of its code makes stored artifacts stale."""
    runs_base: ClassVar[bool] = False
    """Whether its work runs texts through the base, which takes all processes that share one."""
    left_out: ClassVar[Mapping[str, str]] = {}
    """Fields and settings (``field.setting``) left out of the identity, with the reason."""
    is_separable: ClassVar[bool] = False
    """Whether each stage of a batch has the same numbers where it is made without the others."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name among the artifacts of its kind."""

    @cached_property
    def fingerprint(self) -> str:
        """The identity: a hash over version, kind, name and every field.

        An optional field, None by default, enters where it is set: stages that were stored before
        there was such a field stay valid.
        """
        left_out = self.exclusions()
        values = {
            name: _identity(value, name, left_out)
            for name, value in _fields_in_use(self).items()
            if name not in left_out
        }
        return fingerprint(self.version, self.kind, self.name, values)

    def identity(self) -> str:
        """Return the fingerprint, for the stages that read this one's artifact."""
        return self.fingerprint

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def exclusions(self) -> Mapping[str, str]:
        """Return what the identity leaves out; a subclass may add to ``left_out``."""
        return self.left_out

    def batch(self) -> Hashable:
        """Return a key: consecutive stages with the same key run together, as arms of a seed do."""
        return self.fingerprint

    @classmethod
    def title(cls, stages: Sequence[Self]) -> str:
        """Return what the work of ``stages``, which run together, is called on a terminal."""
        return f"{cls.kind} {', '.join(stage.name for stage in stages)}"

    @classmethod
    def run(cls, stages: Sequence[Self], workspace: Workspace) -> None:
        """Do the work of ``stages``, which have one ``batch`` key, and store every artifact.

        By default each runs by its ``make``, one after another.
        """
        for stage in stages:
            with (
                workspace.terminal.stage(cls.title([stage])) as progress,
                workspace.store.write(stage) as folder,
            ):
                stage.make(folder, workspace, progress)
                stage.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise InputError where a file that the stage reads was replaced since the study began.

        To be called after files were read and before what was made of them is stored: it is kept
        under the identity of the files as they were.
        """
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), PublishedFiles | RawBase):
                value.check_unchanged()

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Do the work of this stage alone, and write its artifact into ``folder``.

        A stage whose work is done together with others' overrides ``run`` and needs none.
        """
        raise NotImplementedError

    @abstractmethod
    def load(self, folder: Path) -> Result:
        """Read the result from the artifact's folder."""


def _fields_in_use(record: DataclassInstance) -> dict[str, object]:
    """Return a record's fields by name, without optional ones that are not set."""
    values = ((field, getattr(record, field.name)) for field in fields(record))
    return {
        field.name: value
        for field, value in values
        if not (value is None and field.default is None)
    }


def _identity(value: object, name: str, left_out: Mapping[str, str]) -> object:
    """Return the part of a field's value that enters the fingerprint, as JSON-able values."""
    if isinstance(value, PublishedFiles | HarnessTask | RawBase | ModelFolder | Stage):
        return value.identity()
    if isinstance(value, BaseModel):
        excluded = {key.removeprefix(f"{name}.") for key in left_out}
        return value.model_dump(mode="json", exclude=excluded)
    if isinstance(value, tuple):
        return [_identity(entry, name, left_out) for entry in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _fields_in_use(value)
    return value

"""Artifacts on disk: one folder for every finished stage, written whole or not at all.

An artifact is the folder ``KIND/NAME-FINGERPRINT``. It is filled under a temporary name, its
manifest is written last, and then it is renamed. So whatever has its final name is complete, and an
interrupted run leaves nothing that looks finished.

One process writes at a time, under the lock; or several workers do, each under its claims
(study/claims.py), with temporary names of their own.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from ethosteer import processes
from ethosteer.errors import InputError
from ethosteer.files import (
    DISK_FULL,
    fingerprint,
    publish_folder,
    remove,
    write_json,
    writing,
)
from ethosteer.stages.checkpoint_folders import (
    STEPS,
    checkpoint_folders,
    is_superfluous,
    steps_of,
)
from ethosteer.stages.lock import LOCK, is_locked, locked
from ethosteer.stages.manifest import (
    MANIFEST,
    DamagedArtifactError,
    Manifest,
    damaged_file,
    file_names,
    file_records,
    read_manifest,
)

Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result")


class Work(Protocol[Result_co]):
    """What the store uses of a stage (stage.py imports this module)."""

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """Its name among the artifacts of its kind."""

    @property
    def fingerprint(self) -> str:
        """Its identity."""

    def load(self, folder: Path) -> Result_co:
        """Read the result back from the artifact's folder."""


AnyWork = Work[Any]
W = TypeVar("W", bound=AnyWork)


def _say_nothing(_: str) -> None:
    pass


def _held() -> None:
    """Hold the work without a claim: the lock keeps all others out."""


@dataclass(frozen=True, slots=True)
class Store:
    """The artifacts of one study, below ``root``.

    An artifact is verified when it is first read: one that is not what was written counts as
    missing, of which ``say`` tells in one line. A worker has a name, ``writer``, by which its
    unfinished folders differ from others', and ``confirm`` raises where its claim is lost: it is
    called right before an artifact gets its name. Of processes that share a base the main one alone
    writes.
    """

    root: Path
    say: Callable[[str], None] = field(default=_say_nothing, repr=False, compare=False)
    writer: str = ""
    confirm: Callable[[], None] = field(default=_held, repr=False, compare=False)
    _manifests: dict[Path, Manifest] = field(default_factory=dict, repr=False, compare=False)
    _verified: set[Path] = field(default_factory=set, repr=False, compare=False)
    _damaged: dict[Path, tuple[str, int]] = field(default_factory=dict, repr=False, compare=False)
    """What is wrong with a folder, and the folder's inode: another worker may replace it."""

    def folder(self, stage: AnyWork) -> Path:
        """Return where a stage's artifact is kept, or will be."""
        return self.root / self.key(stage)

    def key(self, stage: AnyWork) -> str:
        """Return the path of a stage's artifact below the root, which identifies it."""
        return f"{stage.kind}/{stage.name}-{stage.fingerprint[:12]}"

    def has(self, stage: AnyWork) -> bool:
        """Return whether the artifact is there, with all of its files at their sizes."""
        folder = self.folder(stage)
        if self._known_damage(folder) or not folder.is_dir():
            return False
        if folder in self._manifests and (folder / MANIFEST).is_file():
            return True
        if fault := self._fault(stage):
            self._damaged[folder] = fault, _inode(folder)
            self.say(f"{fault}; this step counts as missing")
            return False
        return True

    def _known_damage(self, folder: Path) -> str | None:
        """Return what was noticed to be wrong with a folder, unless it was replaced since."""
        if folder not in self._damaged:
            return None
        fault, inode = self._damaged[folder]
        if _inode(folder) == inode:
            return fault
        del self._damaged[folder]
        self._manifests.pop(folder, None)
        self._verified.discard(folder)
        return None

    def damage(self, stage: AnyWork, *, hashes: bool = True) -> str | None:
        """Return what is wrong with a stage's artifact; None where nothing is, or none is there."""
        folder = self.folder(stage)
        if fault := self._known_damage(folder):
            return fault
        return self._fault(stage, hashes=hashes) if folder.is_dir() else None

    def missing(self, stages: Iterable[W]) -> list[W]:
        """Return the stages without an artifact."""
        return [stage for stage in stages if not self.has(stage)]

    def path(self, stage: AnyWork) -> Path:
        """Return the folder of an artifact that must be there, verified once.

        Raises LookupError if it is not there, DamagedArtifactError if it is not what was written,
        and InputError where a file is among its files that the stage did not write.
        """
        folder = self.folder(stage)
        if not self.has(stage) and folder not in self._damaged:
            raise LookupError(f"{self.key(stage)} has not been made")
        if folder in self._verified:
            return folder
        if fault := self.damage(stage):
            raise self._damaged_error(folder, fault)
        files = self._manifests[folder].files
        # a file that was added to a model's folder may change how it is loaded
        if files is not None and (added := sorted(file_names(folder) - files.keys())):
            raise InputError(f"{folder / added[0]}: was not stored by this study; delete it")
        self._verified.add(folder)
        return folder

    def load(self, stage: Work[Result]) -> Result:
        """Read the result of a finished stage."""
        folder = self.path(stage)
        try:
            return stage.load(folder)
        except Exception as fault:
            if self._manifests[folder].files is not None:
                raise  # it is what was written
            raise self._damaged_error(folder, f"{folder}: cannot be read: {fault}") from fault

    def _damaged_error(self, folder: Path, fault: str) -> DamagedArtifactError:
        """Have an artifact count as missing from now on; return the error to raise."""
        self._damaged[folder] = fault, _inode(folder)
        mend = "`ethosteer run` of this study makes it again"
        return DamagedArtifactError(f"{fault}; {mend}")

    def distrust(self, stages: Iterable[AnyWork]) -> None:
        """Count artifacts as missing until another process, which saw damage, replaces them."""
        for folder in map(self.folder, stages):
            self._damaged[folder] = f"{folder}: is damaged", _inode(folder)

    def seconds(self, stage: AnyWork) -> float:
        """Return how long a finished stage took."""
        if not self.has(stage):
            raise LookupError(f"{self.key(stage)} has not been made")
        return self._manifests[self.folder(stage)].seconds

    def together(self, stage: AnyWork) -> tuple[str, ...]:
        """Return the keys of the stages whose work was, or was begun as, one batch with a stage's.

        None are returned where results do not depend on the batch, and nothing was begun.
        """
        for folder in checkpoint_folders(self.root, stage.kind):
            if self.key(stage) in (keys := steps_of(folder)):
                return keys
        self.has(stage)
        manifest = self._manifests.get(self.folder(stage))
        return manifest.together if manifest else ()

    def _fault(self, stage: AnyWork, *, hashes: bool = False) -> str | None:
        """Compare a folder with its manifest; return one line that names the damaged file.

        Without ``hashes`` the files' sizes alone are compared.
        """
        folder = self.folder(stage)
        try:
            manifest = read_manifest(folder)
        except DamagedArtifactError as fault:
            return str(fault)
        self._manifests[folder] = manifest
        if manifest.fingerprint != stage.fingerprint:
            return f"{folder}: is damaged: {MANIFEST} is of another step"
        return damaged_file(folder, manifest, hashes=hashes)

    @contextmanager
    def checkpoints(self, stages: Sequence[AnyWork]) -> Iterator[Path]:
        """Yield the folder for checkpoints of the work that makes ``stages`` together.

        It is removed once all of them are stored.
        """
        folder = self.checkpoint_folder(stages)
        if not processes.is_main():
            yield folder
            return
        with writing(folder):
            if folder.is_symlink() or folder.is_file():
                remove(folder)
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in folder.glob(".*.part"):  # of a process that was killed
                remove(unfinished)
            write_json(folder / STEPS, list(map(self.key, stages)))
        yield folder
        if is_superfluous(folder):
            # a worker that was taken for dead may wake up and write here; ``tidy`` tries again
            with suppress(OSError):
                remove(folder)

    def checkpoint_folder(self, stages: Sequence[AnyWork]) -> Path:
        """Return the folder for checkpoints of stages, which is there while they are made."""
        identity = fingerprint([stage.fingerprint for stage in stages])
        return self.root / stages[0].kind / f".{stages[0].name}-{identity[:12]}.checkpoint"

    def tidy(self) -> None:
        """Remove checkpoints of stages that are all stored, and what a killed process was writing.

        To be called where no other process writes, and this one writes nothing: by the one that
        holds the lock, or by a worker once nothing is missing.
        """
        for folder in checkpoint_folders(self.root):
            if is_superfluous(folder) or not any(folder.glob("[!.]*")):
                remove(folder)
        for unfinished in self.root.glob("[!.]*/.*.part"):
            remove(unfinished)

    def fence(self, stages: Iterable[AnyWork]) -> None:
        """Move away what others were writing of stages that this worker has claimed.

        A worker that was taken for dead, and wakes up, has nothing left to give a name to.
        """
        for folder in map(self.folder, stages):
            others = list(folder.parent.iterdir()) if folder.parent.is_dir() else []
            for other in others:
                if other.name.startswith(f".{folder.name}.") and other.suffix == ".part":
                    fenced = folder.with_name(f".{secrets.token_hex(4)}.part")
                    with suppress(OSError):  # it was given its name, or its writer still adds to it
                        other.rename(fenced)
                        remove(fenced)

    def other_checkpoints(self, stages: Iterable[AnyWork]) -> list[Path]:
        """Return the folders with checkpoints of work that is not all among ``stages``.

        It was begun with other settings, and continues where they are set back.
        """
        keys = set(map(self.key, stages))
        return [folder for folder in checkpoint_folders(self.root) if set(steps_of(folder)) - keys]

    @contextmanager
    def write(
        self, stage: AnyWork, seconds: float | None = None, together: Sequence[AnyWork] = ()
    ) -> Iterator[Path]:
        """Yield an empty folder to fill; on success it becomes the stage's artifact.

        ``seconds`` is the time the work took where it was not done inside this block, ``together``
        the stages it was done with, where results depend on them by rounding. Raises InputError
        where the disk is full or cannot be written.
        """
        final = self.folder(stage)
        if not processes.is_main():
            with tempfile.TemporaryDirectory() as discarded:
                yield Path(discarded)
            return
        writer = f".{self.writer}" if self.writer else ""
        unfinished = final.with_name(f".{final.name}{writer}.part")
        with writing(final):
            remove(unfinished)
            unfinished.mkdir(parents=True)
        started = time.monotonic()
        try:
            with writing(final, DISK_FULL):
                yield unfinished
            with writing(final):
                manifest = Manifest(
                    stage.kind,
                    stage.name,
                    stage.fingerprint,
                    round(time.monotonic() - started if seconds is None else seconds, 3),
                    tuple(map(self.key, together)),
                    file_records(unfinished),
                ).summed()
                write_json(unfinished / MANIFEST, manifest)
                self.confirm()
                publish_folder(unfinished, final)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        self._damaged.pop(final, None)
        self._manifests[final] = manifest
        self._verified.add(final)

    def is_locked(self, seconds: float = 0.0) -> bool:
        """Return whether a process is running the study alone, for so many seconds already."""
        return is_locked(self.root / LOCK, seconds)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the study for this process.

        Raises InputError if another process has it, or the folder cannot be written.
        """
        return locked(self.root / LOCK)


def _inode(folder: Path) -> int:
    """Return a folder's inode; 0 where it is not there."""
    try:
        return folder.stat().st_ino
    except OSError:
        return 0

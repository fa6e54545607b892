"""Artifacts on disk: one folder for every finished stage, written whole or not at all.

An artifact is the folder ``KIND/NAME-FINGERPRINT``. It is filled under a temporary name, its
manifest is written last, and then it is renamed. So whatever has its final name is complete, and an
interrupted run leaves nothing that looks finished.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from filelock import FileLock, Timeout

from ethosteer import processes
from ethosteer.errors import InputError
from ethosteer.files import (
    DISK_FULL,
    fingerprint,
    publish,
    read_json,
    remove,
    write_json,
    writing,
)
from ethosteer.stages.manifest import (
    MANIFEST,
    DamagedArtifactError,
    Manifest,
    damaged_file,
    file_names,
    file_records,
    read_manifest,
)

LOCK = ".lock"
STEPS = "steps.json"
"""The artifacts that a folder of checkpoints is of."""

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


@dataclass(frozen=True, slots=True)
class Store:
    """The artifacts of one study, below ``root``.

    An artifact is verified when it is first read: one that is not what was written counts as
    missing, of which ``say`` tells in one line. Of several processes the main one alone writes.
    """

    root: Path
    say: Callable[[str], None] = field(default=_say_nothing, repr=False, compare=False)
    _manifests: dict[Path, Manifest] = field(default_factory=dict, repr=False, compare=False)
    _verified: set[Path] = field(default_factory=set, repr=False, compare=False)
    _damaged: dict[Path, str] = field(default_factory=dict, repr=False, compare=False)

    def folder(self, stage: AnyWork) -> Path:
        """Return where a stage's artifact is kept, or will be."""
        return self.root / self.key(stage)

    def key(self, stage: AnyWork) -> str:
        """Return the path of a stage's artifact below the root, which identifies it."""
        return f"{stage.kind}/{stage.name}-{stage.fingerprint[:12]}"

    def has(self, stage: AnyWork) -> bool:
        """Return whether the artifact is there, with all of its files at their sizes."""
        folder = self.folder(stage)
        if folder in self._damaged or not folder.is_dir():
            return False
        if folder in self._manifests and (folder / MANIFEST).is_file():
            return True
        if fault := self._fault(stage):
            self._damaged[folder] = fault
            self.say(f"{fault}; this step counts as missing")
            return False
        return True

    def damage(self, stage: AnyWork, *, hashes: bool = True) -> str | None:
        """Return what is wrong with a stage's artifact; None where nothing is, or none is there."""
        folder = self.folder(stage)
        if folder in self._damaged:
            return self._damaged[folder]
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
        self._damaged[folder] = fault
        mend = "`ethosteer run` of this study makes it again"
        return DamagedArtifactError(f"{fault}; {mend}")

    def follow(self, missing: Iterable[AnyWork]) -> None:
        """Take over what the process that writes knows: ``missing`` stages are to be made.

        Whatever else was seen to be damaged has been made again meanwhile.
        """
        for folder in self._damaged:
            self._manifests.pop(folder, None)
        self._damaged.clear()
        self._damaged.update({self.folder(stage): "it is to be made again" for stage in missing})

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
            if self.key(stage) in (keys := _read_keys(folder)):
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
            write_json(folder / STEPS, list(map(self.key, stages)))
        yield folder
        self.tidy()

    def checkpoint_folder(self, stages: Sequence[AnyWork]) -> Path:
        """Return the folder for checkpoints of stages, which is there while they are made."""
        identity = fingerprint([stage.fingerprint for stage in stages])
        return self.root / stages[0].kind / f".{stages[0].name}-{identity[:12]}.checkpoint"

    def tidy(self) -> None:
        """Remove checkpoints of stages that are all stored, and what a killed process was writing.

        To be called by the process that holds the lock, while it writes nothing.
        """
        for folder in checkpoint_folders(self.root):
            keys = _read_keys(folder)
            is_stored = keys and all((self.root / key / MANIFEST).is_file() for key in keys)
            if is_stored or not any(folder.glob("[!.]*")):
                remove(folder)
        for unfinished in self.root.glob("*/.*.part"):
            remove(unfinished)

    def other_checkpoints(self, stages: Iterable[AnyWork]) -> list[Path]:
        """Return the folders with checkpoints of work that is not all among ``stages``.

        It was begun with other settings, and continues where they are set back.
        """
        keys = set(map(self.key, stages))
        return [
            folder for folder in checkpoint_folders(self.root) if set(_read_keys(folder)) - keys
        ]

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
            self._damaged.pop(final, None)
            self._manifests.pop(final, None)
            return
        unfinished = final.with_name(f".{final.name}.part")
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
                remove(final)
                publish(unfinished, final)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        self._damaged.pop(final, None)
        self._manifests[final] = manifest
        self._verified.add(final)

    def is_locked(self) -> bool:
        """Return whether a process is running the study now."""
        if not (self.root / LOCK).is_file():
            return False
        try:
            with FileLock(self.root / LOCK, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that may only be read: no process can run the study in it
            return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for this process.

        Raises InputError if another process has it, or the folder cannot be written.
        """
        lock = FileLock(self.root / LOCK)
        with writing(self.root.parent):
            self.root.mkdir(parents=True, exist_ok=True)
            if (self.root / LOCK).is_symlink():
                remove(self.root / LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"{self.root.parent}: another process is running this study; wait for it or "
                    "use another --runs-dir"
                ) from None
        try:
            yield
        finally:
            lock.release()


def checkpoint_folders(root: Path, kind: str = "*") -> list[Path]:
    """Return the folders with checkpoints among the artifacts below ``root``, or of one kind."""
    return sorted(root.glob(f"{kind}/.*.checkpoint"))


def _read_keys(folder: Path) -> tuple[str, ...]:
    """Return the artifacts that a folder of checkpoints is of; none where it does not say."""
    try:
        return read_json(folder / STEPS, tuple[str, ...])
    except InputError:  # of an earlier version, or of a process killed before it had begun
        return ()

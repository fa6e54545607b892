"""Artifacts on disk: one folder for every finished stage, written whole or not at all.

An artifact is the folder ``KIND/NAME-FINGERPRINT``. It is filled under a temporary name, its
manifest is written last, and then it is renamed. So whatever has its final name is complete, and an
interrupted run leaves nothing that looks finished.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from filelock import FileLock, Timeout

from ethosteer.errors import InputError
from ethosteer.files import fingerprint, write_json

MANIFEST = "manifest.json"
LOCK = ".lock"

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


@dataclass(frozen=True, slots=True)
class Store:
    """The artifacts of one study, below ``root``."""

    root: Path

    def folder(self, stage: AnyWork) -> Path:
        """Return where a stage's artifact is kept, or will be."""
        return self.root / stage.kind / f"{stage.name}-{stage.fingerprint[:12]}"

    def has(self, stage: AnyWork) -> bool:
        """Return whether the artifact is there; an artifact is always complete."""
        return (self.folder(stage) / MANIFEST).is_file()

    def missing(self, stages: Iterable[W]) -> list[W]:
        """Return the stages without an artifact."""
        return [stage for stage in stages if not self.has(stage)]

    def path(self, stage: AnyWork) -> Path:
        """Return the folder of an artifact that must be there; LookupError if it is not."""
        if not self.has(stage):
            raise LookupError(f"{self.folder(stage).relative_to(self.root)} has not been made")
        return self.folder(stage)

    def load(self, stage: Work[Result]) -> Result:
        """Read the result of a finished stage."""
        return stage.load(self.path(stage))

    def seconds(self, stage: AnyWork) -> float:
        """Return how long a finished stage took."""
        return float(json.loads((self.path(stage) / MANIFEST).read_text("utf-8"))["seconds"])

    @contextmanager
    def checkpoints(self, stages: Sequence[AnyWork]) -> Iterator[Path]:
        """Yield the folder for checkpoints of the work that makes ``stages`` together.

        It is removed at the end of the block, and kept if the block is interrupted.
        """
        identity = fingerprint([stage.fingerprint for stage in stages])
        folder = self.root / stages[0].kind / f".{stages[0].name}-{identity[:12]}.checkpoint"
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def write(self, stage: AnyWork, seconds: float | None = None) -> Iterator[Path]:
        """Yield an empty folder to fill; on success it becomes the stage's artifact.

        ``seconds`` is the time the work took where it was not done inside this block.
        """
        final = self.folder(stage)
        unfinished = final.with_name(f".{final.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        started = time.monotonic()
        try:
            yield unfinished
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        manifest = {
            "stage": stage.kind,
            "name": stage.name,
            "fingerprint": stage.fingerprint,
            "seconds": round(time.monotonic() - started if seconds is None else seconds, 3),
        }
        write_json(unfinished / MANIFEST, manifest)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)

    def is_locked(self) -> bool:
        """Return whether a process is running the study now."""
        if not (self.root / LOCK).is_file():
            return False
        try:
            with FileLock(self.root / LOCK, timeout=0):
                return False
        except Timeout:
            return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for this process; InputError if another process has it."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"{self.root.parent}: another process is running this study; wait for it or use "
                "another --runs-dir"
            ) from None
        try:
            yield
        finally:
            lock.release()

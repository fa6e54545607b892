"""Artifacts on disk: named by fingerprint, written whole or not at all.

An artifact is a folder ``STAGE/NAME-FINGERPRINT``; it is filled under a temporary name, its
manifest is written last, and then it is renamed. So whatever has its final name is complete, and an
interrupted run leaves nothing that looks finished.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ethosteer.errors import InputError
from ethosteer.files import write_json
from ethosteer.records import Artifact

MANIFEST = "manifest.json"
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Store:
    """The artifacts of one study, below ``root``."""

    root: Path

    def folder(self, stage: str, name: str, identity: str) -> Path:
        """Return where an artifact stands, or will stand."""
        return self.root / stage / f"{name}-{identity[:12]}"

    def find(self, stage: str, name: str, identity: str) -> Artifact | None:
        """Return the artifact if it is there and whole."""
        path = self.folder(stage, name, identity)
        if not (path / MANIFEST).is_file():
            return None
        return Artifact(stage, name, identity, path)

    def get(self, stage: str, name: str, identity: str) -> Artifact:
        """Return an artifact that must be there (a fault of ours if it is not)."""
        artifact = self.find(stage, name, identity)
        if artifact is None:
            raise LookupError(f"{stage}/{name}-{identity[:12]} has not been made")
        return artifact

    def scratch(self, stage: str, name: str, identity: str) -> Path:
        """Return a folder for the checkpoints of unfinished work; ``write`` removes it."""
        path = self.root / stage / f".{name}-{identity[:12]}.checkpoint"
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def write(
        self,
        stage: str,
        name: str,
        identity: str,
        facts: Mapping[str, object] | None = None,
        seconds: float | None = None,
    ) -> Iterator[Path]:
        """Yield an empty folder to fill; on success it becomes the artifact.

        ``seconds`` is the time the work took where it was not done inside this block.
        """
        final = self.folder(stage, name, identity)
        part = final.with_name(f".{final.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        started = time.monotonic()
        try:
            yield part
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        manifest = {
            "stage": stage,
            "name": name,
            "fingerprint": identity,
            "seconds": round(time.monotonic() - started if seconds is None else seconds, 3),
            "facts": dict(facts or {}),
        }
        write_json(part / MANIFEST, manifest)
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
        shutil.rmtree(
            final.with_name(f".{name}-{identity[:12]}.checkpoint"),
            ignore_errors=True,
        )

    def seconds(self, artifact: Artifact) -> float:
        """Return how long the artifact took to make."""
        return float(json.loads((artifact.path / MANIFEST).read_text("utf-8"))["seconds"])

    def is_locked(self) -> bool:
        """Say whether some process is running the study now."""
        if not (self.root / LOCK).is_file():
            return False
        try:
            with FileLock(self.root / LOCK, timeout=0):
                return False
        except Timeout:
            return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for this process; InputError if another one runs it."""
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

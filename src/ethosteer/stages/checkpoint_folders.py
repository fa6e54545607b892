"""The folders beside artifacts with the checkpoints of work that is not stored yet."""

from __future__ import annotations

from pathlib import Path

from ethosteer.errors import InputError
from ethosteer.files import read_json
from ethosteer.stages.manifest import MANIFEST

STEPS = "steps.json"
"""The artifacts that a folder of checkpoints is of."""


def checkpoint_folders(root: Path, kind: str = "*") -> list[Path]:
    """Return the folders with checkpoints among the artifacts below ``root``, or of one kind."""
    return sorted(root.glob(f"{kind}/.*.checkpoint"))


def steps_of(folder: Path) -> tuple[str, ...]:
    """Return the artifacts that a folder of checkpoints is of; none where it does not say."""
    try:
        return read_json(folder / STEPS, tuple[str, ...])
    except InputError:  # of an earlier version, or of a process killed before it had begun
        return ()


def is_superfluous(folder: Path) -> bool:
    """Return whether all artifacts that a folder of checkpoints is of are stored."""
    root, keys = folder.parents[1], steps_of(folder)
    return bool(keys) and all((root / key / MANIFEST).is_file() for key in keys)

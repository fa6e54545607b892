"""What a study preregistered of its tests before it knew an outcome, and what changed since."""

from __future__ import annotations

import json
from pathlib import Path

from ethosteer.files import write_json
from ethosteer.settings import CompareSettings

PREREGISTERED = "preregistered.json"
FREE = {"resamples", "overlap_ngram", "published"}
"""Settings of [compare] that no verdict hangs on: they may change at any time."""


def preregister(compare: CompareSettings, folder: Path, *, outcomes_known: bool) -> None:
    """Keep the settings of the tests, unless some are kept or outcomes are known already."""
    path = folder / PREREGISTERED
    if not path.is_file() and not outcomes_known:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, compare.model_dump(mode="json", exclude=FREE))


def changed_since(compare: CompareSettings, folder: Path) -> tuple[str, ...]:
    """Name the settings of the tests that differ from those preregistered."""
    path = folder / PREREGISTERED
    if not path.is_file():
        return ()
    before = json.loads(path.read_text("utf-8"))

    def shown(value: object) -> str:
        return "none" if value is None else str(value)

    return tuple(
        f"compare.{name} (preregistered {shown(before.get(name))}, now {shown(value)})"
        for name, value in compare.model_dump(mode="json", exclude=FREE).items()
        if before.get(name) != value
    )

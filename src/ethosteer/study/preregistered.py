"""What a study declared of its tests before it knew an outcome, and what was changed since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ethosteer.files import write_json
from ethosteer.stages.workspace import Workspace

DECLARED = "declared.json"
OPEN_TO_CHANGE = ("resamples", "overlap_ngram", "published")
"""Settings of [compare] that no verdict hangs on."""


def declare(work: Workspace) -> None:
    """Keep the settings of the tests, unless some are kept or outcomes are known already."""
    path = _path(work)
    known = any(work.is_done(step) for step in work.plan.evaluation.values())
    if not path.is_file() and not known:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, _settings(work))


def undeclared(work: Workspace) -> tuple[str, ...]:
    """Say which settings of the tests are others than were declared before outcomes were known."""
    path = _path(work)
    if not path.is_file():
        return ()
    declared: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return tuple(_changes(declared, _settings(work)))


def _path(work: Workspace) -> Path:
    return work.store.root / DECLARED


def _settings(work: Workspace) -> dict[str, Any]:
    own = work.config.compare.model_dump(mode="json")
    return {name: value for name, value in own.items() if name not in OPEN_TO_CHANGE}


def _changes(declared: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for name, value in now.items():
        before = declared.get(name)
        if before != value:
            yield f"compare.{name} (declared {_said(before)}, now {_said(value)})"


def _said(value: object) -> str:
    return "none" if value is None else str(value)

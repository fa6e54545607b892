"""A file's rows as pairs and drops, without a study."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ethosteer.data.formats.dataset import file_dataset
from ethosteer.data.pair_sets import Description, Dropped
from ethosteer.records import PreferencePair
from ethosteer.settings import ArmSettings


def jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(path: Path, **settings: Any) -> tuple[list[PreferencePair], dict[str, int]]:
    """Return the pairs of a file, and how many entries were dropped for each reason."""
    arm = ArmSettings(file=str(path), **settings)
    dataset = file_dataset("mine", arm)
    made = list(dataset.pairs(dataset.rows(path), arm.pairs_per_group))
    dropped = Counter(entry.reason for entry in made if isinstance(entry, Dropped))
    return [entry for entry in made if isinstance(entry, PreferencePair)], dict(dropped)


def describe(path: Path, **settings: Any) -> Description:
    dataset = file_dataset("mine", ArmSettings(file=str(path), **settings))
    assert dataset.describe is not None
    return dataset.describe(list(dataset.rows(path)))


def texts(pairs: Iterable[PreferencePair]) -> list[tuple[str, str, str]]:
    return [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs]

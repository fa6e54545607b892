"""The settings of its tests that a study preregistered, and those changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ethosteer.errors import InputError
from ethosteer.files import fingerprint, make_folder, read_json, write_json
from ethosteer.settings import CompareSettings

PREREGISTERED = "preregistered.json"
CHECKSUM = "checksum"
FREE = {"resamples", "overlap_ngram", "published"}
"""Settings of [compare] that are not preregistered: no rule of a verdict depends on them."""


def preregister(compare: CompareSettings, folder: Path, *, outcomes_known: bool) -> None:
    """Store the settings of the tests, unless settings are stored or outcomes known already."""
    path = folder / PREREGISTERED
    if not path.is_file() and not outcomes_known:
        make_folder(folder)
        chosen = compare.model_dump(mode="json", exclude=FREE)
        write_json(path, chosen | {CHECKSUM: fingerprint(chosen)})


def changed_since(compare: CompareSettings, folder: Path) -> tuple[str, ...]:
    """Name the settings of the tests that differ from those preregistered."""
    path = folder / PREREGISTERED
    if not path.is_file():
        return ()
    try:
        before = read_json(path, dict[str, Any])
        checksum = before.pop(CHECKSUM, None)  # earlier versions wrote none
        if checksum is not None and checksum != fingerprint(before):
            raise InputError(f"{path}: is damaged: it is not what was written")
    except InputError as fault:
        raise InputError(
            f"{fault}; restore the file, or delete it: then no setting counts as changed"
        ) from fault

    def shown(value: object) -> str:
        return "none" if value is None else str(value)

    return tuple(
        f"compare.{name} (preregistered {shown(before.get(name))}, now {shown(value)})"
        for name, value in compare.model_dump(mode="json", exclude=FREE).items()
        if before.get(name) != value
    )

"""The judgements that ``ethosteer collection export`` writes: one row each.

Only first looks at pairs count. Hidden repeats, gold and practice pairs measure annotators, a flag
says that a pair is unfit, and what was undone is not the annotator's opinion: such rows are dropped
by reason. A tie is a judgement for neither answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ethosteer.data.formats.base import Columns, Entry, Format
from ethosteer.data.formats.comparisons import COMPARISON
from ethosteer.data.pair_sets import Dropped
from ethosteer.data.readers import Row
from ethosteer.errors import InputError

EXPORT = "export"
"""The folder of a collection's export, in that of the collection."""
JUDGEMENTS = "judgements.jsonl"
MARKS = {"assignment", "selection", "preference", "flagged", "withdrawn"}
"""Columns that no other format has."""
LEFT_OUT = {"repeat": "hidden repeat", "gold": "gold pair", "practice": "practice pair"}


def judgements_file(path: Path) -> Path:
    """Return the file of judgements that ``path`` names: itself, an export's, or a collection's.

    A study reads an export, not the database: that goes on changing, and a file counts by its hash.
    Raises InputError for a collection that has not been exported.
    """
    if not path.is_dir():
        return path
    exported = [path / JUDGEMENTS, path / EXPORT / JUDGEMENTS]
    for file in exported:
        if file.is_file():
            return file
    raise InputError(f"{path}: has no {JUDGEMENTS}; `ethosteer collection export {path}` writes it")


def _names(columns: Columns) -> dict[str, str] | None:
    return COMPARISON.names(columns) if set(columns.names) >= MARKS else None


def _read(rows: Sequence[Row]) -> Iterator[Entry]:
    counted = []
    for row in rows:
        reason = LEFT_OUT.get(str(row.value("selection")))
        if row.value("withdrawn") is not None:
            reason = "undone"
        elif reason is None and row.value("flagged"):
            reason = "flagged"
        if reason is None:
            counted.append(row)
        else:
            yield Dropped(row.line, reason)
    yield from COMPARISON.read(counted)


COLLECTED = Format("judgements of `ethosteer collect`", _names, _read)

"""Label Studio's JSON export: tasks with ``data`` and ``annotations``.

Its short forms (JSON_MIN, CSV) are comparisons like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter

from ethosteer.data.formats.base import Columns, Entry, Format
from ethosteer.data.formats.nested import Given, checked, entries
from ethosteer.data.readers import Row


class Region(BaseModel):
    """One thing that an annotator said: a side, choices or a rating."""

    from_name: str | None = None
    to_name: Any = None
    value: dict[str, Any] = {}


class Annotation(BaseModel):
    """What one annotator said of a task; ``completed_by`` is a number or a user's record."""

    completed_by: Any = None
    was_cancelled: bool | None = None
    result: list[Region] | None = None


DATA = TypeAdapter(dict[str, Any])
ANNOTATIONS = TypeAdapter(list[Annotation])


def _names(columns: Columns) -> dict[str, str] | None:
    return dict(columns.named) if {"data", "annotations"} <= set(columns.names) else None


def _read(rows: Sequence[Row]) -> Iterator[Entry]:
    for row in rows:
        given: list[Given] = []
        data, annotations = checked(row, "data", DATA), checked(row, "annotations", ANNOTATIONS)
        for number, annotation in enumerate(annotations, start=1):
            judged = _judgement(row, annotation.result or ())
            if judged is not None and not annotation.was_cancelled:
                given.append((_who(annotation.completed_by, number), judged))
        yield from entries(row, data, given)


def _who(user: object, number: int) -> str:
    if isinstance(user, dict):
        user = user.get("id") or user.get("email")
    return f"annotator {number}" if user is None else str(user)


def _judgement(row: Row, regions: Sequence[Region]) -> object:
    """Return the side selected, the choice made, or the ratings by the answer's name."""
    named = row.names.get("winner")
    ratings: dict[str, object] = {}
    for region in regions:
        if named is not None and region.from_name != named:
            continue
        if "selected" in region.value:
            return region.value["selected"]
        choices = region.value.get("choices")
        if isinstance(choices, list) and choices:
            return choices[0]
        if "rating" in region.value:
            ratings[str(region.to_name)] = region.value["rating"]
    return ratings or None


LABEL_STUDIO = Format("Label Studio export", _names, _read)

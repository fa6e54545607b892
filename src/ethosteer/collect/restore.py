"""Import: the files of an export become a collection again, with all of its judgements.

Invitations and sessions are not exported, since only hashes of their tokens are known. A person who
goes on after an import is a new annotator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, func, insert, select

from ethosteer.collect.database import opened
from ethosteer.collect.export import (
    COLLECTION,
    PAIRS,
    VERSION,
    CollectionRecord,
    judgement_row,
)
from ethosteer.collect.pool import row_pairs
from ethosteer.collect.queries import insert_pool
from ethosteer.collect.records import Annotator, Judgement, Pair
from ethosteer.collect.schema import ID_LENGTH, annotators, assignments, judgements
from ethosteer.collect.store import LARGEST_SECONDS, Store
from ethosteer.data.formats.collected import JUDGEMENTS
from ethosteer.data.formats.files import read_rows
from ethosteer.data.readers import Row, quoted
from ethosteer.errors import InputError
from ethosteer.files import read_json

_JUDGEMENT = TypeAdapter(Judgement)
_COLUMNS = {"pair_key": "pair"}
"""Fields of a judgement whose column has another name."""


def restore(folder: Path, url: str) -> Store:
    """Make a collection at ``url`` of the files that ``export`` wrote into ``folder``.

    Raises InputError, with file and row, for what is missing, damaged or contradicts itself, and
    where there is a collection at ``url`` already; then nothing is written.
    """
    if not (folder / COLLECTION).is_file():
        raise InputError(f"{folder}: is no export, since it has no {COLLECTION}")
    record = read_json(folder / COLLECTION, CollectionRecord)
    if record.version > VERSION:
        raise InputError(
            f"{folder / COLLECTION}: was written by a newer version of ethosteer; update ethosteer"
        )
    pairs = _pairs(folder / PAIRS)
    made = _judgements(folder / JUDGEMENTS, pairs, {entry.id for entry in record.annotators})
    with opened(url) as database, database.creating() as connection:
        numbers = insert_pool(connection, record.settings, list(pairs.values()))
        _insert_annotators(connection, record.annotators)
        _insert_judgements(connection, made, numbers)
    return Store(database)


def _pairs(path: Path) -> dict[str, Pair]:
    pairs: dict[str, Pair] = {}
    for row in read_rows(path):
        made, *others = row_pairs(row)
        if isinstance(made, str) or others:
            raise row.fail("is no pair that can be judged; was the row changed?")
        if made.key != row.value("key"):
            raise row.fail("column 'key' is not the key of these texts; was the row changed?")
        if made.key in pairs:
            raise row.fail(f"the pair {made.key} is there twice")
        pairs[made.key] = made
    return pairs


def _judgements(path: Path, pairs: Mapping[str, Pair], known: set[int]) -> list[Judgement]:
    made: dict[str, Judgement] = {}
    for row in read_rows(path):
        judgement = _judgement(row)
        if judgement.pair_key not in pairs:
            raise row.fail(f"the pair {quoted(judgement.pair_key)} is not in {PAIRS}")
        if judgement.annotator not in known:
            raise row.fail(f"annotator {judgement.annotator} is not in {COLLECTION}")
        if judgement.assignment in made:
            raise row.fail(f"the assignment {quoted(judgement.assignment)} is there twice")
        expected = judgement_row(judgement, pairs[judgement.pair_key])
        for column in ("prompt", "response_a", "response_b", "winner"):
            if row.value(column) != expected[column]:
                raise row.bad(column, "contradicts the pair or the preference of this row")
        made[judgement.assignment] = judgement
    return list(made.values())


def _judgement(row: Row) -> Judgement:
    fields = {
        name: row.value(_COLUMNS.get(name, name))
        for name in Judgement.__dataclass_fields__
        if _COLUMNS.get(name, name) in row.fields
    }
    try:
        judgement = _JUDGEMENT.validate_python(fields)
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        name = str(error["loc"][0]) if error["loc"] else ""
        raise row.fail(f"column {_COLUMNS.get(name, name)!r}: {error['msg']}") from fault
    if judgement.preference is None and not judgement.flagged:
        raise row.fail("has neither a preference nor a flag")
    if not 0 <= judgement.seconds <= LARGEST_SECONDS:
        raise row.bad("seconds", f"must be a number from 0 to {LARGEST_SECONDS:g}")
    if not 0 < len(judgement.assignment) <= ID_LENGTH:
        raise row.bad("assignment", f"must have 1 to {ID_LENGTH} characters")
    for time in (judgement.judged, judgement.withdrawn):
        if time is not None and time.tzinfo is None:
            raise row.fail(f"the time {time.isoformat()} has no time zone")
    return judgement


def _insert_annotators(connection: Connection, known: Sequence[Annotator]) -> None:
    # an annotator without a name was deleted, or is exported without; either has no session
    rows = [{"id": entry.id, "name": entry.name, "joined": entry.joined} for entry in known]
    if rows:
        connection.execute(insert(annotators), rows)
    if rows and connection.dialect.name == "postgresql":  # which counts on from the last it gave
        sequence = func.pg_get_serial_sequence("annotators", "id")
        connection.execute(select(func.setval(sequence, max(entry.id for entry in known))))


def _insert_judgements(
    connection: Connection, made: Sequence[Judgement], numbers: Mapping[str, int]
) -> None:
    shown: list[dict[str, Any]] = []
    judged: list[dict[str, Any]] = []
    for entry in made:
        shown.append(
            {
                "id": entry.assignment,
                "annotator_id": entry.annotator,
                "pair_id": numbers[entry.pair_key],
                "first_is_left": entry.first_is_left,
                "selection": entry.selection,
                "assigned": _assigned(entry),
            }
        )
        judged.append(
            {
                "assignment": entry.assignment,
                "preference": entry.preference,
                "flagged": entry.flagged,
                "reason": entry.reason,
                "seconds": entry.seconds,
                "judged": entry.judged,
                "withdrawn": entry.withdrawn,
            }
        )
    for table, rows in ((assignments, shown), (judgements, judged)):
        if rows:
            connection.execute(insert(table), rows)


def _assigned(entry: Judgement) -> datetime:
    return entry.judged - timedelta(seconds=entry.seconds)

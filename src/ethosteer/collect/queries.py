"""What the store asks of the tables, and how their rows become records."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, insert, or_, select

from ethosteer.collect.records import (
    Annotator,
    Assignment,
    CollectionSettings,
    History,
    Invitation,
    Judgement,
    Pair,
    Shown,
)
from ethosteer.collect.schema import (
    annotators,
    assignments,
    collection,
    invitations,
    judgements,
    pairs,
)
from ethosteer.files import from_json, to_json

IS_OPEN = judgements.c.number.is_(None)
COUNTS = and_(judgements.c.number.is_not(None), judgements.c.withdrawn.is_(None))
"""Whether an assignment, joined with its judgement, is open, and whether it was judged."""
_joined = assignments.outerjoin(judgements, judgements.c.assignment == assignments.c.id)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def insert_pool(
    connection: Connection, settings: CollectionSettings, pool: Sequence[Pair]
) -> dict[str, int]:
    """Fill the tables of a new collection; return the pairs' numbers by their keys."""
    settings_row = {"id": 1, "created": utc_now(), "settings": to_json(settings)}
    connection.execute(insert(collection).values(settings_row))
    # JSON in ASCII, which every database takes whatever the texts hold
    rows = [
        {"id": number, "key": pair.key, "kind": pair.kind, "content": json.dumps(asdict(pair))}
        for number, pair in enumerate(pool, start=1)
    ]
    if rows:
        connection.execute(insert(pairs), rows)
    return {pair.key: number for number, pair in enumerate(pool, start=1)}


def read_pairs(connection: Connection) -> dict[int, Pair]:
    """Return the pool by the pairs' numbers."""
    rows = connection.execute(select(pairs.c.id, pairs.c.content).order_by(pairs.c.id))
    return {number: from_json(content, Pair, f"pair {number}") for number, content in rows}


def read_judgements(connection: Connection, withdrawn: bool) -> list[Judgement]:
    """Return all judgements in the order in which they came."""
    columns = (
        judgements.c.assignment,
        assignments.c.annotator_id.label("annotator"),
        pairs.c.key.label("pair_key"),
        judgements.c.preference,
        judgements.c.flagged,
        judgements.c.reason,
        assignments.c.first_is_left,
        assignments.c.selection,
        judgements.c.seconds,
        judgements.c.judged,
        judgements.c.withdrawn,
    )
    asked = (
        select(*columns)
        .join_from(judgements, assignments)
        .join(pairs)
        .order_by(judgements.c.number)
    )
    if not withdrawn:
        asked = asked.where(judgements.c.withdrawn.is_(None))
    return [Judgement(**row) for row in connection.execute(asked).mappings()]


def annotator_of(row: Row[Any]) -> Annotator:
    """Return a row of the table of annotators as a record."""
    return Annotator(row.id, row.name, row.joined)


def read_annotators(connection: Connection) -> list[Annotator]:
    """Return the annotators by number."""
    return list(map(annotator_of, connection.execute(select(annotators).order_by("id"))))


def locked_annotator(connection: Connection, annotator_id: int) -> Annotator | None:
    """Return an annotator, whose judgements wait for this transaction; None where deleted."""
    row = connection.execute(
        select(annotators)
        .where(annotators.c.id == annotator_id, annotators.c.deleted.is_(None))
        .with_for_update()
    ).first()
    return None if row is None else annotator_of(row)


def invitation_of(row: Row[Any]) -> Invitation:
    """Return a row of the table of invitations as a record."""
    return Invitation(row.id, row.note, row.created, row.annotator_id, row.revoked is not None)


def invitation_with(digest: str) -> Select[Any]:
    """Return the query for the invitation that has a token's hash and is not revoked."""
    return select(invitations).where(
        invitations.c.token_hash == digest, invitations.c.revoked.is_(None)
    )


def find_assignment(
    connection: Connection, annotator_id: int, pool: Mapping[int, Pair], *which: ColumnElement[bool]
) -> Assignment | None:
    """Return an annotator's newest assignment that meets the conditions; None where there is none.

    Of several open ones the newest is the one that undoing opened last.
    """
    row = connection.execute(
        select(assignments)
        .select_from(_joined)
        .where(assignments.c.annotator_id == annotator_id, *which)
        .order_by(assignments.c.number.desc())
        .limit(1)
    ).first()
    return None if row is None else assignment_of(row, pool)


def assignment_of(row: Row[Any], pool: Mapping[int, Pair]) -> Assignment:
    """Return a row of the table of assignments as a record."""
    return Assignment(
        row.id, row.annotator_id, pool[row.pair_id], row.first_is_left, row.selection, row.assigned
    )


def answer_number(connection: Connection, annotator_id: int, assignment_id: str) -> int | None:
    """Return the number of an assignment's judgement, 0 while it is open.

    None where the annotator has no such assignment.
    """
    row = connection.execute(
        select(judgements.c.number)
        .select_from(_joined)
        .where(assignments.c.annotator_id == annotator_id, assignments.c.id == assignment_id)
    ).first()
    return None if row is None else row.number or 0


def last_judged(connection: Connection, annotator_id: int) -> Row[Any] | None:
    """Return the assignment of an annotator's last judgement that is not withdrawn."""
    return connection.execute(
        select(assignments)
        .select_from(_joined)
        .where(assignments.c.annotator_id == annotator_id, COUNTS)
        .order_by(judgements.c.number.desc())
        .limit(1)
    ).first()


def shown_to(
    connection: Connection, annotator_id: int, pool: Mapping[int, Pair]
) -> tuple[Shown, ...]:
    """Return what an annotator has seen, in order, withdrawn judgements left out."""
    rows = connection.execute(
        select(
            assignments.c.pair_id,
            assignments.c.selection,
            assignments.c.first_is_left,
            judgements.c.number,
            judgements.c.preference,
        )
        .select_from(_joined)
        .where(assignments.c.annotator_id == annotator_id, judgements.c.withdrawn.is_(None))
        .order_by(assignments.c.number)
    )
    return tuple(
        Shown(pool[row.pair_id].key, row.selection, row.first_is_left, row.number is not None,
              row.preference)
        for row in rows
    )  # fmt: skip


def history(
    connection: Connection, annotator_id: int, pool: Mapping[int, Pair], opened_after: datetime
) -> History:
    """Return what the choice of an annotator's next pair depends on.

    Assignments that are open since before ``opened_after`` count as abandoned.
    """
    # counted by the database, since every judgement of the collection would be read each time
    kinds = connection.execute(
        select(assignments.c.pair_id, judgements.c.preference, func.count())
        .select_from(_joined)
        .where(
            assignments.c.selection != "repeat",
            or_(COUNTS, and_(IS_OPEN, assignments.c.assigned > opened_after)),
        )
        .group_by(assignments.c.pair_id, judgements.c.preference)
        .order_by(assignments.c.pair_id, judgements.c.preference)
    )
    counts: dict[str, int] = defaultdict(int)
    preferences: dict[str, tuple[Any, ...]] = defaultdict(tuple)
    for pair_id, preference, count in kinds:
        key = pool[pair_id].key
        counts[key] += count
        if preference is not None:
            preferences[key] += (preference,) * count
    shown = shown_to(connection, annotator_id, pool)
    return History(shown, dict(counts), dict(preferences))

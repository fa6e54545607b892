"""A collection's database: every method is one transaction, durable before it returns."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from random import Random
from typing import Any, Literal, Self

from sqlalchemy import Connection, Row, delete, insert, select, update

from ethosteer.collect import choice
from ethosteer.collect.access import Access, storable
from ethosteer.collect.database import opened
from ethosteer.collect.queries import (
    IS_OPEN,
    answer_number,
    assignment_of,
    find_assignment,
    history,
    insert_pool,
    last_judged,
    locked_annotator,
    read_annotators,
    read_judgements,
    read_pairs,
    shown_to,
    utc_now,
)
from ethosteer.collect.records import (
    Annotator,
    Assignment,
    CollectionSettings,
    History,
    Judgement,
    Pair,
    Preference,
    Progress,
    Selection,
)
from ethosteer.collect.schema import (
    annotators,
    assignments,
    collection,
    invitations,
    judgements,
    sessions,
)
from ethosteer.files import from_json

Judged = Literal["stored", "already", "unknown"]

ABANDONED = timedelta(hours=1)
"""An assignment that is open for longer no longer keeps its pair from others."""
LARGEST_SECONDS = 86_400.0
"""Of a judgement; a pair that was visible for longer counts as visible for so long."""


class Store(Access):
    """One collection. Its methods may be called from any thread, and by several processes at once.

    Tokens are random; of each only the SHA-256 is stored. A method raises InputError, in one line,
    where the database cannot be reached or written.
    """

    @classmethod
    def create(cls, url: str, settings: CollectionSettings, pool: Sequence[Pair]) -> Store:
        """Make a collection in the database at ``url`` and open it.

        ``url`` is of SQLAlchemy's form, or the path of an SQLite file.

        Raises InputError where the database has one already, or cannot be reached or written.
        """
        with opened(url) as database, database.creating() as connection:
            insert_pool(connection, settings, pool)
        return cls(database)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open a collection; an older schema is migrated.

        Raises InputError where there is no collection, or one of a newer version.
        """
        with opened(url) as database:
            database.migrate()
        return cls(database)

    @property
    def name(self) -> str:
        """The database's file, or its URL without the password."""
        return self._database.name

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def settings(self) -> CollectionSettings:
        """What the collection asks of its annotators."""
        with self._database.reading() as connection:
            text = connection.execute(select(collection.c.settings)).scalar_one()
        return from_json(text, CollectionSettings, f"{self.name}: settings")

    @cached_property
    def _pool(self) -> dict[int, Pair]:
        # a pool never changes, so it is read once
        with self._database.reading() as connection:
            return read_pairs(connection)

    @cached_property
    def _pair_ids(self) -> dict[str, int]:
        return {pair.key: number for number, pair in self._pool.items()}

    @cached_property
    def _texts(self) -> dict[str, tuple[object, ...]]:
        return {
            pair.key: (pair.prompt, *sorted((pair.first.text, pair.second.text)))
            for pair in self._pool.values()
        }

    def _candidates(self, past: History) -> list[Pair]:
        """Return the pool without pairs that read like one that the annotator has seen.

        Two arms may give the same answer to a prompt; their pairs with a third are alike.
        """
        keys = {shown.pair_key for shown in past.shown if shown.selection != "practice"}
        seen = {self._texts[key] for key in keys}
        return [
            pair
            for pair in self._pool.values()
            if pair.key in keys or pair.kind == "practice" or self._texts[pair.key] not in seen
        ]

    def pairs(self) -> list[Pair]:
        """Return the pool: pairs, gold and practice pairs, in the order in which they came."""
        return list(self._pool.values())

    def judgements(self, withdrawn: bool = False) -> list[Judgement]:
        """Return the judgements in the order in which they came.

        With ``withdrawn`` also those that were undone.
        """
        with self._database.reading() as connection:
            return read_judgements(connection, withdrawn)

    def annotators(self) -> list[Annotator]:
        """Return the annotators by number, those included whose name was deleted (then "")."""
        with self._database.reading() as connection:
            return read_annotators(connection)

    def current(self, annotator_id: int) -> Assignment | None:
        """Return the annotator's open assignment, the newest where undoing opened several."""
        with self._database.reading() as connection:
            return find_assignment(connection, annotator_id, self._pool, IS_OPEN)

    def assignment(self, annotator_id: int, assignment_id: str) -> Assignment | None:
        """Return an assignment of this annotator, open or judged; None where there is none."""
        with self._database.reading() as connection:
            return find_assignment(
                connection, annotator_id, self._pool, assignments.c.id == assignment_id
            )

    def assign(self, annotator_id: int) -> Assignment | None:
        """Return the open assignment, or a new one; None where nothing is left to judge."""
        pool, settings = self._pool, self.settings
        with self._database.writing() as connection:
            # one at a time, or two annotators could get a pair that only one more is to judge
            connection.execute(select(collection.c.id).with_for_update())
            if locked_annotator(connection, annotator_id) is None:
                return None
            opened = find_assignment(connection, annotator_id, pool, IS_OPEN)
            if opened is not None:
                return opened
            past = history(connection, annotator_id, pool, utc_now() - ABANDONED)
            rng = Random(f"{settings.seed} {annotator_id} {len(past.shown)}")
            chosen = choice.choose(self._candidates(past), past, settings, rng)
            if chosen is None:
                return None
            pair, selection = chosen
            first_is_left = rng.random() < 0.5
            if selection == "repeat":
                first_is_left = not next(
                    shown.first_is_left for shown in past.shown if shown.pair_key == pair.key
                )
            row = self._opened(
                connection, annotator_id, self._pair_ids[pair.key], first_is_left, selection
            )
        return assignment_of(row, pool)

    def judge(
        self,
        annotator_id: int,
        assignment_id: str,
        preference: Preference | None,
        flagged: bool = False,
        reason: str = "",
        *,
        seconds: float,
    ) -> Judged:
        """Store a judgement; it is on the disk when this returns.

        ``preference`` is for the pair's first answer, wherever that was shown, and None only where
        the pair is flagged (else ValueError). "already": the assignment was judged before, also
        where that was undone, and nothing changes. "unknown": there is no such assignment of this
        annotator.
        """
        if preference not in {-2, -1, 0, 1, 2, None} or (preference is None and not flagged):
            raise ValueError(f"no preference: {preference!r}")
        with self._database.writing() as connection:
            if locked_annotator(connection, annotator_id) is None:
                return "unknown"
            answered = answer_number(connection, annotator_id, assignment_id)
            if answered is None:
                return "unknown"
            if answered:
                return "already"
            connection.execute(
                insert(judgements).values(
                    assignment=assignment_id,
                    preference=preference,
                    flagged=flagged,
                    reason=storable(reason),
                    seconds=min(max(seconds, 0.0), LARGEST_SECONDS),
                    judged=utc_now(),
                )
            )
        return "stored"

    def undo(self, annotator_id: int) -> Assignment | None:
        """Withdraw the last judgement and open its pair again, as a new assignment.

        The new assignment has the same pair, sides and selection but another id, so that a form
        that is sent again changes nothing. None where there is nothing to undo.
        """
        with self._database.writing() as connection:
            if locked_annotator(connection, annotator_id) is None:
                return None
            last = last_judged(connection, annotator_id)
            if last is None:
                return None
            connection.execute(
                update(judgements)
                .where(judgements.c.assignment == last.id)
                .values(withdrawn=utc_now())
            )
            row = self._opened(
                connection, annotator_id, last.pair_id, last.first_is_left, last.selection
            )
        return assignment_of(row, self._pool)

    def progress(self, annotator_id: int) -> Progress:
        """Return how far an annotator is."""
        pool, settings = self._pool, self.settings
        with self._database.reading() as connection:
            if settings.goal is None:
                past = history(connection, annotator_id, pool, utc_now() - ABANDONED)
            else:  # nothing depends on the others, whose judgements take longer to count
                past = History(shown_to(connection, annotator_id, pool))
        judged = [shown for shown in past.shown if shown.judged]
        practised = {shown.pair_key for shown in judged if shown.selection == "practice"}
        practice = {pair.key for pair in pool.values() if pair.kind == "practice"}
        done = sum(shown.selection != "practice" for shown in judged)
        goal = settings.goal
        if goal is None:
            answered = {shown.pair_key for shown in judged}
            opened = {shown.pair_key for shown in past.shown} - answered
            goal = done + sum(
                pair.kind == "pair"
                and pair.key not in answered
                and (pair.key in opened or past.judgements.get(pair.key, 0) < settings.overlap)
                for pair in self._candidates(past)
            )
        return Progress(done, goal, len(practice - practised))

    def delete_annotator(self, annotator_id: int, keep_judgements: bool) -> bool:
        """Delete an annotator's name, invitation and sessions; False where there is none.

        The judgements stay under the annotator's number, or are removed with every assignment.
        """
        with self._database.writing() as connection:
            if locked_annotator(connection, annotator_id) is None:
                return False
            for table in (sessions, invitations):
                connection.execute(delete(table).where(table.c.annotator_id == annotator_id))
            if keep_judgements:
                judged = select(judgements.c.assignment)
                connection.execute(
                    delete(assignments).where(
                        assignments.c.annotator_id == annotator_id, assignments.c.id.not_in(judged)
                    )
                )
                connection.execute(
                    update(annotators)
                    .where(annotators.c.id == annotator_id)
                    .values(name="", deleted=utc_now())
                )
            else:  # assignments and judgements go with it
                connection.execute(delete(annotators).where(annotators.c.id == annotator_id))
        self._database.forget_deleted()
        return True

    @staticmethod
    def _opened(
        connection: Connection,
        annotator_id: int,
        pair_id: int,
        first_is_left: bool,
        selection: Selection,
    ) -> Row[Any]:
        """Make an assignment and return its row."""
        return connection.execute(
            insert(assignments)
            .values(
                id=secrets.token_urlsafe(16),
                annotator_id=annotator_id,
                pair_id=pair_id,
                first_is_left=first_is_left,
                selection=selection,
                assigned=utc_now(),
            )
            .returning(assignments)
        ).one()

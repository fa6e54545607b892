"""Who may do what: the owner's token, invitations and sessions.

Tokens are random, 256 bits; of each only the SHA-256 is stored, which needs no salt for them.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from hmac import compare_digest

from sqlalchemy import delete, insert, select, update

from ethosteer.collect.database import Database
from ethosteer.collect.queries import annotator_of, invitation_of, invitation_with, utc_now
from ethosteer.collect.records import Annotator, Invitation
from ethosteer.collect.schema import annotators, collection, invitations, sessions


def storable(text: str) -> str:
    """Return a text from outside without what PostgreSQL refuses: NUL and halves of surrogates."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "replace")).hexdigest()


class Access:
    """The tokens of one collection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def new_owner_token(self) -> str:
        """Make the owner's token and return it; the one before is no longer valid."""
        token = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            connection.execute(update(collection).values(owner_hash=_digest(token)))
        return token

    def is_owner(self, token: str) -> bool:
        """Return whether a token is the owner's."""
        with self._database.reading() as connection:
            stored = connection.execute(select(collection.c.owner_hash)).scalar_one()
        return stored is not None and compare_digest(stored, _digest(token))

    def invite(self, note: str = "") -> str:
        """Make an invitation and return its token, which cannot be read again."""
        token = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            connection.execute(
                insert(invitations).values(
                    token_hash=_digest(token), note=storable(note), created=utc_now()
                )
            )
        return token

    def invitations(self) -> list[Invitation]:
        """Return all invitations, revoked ones included, in the order in which they were made."""
        with self._database.reading() as connection:
            rows = connection.execute(select(invitations).order_by(invitations.c.id))
            return list(map(invitation_of, rows))

    def invitation(self, token: str) -> Invitation | None:
        """Return the invitation of a token; None where it is unknown or revoked."""
        with self._database.reading() as connection:
            row = connection.execute(invitation_with(_digest(token))).first()
        return None if row is None else invitation_of(row)

    def revoke(self, invitation_id: int) -> bool:
        """Revoke an invitation and end its annotator's sessions; False where there is none."""
        with self._database.writing() as connection:
            revoked = connection.execute(
                update(invitations)
                .where(invitations.c.id == invitation_id, invitations.c.revoked.is_(None))
                .values(revoked=utc_now())
            ).rowcount
            of_annotator = select(invitations.c.annotator_id).where(
                invitations.c.id == invitation_id
            )
            connection.execute(delete(sessions).where(sessions.c.annotator_id.in_(of_annotator)))
        return revoked > 0

    def accept(self, token: str, name: str) -> tuple[Annotator, str] | None:
        """Begin a session: return the invitation's annotator and a new session token.

        The first use makes the annotator, called ``name``. Later uses, from another device or after
        cookies were lost, return the same annotator, whose name stays. None where the token is
        unknown or revoked.
        """
        session_token = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            row = connection.execute(invitation_with(_digest(token)).with_for_update()).first()
            if row is None:
                return None
            annotator_id = row.annotator_id
            if annotator_id is None:
                annotator_id = connection.execute(
                    insert(annotators)
                    .values(name=storable(name), joined=utc_now())
                    .returning(annotators.c.id)
                ).scalar_one()
                connection.execute(
                    update(invitations)
                    .where(invitations.c.id == row.id)
                    .values(annotator_id=annotator_id)
                )
            connection.execute(
                insert(sessions).values(
                    token_hash=_digest(session_token), annotator_id=annotator_id, created=utc_now()
                )
            )
            stored = connection.execute(
                select(annotators).where(annotators.c.id == annotator_id)
            ).one()
        return annotator_of(stored), session_token

    def session(self, token: str) -> Annotator | None:
        """Return the annotator of a session token; None where it is unknown or has ended."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(annotators)
                .join_from(sessions, annotators)
                .where(sessions.c.token_hash == _digest(token), annotators.c.deleted.is_(None))
            ).first()
        return None if row is None else annotator_of(row)

    def end_session(self, token: str) -> None:
        """End a session; an unknown one is no error."""
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.token_hash == _digest(token)))

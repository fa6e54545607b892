"""A collection's database: every method is one transaction, durable before it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ethosteer.collect.records import (
    Annotator,
    Assignment,
    CollectionSettings,
    Invitation,
    Judgement,
    Pair,
    Preference,
    Progress,
)

Judged = Literal["stored", "already", "unknown"]


class Store:
    """One collection. Its methods may be called from any thread, and by several processes at once.

    Tokens are random; of each only the SHA-256 is stored.
    """

    @property
    def settings(self) -> CollectionSettings:
        """What the collection asks of its annotators."""
        raise NotImplementedError

    @classmethod
    def create(cls, url: str, settings: CollectionSettings, pairs: Sequence[Pair]) -> Store:
        """Make a collection in the database at ``url`` (SQLAlchemy's form) and open it.

        Raises InputError where the database has one already, or cannot be reached or written.
        """
        raise NotImplementedError

    @classmethod
    def open(cls, url: str) -> Store:
        """Open a collection; an older schema is migrated.

        Raises InputError where there is no collection, or one of a newer version.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close all connections."""
        raise NotImplementedError

    def pairs(self) -> list[Pair]:
        """Return the pool: pairs, gold and practice pairs, in the order in which they came."""
        raise NotImplementedError

    def judgements(self, *, withdrawn: bool = False) -> list[Judgement]:
        """Return the judgements in the order in which they came.

        With ``withdrawn`` also those that were undone.
        """
        raise NotImplementedError

    def annotators(self) -> list[Annotator]:
        """Return the annotators by number, those included whose name was deleted (then "")."""
        raise NotImplementedError

    # Tokens

    def new_owner_token(self) -> str:
        """Make the owner's token and return it; the one before is no longer valid."""
        raise NotImplementedError

    def is_owner(self, token: str) -> bool:
        """Return whether a token is the owner's."""
        raise NotImplementedError

    def invite(self, note: str = "") -> str:
        """Make an invitation and return its token, which cannot be read again."""
        raise NotImplementedError

    def invitations(self) -> list[Invitation]:
        """Return all invitations, revoked ones included, in the order in which they were made."""
        raise NotImplementedError

    def invitation(self, token: str) -> Invitation | None:
        """Return the invitation of a token; None where it is unknown or revoked."""
        raise NotImplementedError

    def revoke(self, invitation_id: int) -> bool:
        """Revoke an invitation and end its annotator's sessions; False where there is none."""
        raise NotImplementedError

    def accept(self, token: str, name: str) -> tuple[Annotator, str] | None:
        """Begin a session: return the invitation's annotator and a new session token.

        The first use makes the annotator, called ``name``. Later uses, from another device or after
        cookies were lost, return the same annotator, whose name stays. None where the token is
        unknown or revoked.
        """
        raise NotImplementedError

    def session(self, token: str) -> Annotator | None:
        """Return the annotator of a session token; None where it is unknown or has ended."""
        raise NotImplementedError

    def end_session(self, token: str) -> None:
        """End a session; an unknown one is no error."""
        raise NotImplementedError

    # Judging

    def current(self, annotator_id: int) -> Assignment | None:
        """Return the annotator's open assignment, the newest where undoing opened several."""
        raise NotImplementedError

    def assign(self, annotator_id: int) -> Assignment | None:
        """Return the open assignment, or a new one; None where nothing is left to judge."""
        raise NotImplementedError

    def judge(
        self,
        annotator_id: int,
        assignment_id: str,
        preference: Preference | None,
        *,
        flagged: bool = False,
        reason: str = "",
        seconds: float,
    ) -> Judged:
        """Store a judgement; it is on the disk when this returns.

        ``preference`` is for the pair's first answer, wherever that was shown, and None only where
        the pair is flagged (else ValueError). "already": the assignment was judged before, also
        where that was undone, and nothing changes. "unknown": there is no such assignment of this
        annotator.
        """
        raise NotImplementedError

    def assignment(self, annotator_id: int, assignment_id: str) -> Assignment | None:
        """Return an assignment of this annotator, open or judged; None where there is none."""
        raise NotImplementedError

    def undo(self, annotator_id: int) -> Assignment | None:
        """Withdraw the last judgement and open its pair again, as a new assignment.

        The new assignment has the same pair, sides and selection but another id, so that a form
        that is sent again changes nothing. None where there is nothing to undo.
        """
        raise NotImplementedError

    def progress(self, annotator_id: int) -> Progress:
        """Return how far an annotator is."""
        raise NotImplementedError

    def delete_annotator(self, annotator_id: int, *, keep_judgements: bool) -> bool:
        """Delete an annotator's name, invitation and sessions; False where there is none.

        The judgements stay under the annotator's number, or are removed with every assignment.
        """
        raise NotImplementedError

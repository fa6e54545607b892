"""Small collections for tests."""

from __future__ import annotations

from ethosteer.collect.pool import make_pair
from ethosteer.collect.records import Answer, Assignment, CollectionSettings, Pair, Preference
from ethosteer.collect.store import Store

PLAIN = CollectionSettings(repeat_share=0, gold_share=0)


def pool(count: int = 6) -> list[Pair]:
    """Return pairs whose texts end with their number."""
    return [
        make_pair(
            [("human", f"May I, {number}?")],
            Answer("virtue", f"Ask first, {number}."),
            Answer("base", f"Sure, {number}."),
        )
        for number in range(count)
    ]


def join(store: Store, name: str = "Ann") -> int:
    """Invite an annotator, who accepts; return the number."""
    accepted = store.accept(store.invite(), name)
    assert accepted is not None
    return accepted[0].id


def assigned(store: Store, annotator: int) -> Assignment:
    """Return an annotator's assignment, which there must be."""
    assignment = store.assign(annotator)
    assert assignment is not None
    return assignment


def judge_all(store: Store, annotator: int, preference: Preference = 1) -> int:
    """Have an annotator judge all that is left; return how much that was."""
    done = 0
    while (assignment := store.assign(annotator)) is not None:
        assert store.judge(annotator, assignment.id, preference, seconds=2.0) == "stored"
        done += 1
    return done

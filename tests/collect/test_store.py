from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import update

from ethosteer.collect import store as store_module
from ethosteer.collect.pool import make_pair
from ethosteer.collect.records import Answer, CollectionSettings, Judgement, Progress
from ethosteer.collect.schema import assignments
from ethosteer.collect.store import Store
from tests.collect.small import PLAIN, assigned, join, judge_all, pool


def test_a_collection_is_opened_as_it_was_made(url: str) -> None:
    settings = CollectionSettings(title="Ä\n<b>", guidelines="be fair", overlap=3, goal=7, seed=2)
    practice = make_pair(
        [("system", "s"), ("human", "a"), ("assistant", "b"), ("human", "NUL \0 and ü")],
        Answer("a", "yes"),
        Answer("b", "no"),
        kind="practice",
        expected=-1,
        explanation="since",
        margins=[0.1, -2.5],
        warning="violence",
    )
    pairs = [practice, *pool()]
    Store.create(url, settings, pairs).close()
    store = Store.open(url)
    assert store.settings == settings
    assert store.pairs() == pairs
    assert (store.judgements(), store.annotators(), store.invitations()) == ([], [], [])


def test_a_judgement_is_stored_with_what_was_shown(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    before = datetime.now(UTC)
    annotator = join(store)
    shown = assigned(store, annotator)
    assert store.current(annotator) == shown == assigned(store, annotator)
    assert store.judge(annotator, shown.id, -2, True, "why\0", seconds=1.5) == "stored"
    assert store.current(annotator) is None
    (judgement,) = store.judgements()
    assert before <= shown.assigned <= judgement.judged <= datetime.now(UTC)
    assert judgement.judged.tzinfo is not None
    assert replace(judgement, judged=before) == Judgement(
        assignment=shown.id,
        annotator=annotator,
        pair_key=shown.pair.key,
        preference=-2,
        flagged=True,
        reason="why",
        first_is_left=shown.first_is_left,
        selection="random",
        seconds=1.5,
        judged=before,
    )


def test_no_pair_is_shown_twice_to_one_person_and_overlap_is_kept(url: str) -> None:
    store = Store.create(url, replace(PLAIN, overlap=2), pool(6))
    first, second, third = (join(store, name) for name in "abc")
    assert judge_all(store, first) == 6
    assert judge_all(store, second) == 6
    assert store.assign(third) is None
    by_pair = Counter(judgement.pair_key for judgement in store.judgements())
    assert set(by_pair.values()) == {2}
    keys = [entry.pair_key for entry in store.judgements() if entry.annotator == first]
    assert len(set(keys)) == 6


def test_two_pairs_that_read_alike_are_not_shown_to_one_person(url: str) -> None:
    same, other = Answer("virtue", "Ask."), Answer("base", "Sure.")
    pairs = [
        make_pair([("human", "May I?")], same, other),
        make_pair([("human", "May I?")], other, replace(same, source="harmless")),
        make_pair([("human", "Must I?")], same, other),
    ]
    store = Store.create(url, PLAIN, pairs)
    first, second = join(store, "a"), join(store, "b")
    assert judge_all(store, first) == 2
    assert store.progress(first) == Progress(2, 2, 0)
    assert judge_all(store, second) == 1  # the pair that the first did not see
    assert {entry.pair_key for entry in store.judgements()} == {pair.key for pair in pairs}


def test_a_repeated_form_changes_nothing(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    annotator, other = join(store, "a"), join(store, "b")
    shown = assigned(store, annotator)
    assert store.judge(other, shown.id, 2, seconds=1) == "unknown"
    assert store.judge(annotator, "x" * 22, 2, seconds=1) == "unknown"
    assert store.judge(99, shown.id, 2, seconds=1) == "unknown"
    assert store.judge(annotator, shown.id, 2, seconds=1) == "stored"
    stored = store.judgements()
    assert store.judge(annotator, shown.id, -1, seconds=3) == "already"
    assert store.judge(other, shown.id, -1, seconds=3) == "unknown"
    assert store.judgements() == stored
    assert store.assignment(annotator, shown.id) == shown
    assert store.assignment(other, shown.id) is None


@pytest.mark.parametrize("preference", [3, None, 0.5])
def test_what_is_no_preference_is_refused(url: str, preference: object) -> None:
    store = Store.create(url, PLAIN, pool())
    annotator = join(store)
    shown = assigned(store, annotator)
    with pytest.raises(ValueError, match="no preference"):
        store.judge(annotator, shown.id, preference, seconds=1)  # type: ignore[arg-type]
    assert store.judgements() == []
    assert store.judge(annotator, shown.id, None, True, "both wrong", seconds=1) == "stored"


def test_two_threads_judge_one_assignment_once(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    annotator = join(store)
    for _ in range(5):
        shown, barrier = assigned(store, annotator), Barrier(2)

        def judge(_: int) -> str:
            barrier.wait()  # noqa: B023
            return store.judge(annotator, shown.id, 1, seconds=1)  # noqa: B023

        with ThreadPoolExecutor(2) as threads:
            assert sorted(threads.map(judge, range(2))) == ["already", "stored"]
    assert len(store.judgements()) == 5


def test_annotators_at_once_get_different_pairs_where_one_judgement_is_asked(url: str) -> None:
    store = Store.create(url, PLAIN, pool(8))
    annotators = [join(store, str(number)) for number in range(8)]
    barrier = Barrier(8)

    def assign(annotator: int) -> str:
        barrier.wait()
        return assigned(store, annotator).pair.key

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(assign, annotators))) == 8


def test_two_tabs_at_once_are_one_annotator_with_one_assignment(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    token, barrier = store.invite(), Barrier(4)

    def begin(_: int) -> tuple[int, str]:
        barrier.wait()
        accepted = store.accept(token, "Ann")
        assert accepted is not None
        return accepted[0].id, assigned(store, accepted[0].id).id

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(begin, range(4)))) == 1
    assert len(store.annotators()) == 1


def test_undo_withdraws_the_last_judgement_and_opens_its_pair_again(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    annotator = join(store)
    assert store.undo(annotator) is None
    first = assigned(store, annotator)
    store.judge(annotator, first.id, 2, seconds=1)
    second = assigned(store, annotator)
    again = store.undo(annotator)
    assert again is not None and again.id != first.id
    assert (again.pair, again.first_is_left) == (first.pair, first.first_is_left)
    assert store.judgements() == []
    (withdrawn,) = store.judgements(withdrawn=True)
    assert withdrawn.preference == 2 and withdrawn.withdrawn is not None
    # a form that is sent again after it was undone is not a second judgement
    assert store.judge(annotator, first.id, 2, seconds=1) == "already"
    assert store.current(annotator) == again
    assert store.judge(annotator, again.id, -1, seconds=1) == "stored"
    assert assigned(store, annotator) == second
    assert [entry.preference for entry in store.judgements()] == [-1]


def test_undoing_twice_goes_back_two_pairs_and_forward_again(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    annotator = join(store)
    shown = []
    for _ in range(2):
        shown.append(assigned(store, annotator))
        store.judge(annotator, shown[-1].id, 1, seconds=1)
    open_one = assigned(store, annotator)
    for expected in reversed(shown):
        again = store.undo(annotator)
        assert again is not None and again.pair == expected.pair
    assert store.undo(annotator) is None
    for expected in (*shown, open_one):
        current = assigned(store, annotator)
        assert current.pair == expected.pair
        store.judge(annotator, current.id, 1, seconds=1)


def test_a_hidden_repeat_has_its_sides_swapped(url: str) -> None:
    settings = CollectionSettings(repeat_share=0.5, gold_share=0)
    store = Store.create(url, settings, pool(30))
    annotator = join(store)
    judge_all(store, annotator)
    first: dict[str, bool] = {}
    repeats = 0
    for entry in store.judgements():
        if entry.selection == "repeat":
            repeats += 1
            assert entry.first_is_left != first[entry.pair_key]
        else:
            first[entry.pair_key] = entry.first_is_left
    assert repeats > 0
    # a repeat is no second annotator of the pair
    assert len(first) == 30 and store.progress(annotator).done == 30 + repeats


def test_progress_counts_practice_apart(url: str) -> None:
    pairs = pool(3)
    practice = [
        make_pair(pair.prompt, pair.second, pair.first, kind="practice", expected=1)
        for pair in pairs[:2]
    ]
    store = Store.create(url, PLAIN, [*pairs, *practice])
    annotator = join(store)
    assert store.progress(annotator) == Progress(0, 3, 2)
    for left in (1, 0):
        shown = assigned(store, annotator)
        assert shown.selection == "practice"
        store.judge(annotator, shown.id, 1, seconds=1)
        assert store.progress(annotator) == Progress(0, 3, left)
    shown = assigned(store, annotator)
    assert store.progress(annotator) == Progress(0, 3, 0)
    store.judge(annotator, shown.id, 1, seconds=1)
    assert store.progress(annotator) == Progress(1, 3, 0)
    other = join(store, "b")
    assert store.progress(other) == Progress(0, 2, 2)


def test_a_pair_that_was_left_open_for_long_is_given_to_others(url: str) -> None:
    store = Store.create(url, PLAIN, pool(1))
    gone, other = join(store, "a"), join(store, "b")
    shown = assigned(store, gone)
    assert store.assign(other) is None
    long_ago = datetime.now(UTC) - store_module.ABANDONED - timedelta(minutes=1)
    with store._database.writing() as connection:
        connection.execute(update(assignments).values(assigned=long_ago))
    assert assigned(store, other).pair == shown.pair


@pytest.mark.parametrize("keep", [True, False])
def test_an_annotator_is_deleted_with_judgements_kept_or_removed(url: str, keep: bool) -> None:
    store = Store.create(url, replace(PLAIN, overlap=2), pool(3))
    token = store.invite("for Ann Onymous")
    accepted = store.accept(token, "Ann Onymous")
    assert accepted is not None
    annotator, session = accepted
    other = join(store, "b")
    judge_all(store, other)
    for _ in range(2):
        store.judge(annotator.id, assigned(store, annotator.id).id, 2, seconds=1)
    opened = assigned(store, annotator.id)

    assert store.delete_annotator(annotator.id, keep_judgements=keep)
    assert not store.delete_annotator(annotator.id, keep_judgements=keep)
    assert store.session(session) is None and store.accept(token, "x") is None
    assert store.judge(annotator.id, opened.id, 1, seconds=1) == "unknown"
    assert (store.assign(annotator.id), store.undo(annotator.id)) == (None, None)
    assert [entry.note for entry in store.invitations()] == [""]
    by = Counter(entry.annotator for entry in store.judgements())
    assert by == ({annotator.id: 2, other: 3} if keep else {other: 3})
    names = {entry.id: entry.name for entry in store.annotators()}
    assert names == ({annotator.id: "", other: "b"} if keep else {other: "b"})
    assert join(store, "c") not in {annotator.id, other}


def test_a_deleted_name_leaves_no_bytes(sqlite_url: str) -> None:
    store = Store.create(sqlite_url, PLAIN, pool())
    annotator = join(store, "Unmistakable Name")
    shown = assigned(store, annotator)
    store.judge(annotator, shown.id, 1, True, "Unmistakable Reason", seconds=1)
    assert b"Unmistakable Name" in _bytes(store)
    store.delete_annotator(annotator, keep_judgements=False)
    assert b"Unmistakable" not in _bytes(store)


def _bytes(store: Store) -> bytes:
    """Return all that is on the disk of a collection: the database and its log."""
    path = store._database.path
    assert path is not None
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_tokens_are_hashed_at_rest(sqlite_url: str) -> None:
    store = Store.create(sqlite_url, PLAIN, pool())
    owner, invitation = store.new_owner_token(), store.invite()
    accepted = store.accept(invitation, "Ann")
    assert accepted is not None
    tokens = [owner, invitation, accepted[1]]
    assert all(len(token) == 43 for token in tokens) and len(set(tokens)) == 3
    for token in tokens:
        assert token.encode() not in _bytes(store)
    assert b"Ann" in _bytes(store)
    store.close()
    assert all(token.encode() not in _bytes(store) for token in tokens)

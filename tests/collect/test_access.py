from __future__ import annotations

from ethosteer.collect.store import Store
from tests.collect.small import PLAIN, assigned, join, pool


def test_the_owner_has_one_token_at_a_time(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    assert not store.is_owner("")
    first = store.new_owner_token()
    assert store.is_owner(first) and not store.is_owner(first + "x")
    second = store.new_owner_token()
    assert store.is_owner(second) and not store.is_owner(first)


def test_an_invitation_is_one_annotator_however_often_it_is_used(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    token = store.invite("Ann's")
    assert store.invitation(token) == store.invitations()[0]
    assert store.invitations()[0].annotator is None
    first, second = store.accept(token, "Ann\ud800\0"), store.accept(token, "Ben")
    assert first is not None and second is not None
    assert first[0] == second[0] and first[0].name == "Ann"
    assert store.session(first[1]) == store.session(second[1]) == first[0]
    store.end_session(first[1])
    store.end_session("unknown")
    assert store.session(first[1]) is None and store.session(second[1]) == first[0]
    (invitation,) = store.invitations()
    assert (invitation.note, invitation.annotator) == ("Ann's", first[0].id)


def test_tokens_of_one_kind_are_none_of_another(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    owner, invitation = store.new_owner_token(), store.invite()
    accepted = store.accept(invitation, "Ann")
    assert accepted is not None
    session = accepted[1]
    assert not store.is_owner(invitation) and not store.is_owner(session)
    assert store.accept(owner, "x") is None and store.accept(session, "x") is None
    assert store.session(owner) is None and store.session(invitation) is None
    for forged in ("", "\ud800", "ä", "x" * 100_000):
        assert store.accept(forged, "x") is None and store.session(forged) is None


def test_a_revoked_invitation_ends_its_sessions_and_keeps_judgements(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    token = store.invite()
    accepted = store.accept(token, "Ann")
    assert accepted is not None
    annotator, session = accepted
    store.judge(annotator.id, assigned(store, annotator.id).id, 1, seconds=1)
    other = store.accept(store.invite(), "Ben")
    assert other is not None
    (invitation, _) = store.invitations()
    assert store.revoke(invitation.id)
    assert not store.revoke(invitation.id) and not store.revoke(99)
    assert store.invitation(token) is None and store.accept(token, "Ann") is None
    assert store.session(session) is None and store.session(other[1]) is not None
    assert len(store.judgements()) == 1
    assert [entry.revoked for entry in store.invitations()] == [True, False]


def test_an_invitation_that_nobody_used_is_revoked(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    accepted = store.accept(store.invite(), "Ann")
    token = store.invite()
    assert store.revoke(2) and store.accept(token, "x") is None
    assert accepted is not None and store.session(accepted[1]) is not None
    assert join(store, "b") == 2

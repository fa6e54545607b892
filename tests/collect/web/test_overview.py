"""The statistics of the owner's page: what they show, and how often they are computed."""

from __future__ import annotations

import pytest

from ethosteer.collect.quality import collection_quality
from ethosteer.collect.web import overview
from ethosteer.collect.web.overview import LiveQuality
from tests.collect.web.example import new_store, pair
from tests.collect.web.test_owner import rows
from tests.collect.web.visitors import Visitor


def test_statistics_are_computed_again_only_after_a_rest(tmp_path, monkeypatch: pytest.MonkeyPatch):
    store = new_store(tmp_path, [pair(index) for index in range(4)])
    visitor, now, computed = Visitor(store).join(), [0.0], []
    actual = collection_quality

    def slow(pairs, judgements):  # takes two seconds
        computed.append(len(judgements))
        now[0] += 2.0
        return actual(pairs, judgements)

    monkeypatch.setattr(overview, "collection_quality", slow)
    live = LiveQuality(store.pairs(), clock=lambda: now[0])
    assert live.of(store.judgements()).judgements == 0
    visitor.judge()
    assert live.of(store.judgements()).judgements == 0, "of a moment ago"
    now[0] += 19.0
    assert live.of(store.judgements()).judgements == 0
    now[0] += 1.0
    assert live.of(store.judgements()).judgements == 1
    now[0] += 100.0
    assert live.of(store.judgements()).judgements == 1
    assert computed == [0, 1], "not again for the same judgements"


def test_the_owner_sees_ranking_agreement_and_reliability(tmp_path):
    store = new_store(tmp_path, [pair(index) for index in range(12)], overlap=2)
    robin, kim = Visitor(store).join("Robin"), Visitor(store).join("Kim")
    for visitor in (robin, kim):
        for _ in range(12):
            is_first = "private diary" in visitor.get("/judge").partition("Answer B")[0]
            visitor.judge("2" if is_first else "-2")  # always virtue's answer
    owner = Visitor(store)
    owner.get(f"/owner/open/{store.new_owner_token()}")
    ranked = rows(owner.html, "ranking")
    assert [(row[0], *row[3:]) for row in ranked] == [
        ("virtue", "24", "0", "0"), ("base", "0", "0", "24"),
    ]  # fmt: skip
    assert "Cohen's kappa" in owner.html and "Robin" in owner.html
    shares = [row[4] for row in rows(owner.html, "annotators")]
    assert [share.partition("\N{NARROW NO-BREAK SPACE}")[0] for share in shares] == ["100", "100"]

"""An annotator without script: joining, practice, pairs, undo, warnings, pause, the end."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ethosteer.collect.records import Answer
from tests.collect.web.example import PRACTICE, SETTINGS, new_store, pair
from tests.collect.web.visitors import Visitor


def answers(html: str) -> list[str]:
    """The texts of A and B."""
    return re.findall(r'<div class="text" dir="auto">([^<]*)</div>\s*</article>', html)


def test_the_way_from_the_invitation_to_the_last_pair(tmp_path: Path):
    store = new_store(tmp_path, [PRACTICE, pair(1), pair(2)])
    visitor = Visitor(store)
    visitor.get(f"/join/{store.invite()}")
    assert "What is stored" in visitor.html
    visitor.post("/join", {**visitor.fields("/join"), "name": "Robin"})
    assert visitor.path == "/guidelines"
    assert "1 practice pair" in visitor.html
    visitor.get("/judge")
    assert "<strong>Practice.</strong> 1 practice pair left" in visitor.html
    first_is_a = "private diary" in answers(visitor.html)[0]
    visitor.judge("1")
    outcome = "almost as expected" if first_is_a else "differs from what is expected"
    assert f"Practice: {outcome}" in visitor.html
    letter = "A" if first_is_a else "B"
    assert f"<dt>Expected</dt><dd>{letter} is clearly better</dd>" in visitor.html
    assert "A diary is private." in visitor.html
    assert visitor.get(visitor.path) == visitor.html, "a reload shows it again"
    for choice in ("2", "-1"):
        assert "Practice" not in visitor.get("/judge")
        visitor.judge(choice)
    assert "All done" in visitor.html and "You judged 2 pairs" in visitor.html
    _, first, second = store.judgements()
    for judgement, value in ((first, 2), (second, -1)):
        assert judgement.preference == (value if judgement.first_is_left else -value)
        assert judgement.seconds == 1.0 and not judgement.flagged


@pytest.mark.parametrize(
    ("given", "outcome"),
    [("2", "as expected"), ("1", "almost as expected"), ("0", "differs"), ("-2", "differs"),
     ("flag", "flagged")],
)  # fmt: skip
def test_practice_is_compared_with_what_is_expected(given: str, outcome: str, tmp_path: Path):
    visitor = Visitor(new_store(tmp_path, [PRACTICE, pair(1)])).join()
    html = visitor.get(f"/practice/{PRACTICE.key}?choice={given}&a=first")
    assert f"Practice: {outcome}" in html
    assert "<dt>Expected</dt><dd>A is clearly better</dd>" in html
    html = visitor.get(f"/practice/{PRACTICE.key}?choice={given}&a=second")
    assert "<dt>Expected</dt><dd>B is clearly better</dd>" in html


def test_expectations_of_gold_pairs_are_shown_to_nobody(tmp_path: Path):
    gold = pair(1, key="gold0001", kind="gold", expected=2, explanation="Secret.")
    visitor = Visitor(new_store(tmp_path, [gold, pair(2)])).join()
    for key in ("gold0001", "pair0002", "nothing"):
        visitor.get(f"/practice/{key}?choice=0&a=first")
        assert visitor.path == "/judge" and "Secret" not in visitor.html
    assert "Secret" not in visitor.judge() + visitor.get("/judge")


def test_both_orders_are_shown(tmp_path: Path):
    visitor = Visitor(new_store(tmp_path, [pair(index) for index in range(40)])).join()
    firsts = set()
    for _ in range(40):
        firsts.add("private diary" in answers(visitor.get("/judge"))[0])
        visitor.judge()
    assert firsts == {True, False}


def test_a_reload_and_a_second_tab_show_the_same_pair(tmp_path: Path):
    visitor = Visitor(new_store(tmp_path, [pair(index) for index in range(5)])).join()
    visitor.get("/judge")
    before = visitor.fields("/judge")["assignment"]
    texts = answers(visitor.html)
    for _ in range(3):
        assert answers(visitor.get("/judge")) == texts, "the sides stay"
        assert visitor.fields("/judge")["assignment"] == before


def test_undo_shows_the_pair_again_and_the_new_judgement_counts(tmp_path: Path):
    visitor = Visitor(new_store(tmp_path, [pair(1), pair(2)])).join()
    shown = answers(visitor.get("/judge"))
    old = visitor.fields("/judge")
    visitor.judge("2")
    visitor.get("/judge")
    visitor.post("/undo", visitor.fields("/undo"))
    assert answers(visitor.html) == shown, "the same pair with the same sides"
    assert "Your last judgement is undone" in visitor.html
    assert visitor.store.judgements() == []
    visitor.post("/judge", {**old, "seconds": "1.0", "choice": "2"})
    assert visitor.store.judgements() == [], "the form that was undone is no judgement again"
    visitor.judge("-2")
    (judgement,) = visitor.store.judgements()
    assert judgement.preference == (-2 if judgement.first_is_left else 2)


def test_there_may_be_nothing_to_undo(tmp_path: Path):
    visitor = Visitor(new_store(tmp_path, [pair(1)])).join()
    visitor.get("/judge")
    visitor.post("/undo", visitor.fields("/undo"))
    assert "There is nothing to undo" in visitor.html


def test_a_warning_comes_before_the_texts_which_may_be_skipped(tmp_path: Path):
    pairs = [pair(index, warning="Describes <violence>.") for index in (1, 2)]
    visitor = Visitor(new_store(tmp_path, pairs)).join()
    html = visitor.get("/judge")
    assert "Describes &lt;violence&gt;." in html
    assert "flatmate" not in html and "diary" not in html
    assert "flatmate" not in visitor.get("/judge?show=x")
    shown = visitor.fields("/judge")["assignment"]
    visitor.post("/judge", {**visitor.fields("/judge")})
    (judgement,) = visitor.store.judgements()
    assert (judgement.assignment, judgement.preference, judgement.flagged) == (shown, None, True)
    assert judgement.reason == "skipped at its content warning"
    assert "Describes" in visitor.html, "the second pair has one too"
    assert "flatmate" in visitor.get(f"/judge?show={visitor.fields('/judge')['assignment']}")
    fields = visitor.fields("/judge")
    visitor.post("/judge", {**fields, "seconds": "2.5", "choice": "0"})
    assert visitor.store.judgements()[1].preference == 0


def test_a_flag_has_a_reason_with_a_judgement_or_without(tmp_path: Path):
    visitor = Visitor(new_store(tmp_path, [pair(1), pair(2)])).join()
    visitor.judge("flag", reason=" Not in English. ")
    visitor.judge("0", reason="Odd", flagged="yes")
    flags = [(j.preference, j.flagged, j.reason) for j in visitor.store.judgements()]
    assert flags == [(None, True, "Not in English."), (0, True, "Odd")]


def test_what_comes_at_once_is_a_double_click(tmp_path: Path):
    visitor = Visitor(new_store(tmp_path, [pair(1), pair(2)])).join()
    visitor.get("/judge")
    form = {**visitor.fields("/judge"), "choice": "1"}
    visitor.post("/judge", {**form, "seconds": ""})
    assert "taken for a double click" in visitor.html
    assert visitor.store.judgements() == []
    visitor.post("/judge", {**form, "shown": f"{float(form['shown']) - 5:.3f}", "seconds": ""})
    (judgement,) = visitor.store.judgements()
    assert 5 <= judgement.seconds < 60, "without script it is the time since the page was served"


def test_progress_counts_to_the_goal(tmp_path: Path):
    store = new_store(tmp_path, [pair(index) for index in range(5)], replace(SETTINGS, goal=3))
    visitor = Visitor(store).join()
    for done in range(3):
        assert f"{done} of 3" in visitor.get("/judge")
        assert f'<progress value="{done}" max="3" aria-label="Pairs judged">' in visitor.html
        visitor.judge()
    assert "All done" in visitor.get("/judge")


def test_pause_and_leaving_keep_everything(tmp_path: Path):
    store = new_store(tmp_path, [pair(1), pair(2)])
    visitor, link = Visitor(store), f"/join/{store.invite()}"
    visitor.get(link)
    visitor.post("/join", {**visitor.fields("/join"), "name": "Robin"})
    visitor.judge()
    assert "All that you judged is stored" in visitor.get("/pause")
    old = dict(visitor.client.cookies)
    visitor.post("/leave", visitor.fields("/leave"))
    assert "You need an invitation" in visitor.html
    visitor.client.cookies.update(old)
    visitor.get("/judge", 401)
    visitor.client.cookies.clear()
    assert "Welcome back" in visitor.get(link)
    visitor.post("/join", visitor.fields("/join"))
    assert "1 of 2" in visitor.get("/judge")
    assert [annotator.name for annotator in store.annotators()] == ["Robin"]


def test_a_double_click_on_the_invitation_makes_one_annotator(tmp_path: Path):
    store = new_store(tmp_path, [pair(1)])
    visitor = Visitor(store)
    link = f"/join/{store.invite()}"
    visitor.get(link)
    form = {**visitor.fields("/join"), "name": "Robin"}
    before = dict(visitor.client.cookies)
    visitor.post("/join", form)
    visitor.client.cookies.update(before)
    visitor.post("/join", form)
    assert len(store.annotators()) == 1
    visitor.get(link)
    assert visitor.path == "/judge", "who has joined goes on"


def test_revoked_invitations_end_the_session(tmp_path: Path):
    store = new_store(tmp_path, [pair(1)])
    visitor = Visitor(store).join()
    store.revoke(store.invitations()[0].id)
    visitor.get("/judge", 401)
    unused = store.invite()
    store.revoke(store.invitations()[1].id)
    assert "This invitation is not valid" in visitor.get(f"/join/{unused}", 404)


def test_a_dialogue_shows_who_says_what_and_an_empty_answer_is_named(tmp_path: Path):
    turns = (("system", "Be kind."), ("human", "Hello"), ("assistant", "Hi!"), ("human", "Why?"))
    store = new_store(tmp_path, [pair(1, prompt=turns, second=Answer("base", "  \n"))])
    html = Visitor(store).join().get("/judge")
    heads = re.findall(r"<h3>([^<]+)</h3>\s*<div[^>]*>([^<]*)", html)
    assert heads == [
        ("Instruction to the assistant", "Be kind."), ("Person", "Hello"), ("Assistant", "Hi!"),
        ("Person", "Why?"),
    ]  # fmt: skip
    assert "(an empty answer)" in html

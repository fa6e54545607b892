from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ethosteer.datasets.base import Answer, Dropped, contrast, spread


def answer(row: int, text: str, good: bool, scenario: str = "s") -> Answer:
    return Answer(row, scenario, f"Prompt {scenario}", text, good)


def pairs_of(answers: list[Answer], limit: int) -> list[tuple[object, ...]]:
    return [
        (entry.row, entry.reason)
        if isinstance(entry, Dropped)
        else (entry.id, entry.prompt, entry.chosen, entry.rejected, entry.group, entry.row)
        for entry in contrast("x", answers, limit)
    ]


def test_spread_by_hand():
    assert spread("ab", "123", 2) == [("a", "1"), ("b", "2")]
    assert spread("ab", "123", 4) == [("a", "1"), ("b", "2"), ("a", "3"), ("b", "1")]
    # The cycles meet after two pairs: without moving on, the third would repeat the first.
    assert spread("ab", "12", 9) == [("a", "1"), ("b", "2"), ("a", "2"), ("b", "1")]
    assert spread("", "12", 3) == spread("a", "", 3) == spread("a", "1", 0) == []


@given(left=st.integers(0, 9), right=st.integers(0, 9), limit=st.integers(0, 90))
def test_spread_is_distinct_even_and_complete(left, right, limit):
    pairs = spread(range(left), range(right), limit)
    assert len(pairs) == len(set(pairs)) == min(limit, left * right)
    for side, size in ((0, left), (1, right)):
        used = Counter(pair[side] for pair in pairs)
        counts = [used[item] for item in range(size)]
        assert not pairs or max(counts) - min(counts) <= 1


def test_contrast_pairs_the_answers_to_one_scenario_wherever_they_stand():
    answers = [
        answer(2, "good", True, "one"),
        answer(3, "fine", True, "two"),
        answer(4, "bad", False, "one"),
        answer(5, "vile", False, "two"),
    ]
    assert pairs_of(answers, 2) == [
        ("x-2-4", "Prompt one", "good", "bad", "one", 2),
        ("x-3-5", "Prompt two", "fine", "vile", "two", 3),
    ]


def test_contrast_drops_every_row_of_a_one_sided_scenario():
    answers = [answer(2, "a", True), answer(3, "b", True), answer(4, "c", False, "t")]
    assert pairs_of(answers, 2) == [(2, "no contrast"), (3, "no contrast"), (4, "no contrast")]


def test_contrast_drops_an_answer_called_both_good_and_bad():
    assert pairs_of([answer(2, "same", True), answer(3, "same", False)], 2) == [(2, "tied")]

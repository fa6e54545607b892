"""Winners, votes, scores and several annotators."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.small import describe, jsonl, read, texts

A, B = ("q", "yes", "no"), ("q", "no", "yes")


def row(**fields: Any) -> dict[str, Any]:
    return {"prompt": "q", "response_a": "yes", "response_b": "no", **fields}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        *(({"winner": word}, A) for word in ("a", "A", "response_a", "model_a", "left", "first")),
        *(({"winner": word}, B) for word in ("b", "Response B", "right", "model-b", "second")),
        ({"preference": "b"}, B),
        ({"chosen": "A"}, A),
        ({"winner": {"selected": "right"}}, B),
        ({"winner": '{"selected": "left"}'}, A),
        ({"votes_a": 3, "votes_b": "1"}, A),
        ({"score_a": 0.25, "score_b": 0.5}, B),
        ({"rating_a": "4", "rating_b": "2"}, A),
        ({"winner": "b", "score_a": 9, "score_b": 1}, B),
    ],
)
def test_who_wins(tmp_path: Path, fields: dict[str, Any], expected: tuple[str, ...]) -> None:
    pairs, dropped = read(jsonl(tmp_path / "a.jsonl", [row(**fields)]))
    assert (texts(pairs), dropped) == ([expected], {})


@pytest.mark.parametrize(
    ("names", "winners"),
    [
        (("response_0", "response_1"), ("0", 1)),
        (("response_1", "response_2"), (1, "2")),
        (("answer1", "answer2"), ("answer1", 2.0)),
        (("output_1", "output_2"), (1.0, "output 2")),
        (("human_ref_A", "human_ref_B"), ("A", "B")),
    ],
)
def test_numbers_are_those_of_the_columns(
    tmp_path: Path, names: tuple[str, str], winners: tuple[object, object]
) -> None:
    rows = [
        {"prompt": f"q{index}", names[0]: "yes", names[1]: "no", "winner": winner}
        for index, winner in enumerate(winners)
    ]
    pairs, _ = read(jsonl(tmp_path / "a.jsonl", rows))
    assert texts(pairs) == [("q0", "yes", "no"), ("q1", "no", "yes")]


def test_whole_conversations_need_no_prompt(tmp_path: Path) -> None:
    """As Chatbot Arena's; a side that has no dialogue makes no pair."""
    asked = {"role": "user", "content": "q"}
    conversations = {
        f"conversation_{side}": [asked, {"role": "assistant", "content": answer}]
        for side, answer in (("a", "yes"), ("b", "no"))
    }
    rows = [
        {**conversations, "winner": "model_b", "judge": "human_1"},
        {**conversations, "conversation_b": "no dialogue", "winner": "model_b", "judge": "human_2"},
    ]
    pairs, dropped = read(jsonl(tmp_path / "a.jsonl", rows))
    assert (texts(pairs), dropped) == ([B], {"dialogue differs": 1})


def test_columns_name_the_answers(tmp_path: Path) -> None:
    rows = [{"q": "q", "left text": "yes", "right text": "no", "w": "right text"}]
    names = {"prompt": "q", "response_a": "left text", "response_b": "right text", "winner": "w"}
    assert texts(read(jsonl(tmp_path / "a.jsonl", rows), columns=names)[0]) == [B]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"winner": "tie"}, "tied"),
        ({"winner": "tie (bothbad)"}, "tied"),
        ({"winner": "neither"}, "tied"),
        ({"winner": ""}, "no judgement"),
        ({"winner": None}, "no judgement"),
        ({"votes_a": 0, "votes_b": 0}, "no judgement"),
        ({"votes_a": 2, "votes_b": 2}, "no majority"),
        ({"score_a": 0.3, "score_b": 0.1 + 0.2}, "tied"),
        ({"winner": "a", "response_a": "no"}, "tied"),
        ({"winner": "a", "response_b": " "}, "empty"),
    ],
)
def test_ties_and_empty_rows_are_dropped(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    assert read(jsonl(tmp_path / "a.jsonl", [row(**fields)])) == ([], {reason: 1})


JUDGED = [
    row(winner="a", annotator="x"),
    row(winner="b", annotator="y"),
    # the same two answers in the other order: z prefers yes
    {"prompt": "q", "response_a": "no", "response_b": "yes", "winner": "b", "annotator": "z"},
    row(winner="a", annotator="x"),  # said twice
    row(prompt="r", winner="a", annotator="x"),
    row(prompt="r", winner="b", annotator="y"),
    row(prompt="s", winner="tie", annotator="x"),
    row(prompt="t", winner="b", annotator="z"),
]


def test_the_majority_of_annotators_decides(tmp_path: Path) -> None:
    pairs, dropped = read(jsonl(tmp_path / "a.jsonl", JUDGED))
    assert texts(pairs) == [A, ("t", "no", "yes")]
    assert dropped == {"duplicate": 1, "no majority": 1, "tied": 1}


def test_or_every_judgement_is_a_pair(tmp_path: Path) -> None:
    pairs, dropped = read(jsonl(tmp_path / "a.jsonl", JUDGED), weigh="judgements")
    assert texts(pairs) == [A, B, A, ("r", "yes", "no"), ("r", "no", "yes"), ("t", "no", "yes")]
    assert dropped == {"duplicate": 1, "tied": 1}
    assert len({pair.id for pair in pairs}) == len(pairs)
    votes = jsonl(tmp_path / "votes.jsonl", [row(votes_a=2, votes_b=1)])
    assert texts(read(votes, weigh="judgements")[0]) == [A, A, B]


def test_chosen_and_rejected_may_have_annotators_too(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": chosen, "rejected": rejected, "annotator": who}
        for who, chosen, rejected in (("x", "yes", "no"), ("y", "no", "yes"), ("z", "yes", "no"))
    ]
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert texts(read(path)[0]) == [A]
    agreement = describe(path).agreement
    assert agreement is not None
    assert (agreement.pairs, agreement.judgements, agreement.annotators) == (1, 3, 3)


def test_agreement_is_of_the_pairs_that_several_judged(tmp_path: Path) -> None:
    """By hand: q has 2 votes for yes and 1 for no, r one each, and both count in either order."""
    agreement = describe(jsonl(tmp_path / "a.jsonl", JUDGED)).agreement
    assert agreement is not None
    assert (agreement.pairs, agreement.judgements, agreement.annotators) == (2, 5, 3)
    # q: 2 of 3 ordered pairs differ, twice: 2 * (4 / 2); r: 2 * (2 / 1); 10 judgements, 5 each
    observed, expected = 4 + 4, (10**2 - 5**2 - 5**2) / 9
    assert math.isclose(agreement.alpha, 1 - observed / expected)


def test_agreement_does_not_depend_on_which_answer_is_called_the_first(tmp_path: Path) -> None:
    """All agree but one, on answers whose better one always comes first in the alphabet."""
    rows = [
        {"prompt": f"q{n}", "response_a": "aa", "response_b": "bb", "winner": winner,
         "annotator": who}
        for n in range(20) for who, winner in (("x", "a"), ("y", "b" if n == 3 else "a"))
    ]  # fmt: skip
    swapped = [
        line | {"response_a": "bb", "response_b": "aa", "winner": "ab"["ba".index(line["winner"])]}
        for line in rows
    ]
    one, other = (
        describe(jsonl(tmp_path / f"{index}.jsonl", lines)).agreement
        for index, lines in enumerate((rows, [*rows[:20], *swapped[20:]]))
    )
    assert one == other
    assert one is not None and 0.8 < one.alpha < 1

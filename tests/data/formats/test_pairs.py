"""Chosen and rejected answers, as TRL and HH-RLHF write them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ethosteer.records import parse_dialogue
from tests.data.formats.small import describe, jsonl, read, texts

USER = {"role": "user", "content": "May I read your letter?"}
GOOD = {"role": "assistant", "content": "Please ask me first."}
BAD = {"role": "assistant", "content": "Read whatever you like."}
SYSTEM = {"role": "system", "content": "Be brief."}
HH = "\n\nHuman: Hi!\n\nAssistant: Hello.\n\nHuman: May I read your letter?\n\nAssistant: "
EXPECTED = ("May I read your letter?", "Please ask me first.", "Read whatever you like.")

SAME_PAIR: dict[str, dict[str, Any]] = {
    "standard": {"prompt": USER["content"], "chosen": GOOD["content"], "rejected": BAD["content"]},
    "conversational": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "text prompt, messages": {"prompt": USER["content"], "chosen": [GOOD], "rejected": [BAD]},
    "implicit": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "UltraFeedback": {"prompt": USER["content"], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "ShareGPT": {
        "prompt": [{"from": "human", "value": USER["content"]}],
        "chosen": {"from": "gpt", "value": GOOD["content"]},
        "rejected": {"from": "gpt", "value": BAD["content"]},
    },
    "chunks": {
        "prompt": [{"role": "user", "content": [{"type": "text", "text": USER["content"]}]}],
        "chosen": [GOOD],
        "rejected": [BAD],
    },
    "HH": {
        "chosen": "\n\nHuman: May I read your letter?\n\nAssistant: Please ask me first.",
        "rejected": "\n\nHuman: May I read your letter?\n\nAssistant: Read whatever you like.",
    },
    "HH prompt": {
        "prompt": "\n\nHuman: May I read your letter?\n\nAssistant:",
        "chosen": " Please ask me first.",
        "rejected": " Read whatever you like.",
    },
    "other names": {
        "Question": USER["content"], "Preferred": GOOD["content"], "Rejected": BAD["content"],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SAME_PAIR)
def test_one_pair_in_every_format(tmp_path: Path, name: str) -> None:
    pairs, dropped = read(jsonl(tmp_path / "a.jsonl", [SAME_PAIR[name]]))
    assert (texts(pairs), dropped) == ([EXPECTED], {})
    assert (pairs[0].id, pairs[0].row, pairs[0].group) == ("mine-1", 1, USER["content"])


def test_a_system_turn_and_earlier_turns_stay_in_the_prompt(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]},
        {"chosen": HH + "Please ask me first.", "rejected": HH + "No."},
    ]
    pairs, dropped = read(jsonl(tmp_path / "a.jsonl", rows))
    assert dropped == {}
    assert pairs[0].turns == [("system", "Be brief."), ("human", USER["content"])]
    assert pairs[1].turns == parse_dialogue(HH)[:-1]
    # dialogues that open alike belong together, whatever follows
    assert [pair.group for pair in pairs] == [USER["content"], "Hi!"]


def test_a_column_may_hold_what_the_system_says(tmp_path: Path) -> None:
    rows = [SAME_PAIR["standard"] | {"system": said} for said in ("Be brief.", "", None)]
    pairs, dropped = read(jsonl(tmp_path / "a.jsonl", rows))
    assert dropped == {}
    assert [len(pair.turns) for pair in pairs] == [2, 1, 1]
    assert pairs[0].turns[0] == ("system", "Be brief.")


def test_the_group_column_names_the_unit_of_splitting(tmp_path: Path) -> None:
    rows = [SAME_PAIR["standard"] | {"group": group} for group in ("s1", 7, None, " ", math.nan)]
    pairs, _ = read(jsonl(tmp_path / "a.jsonl", rows))
    assert [pair.group for pair in pairs] == ["s1", "7", *[USER["content"]] * 3]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": "", "rejected": "b"}, "empty"),
        ({"prompt": "q", "chosen": [], "rejected": [BAD]}, "empty"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "empty turn"),
        ({"prompt": "q", "chosen": "a", "rejected": " a "}, "tied"),
        ({"prompt": [GOOD], "chosen": [GOOD], "rejected": [BAD]}, "assistant first"),
        ({"prompt": [SYSTEM], "chosen": [GOOD], "rejected": [BAD]}, "no question"),
        ({"prompt": [USER, GOOD], "chosen": [GOOD], "rejected": [BAD]}, "no question"),
        ({"prompt": [USER, SYSTEM], "chosen": [GOOD], "rejected": [BAD]}, "system turn inside"),
        ({"chosen": [USER], "rejected": [USER]}, "no answer"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "no question"),
        ({"chosen": [USER, GOOD], "rejected": [SYSTEM, USER, BAD]}, "dialogue differs"),
        ({"chosen": HH, "rejected": HH + "No."}, "empty"),
        (
            {"prompt": [USER, {"role": "tool", "content": "7"}], "chosen": "a", "rejected": "b"},
            "tool turn",
        ),
        (
            {"prompt": [USER], "chosen": [GOOD, USER, GOOD], "rejected": [BAD, USER, BAD]},
            "dialogue differs",
        ),
        (
            {
                "prompt": [{"role": "user", "content": "a\n\nAssistant: b\n\nHuman: c"}, USER],
                "chosen": "a",
                "rejected": "b",
            },
            "speaker's mark in a turn",
        ),
        (
            {
                "prompt": [{"role": "user", "content": [{"type": "image", "url": "x"}]}],
                "chosen": "a",
                "rejected": "b",
            },
            "not only text",
        ),
    ],
)
def test_what_makes_no_pair_is_dropped_with_the_reason(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    assert read(jsonl(tmp_path / "a.jsonl", [row])) == ([], {reason: 1})


def test_columns_map_our_names_to_the_files(tmp_path: Path) -> None:
    row = {"q": "why", "better": "a", "worse": "b", "prompt": "not this", "chosen": "nor this"}
    columns = {"prompt": "q", "chosen": "better", "rejected": "worse"}
    path = jsonl(tmp_path / "a.jsonl", [row])
    assert texts(read(path, columns=columns)[0]) == [("why", "a", "b")]
    said = describe(path, columns=columns).format
    assert said == (
        "prompt, chosen and rejected as text, columns q as prompt, better as chosen, "
        "worse as rejected"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [("standard", "as text"), ("conversational", "as messages"), ("HH", "as HH dialogues")],
)
def test_the_description_says_how_dialogues_are_written(
    tmp_path: Path, name: str, said: str
) -> None:
    described = describe(jsonl(tmp_path / "a.jsonl", [SAME_PAIR[name]]))
    assert said in described.format
    assert described.agreement is None


def test_pairs_of_shards_have_different_ids(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        jsonl(tmp_path / name, [{"prompt": name, "chosen": "yes", "rejected": "no"}])
    pairs, _ = read(tmp_path)
    assert [(pair.prompt, pair.id, pair.row) for pair in pairs] == [
        ("a.jsonl", "mine-1", 1),
        ("b.jsonl", "mine-1~2", 1),
    ]

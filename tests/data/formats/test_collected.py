"""The judgements of ``ethosteer collect`` as a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ethosteer.data.formats.collected import judgements_file
from ethosteer.errors import InputError
from tests.data.formats.small import describe, jsonl, read, texts


def row(winner: str | None, annotator: int = 1, prompt: str = "q", **fields: Any) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "response_a": "yes",
        "response_b": "no",
        "winner": winner,
        "annotator": annotator,
        "group": f"group of {prompt}",
        "preference": {"a": 1, "b": -2, "tie": 0, None: None}[winner],
        "flagged": False,
        "selection": "random",
        "withdrawn": None,
        "assignment": "x",
        **fields,
    }


def test_the_majority_decides_and_ties_vote_for_neither(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "judgements.jsonl",
        [
            *(row(winner, who) for who, winner in enumerate(("b", "b", "a", "tie"))),
            *(row(winner, who, "tied") for who, winner in enumerate(("tie", "tie"))),
            *(row(winner, who, "split") for who, winner in enumerate(("a", "b", "tie"))),
            row("a", prompt="p", selection="disagreement"),
            row("a", prompt="r", selection="uncertainty"),
        ],
    )
    pairs, dropped = read(path)
    assert texts(pairs) == [("q", "no", "yes"), ("p", "yes", "no"), ("r", "yes", "no")]
    assert [pair.group for pair in pairs] == ["group of q", "group of p", "group of r"]
    assert dropped == {"tied": 1, "no majority": 1}
    every, dropped = read(path, weigh="judgements")
    assert len(every) == 7 and dropped == {"tied": 4}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"selection": "repeat"}, "hidden repeat"),
        ({"selection": "gold"}, "gold pair"),
        ({"selection": "practice"}, "practice pair"),
        ({"flagged": True}, "flagged"),
        ({"flagged": True, "winner": None, "preference": None}, "flagged"),
        ({"withdrawn": "2026-11-26T12:00:00+00:00"}, "undone"),
        ({"withdrawn": "2026-11-26T12:00:00+00:00", "selection": "gold"}, "undone"),
    ],
)
def test_what_is_no_first_look_at_a_pair_does_not_count(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    path = jsonl(tmp_path / "a.jsonl", [row("a", 1), row("b", 2) | fields, row("b", 3) | fields])
    pairs, dropped = read(path)
    assert (texts(pairs), dropped) == ([("q", "yes", "no")], {reason: 2})
    described = describe(path)
    assert described.format.startswith("judgements of `ethosteer collect`")
    assert described.agreement is None  # one annotator's judgement is left


def test_agreement_is_of_what_counts(tmp_path: Path) -> None:
    rows = [row("a", 1), row("a", 2), row("b", 1, selection="repeat"), row("a", 1, "p"),
            row("b", 2, "p")]  # fmt: skip
    agreement = describe(jsonl(tmp_path / "a.jsonl", rows)).agreement
    assert agreement is not None
    assert (agreement.pairs, agreement.judgements, agreement.annotators) == (2, 4, 2)
    # in both orders the units are aa, bb, ab and ba: 4 of 8 values differ from their partner, where
    # 4 of the other 7 would by chance
    assert agreement.alpha == pytest.approx(1 - (4 / 8) / (4 / 7))


def test_a_wrong_winner_is_one_line(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [row("a"), row("a") | {"winner": "c"}])
    with pytest.raises(InputError, match=r"a\.jsonl:2: column 'winner': 'c' is not understood"):
        read(path)


def test_a_folder_is_an_export_or_has_one(tmp_path: Path) -> None:
    export = tmp_path / "export"
    with pytest.raises(InputError, match=r"`ethosteer collection export .*` writes it"):
        judgements_file(tmp_path)
    export.mkdir()
    file = jsonl(export / "judgements.jsonl", [row("a")])
    for name in (tmp_path, export, file):
        assert judgements_file(name) == file
    missing = tmp_path / "missing.jsonl"
    assert judgements_file(missing) == missing

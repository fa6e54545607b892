"""Exports of Argilla 1 and 2 and of Label Studio, written as these tools write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ethosteer.errors import InputError
from tests.data.formats.small import describe, jsonl, read, texts

FIELDS = {"prompt": "May I?", "response-1": "Ask first.", "response-2": "Sure."}
FIRST, SECOND = ("May I?", "Ask first.", "Sure."), ("May I?", "Sure.", "Ask first.")


def argilla_1(*values: object, question: str = "preference") -> dict[str, Any]:
    """A record of a FeedbackDataset."""
    return {
        "fields": FIELDS,
        "metadata": {},
        "external_id": None,
        "responses": [
            {"user_id": f"u{n}", "status": "submitted", "values": {question: {"value": value}}}
            for n, value in enumerate(values)
        ],
        "suggestions": [],
    }


def argilla_2(*values: object) -> dict[str, Any]:
    """A record as ``dataset.records.to_json`` writes it."""
    return {
        "id": "1", "fields": FIELDS, "metadata": {}, "vectors": {}, "status": "completed",
        "suggestions": {"preference": {"value": "response-2", "score": None, "agent": None}},
        "responses": {
            "preference": [{"value": value, "user_id": f"u{n}"} for n, value in enumerate(values)]
        },
    }  # fmt: skip


def argilla_flat(*values: object) -> dict[str, Any]:
    """A row of ``dataset.records.to_datasets()``."""
    return {
        "id": "1", "status": "completed", **FIELDS,
        "preference.responses": list(values),
        "preference.responses.users": [f"u{n}" for n in range(len(values))],
        "preference.responses.status": ["submitted" for _ in values],
    }  # fmt: skip


def label_studio(*values: dict[str, Any], kind: str = "pairwise") -> dict[str, Any]:
    """A task of Label Studio's JSON export."""
    return {
        "id": 1,
        "data": {"prompt": "May I?", "answer1": "Ask first.", "answer2": "Sure."},
        "annotations": [
            {
                "id": n, "completed_by": n, "was_cancelled": False,
                "result": [{"type": kind, "from_name": "preference", "to_name": "answer1,answer2",
                            "value": value}],
            }
            for n, value in enumerate(values)
        ],
        "predictions": [],
    }  # fmt: skip


@pytest.mark.parametrize("record", [argilla_1, argilla_2, argilla_flat])
def test_argilla_records(tmp_path: Path, record: Any) -> None:
    rows = [
        record("response-1"),
        record("response-2", "response-2", "response-1"),
        record("response-1", "response-2"),
        record(),
    ]
    rows[1:3] = [json.loads(json.dumps(row).replace("May I?", f"q{n}")) for n, row in
                 enumerate(rows[1:3])]  # fmt: skip
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=1), "utf-8")
    pairs, dropped = read(path)
    assert texts(pairs) == [FIRST, ("q0", "Sure.", "Ask first.")]
    assert dropped == {"no judgement": 1, "no majority": 1}
    described = describe(path)
    assert described.format.startswith("Argilla export")
    assert described.agreement is not None
    assert (described.agreement.pairs, described.agreement.annotators) == (2, 3)


RANKED = [{"value": "response-2", "rank": 1}, {"value": "response-1", "rank": 2}]


@pytest.mark.parametrize("ranking", [RANKED, ["response-2", "response-1"]])
@pytest.mark.parametrize("record", [argilla_1, argilla_2])
def test_argilla_rankings(tmp_path: Path, record: Any, ranking: list[object]) -> None:
    assert texts(read(jsonl(tmp_path / "a.jsonl", [record(ranking)]))[0]) == [SECOND]


def test_a_ranking_of_three_compares_every_two(tmp_path: Path) -> None:
    record = argilla_2(["response-3", "response-1", "response-2"])
    record["fields"] = FIELDS | {"response-3": "Why?"}
    pairs, _ = read(jsonl(tmp_path / "a.jsonl", [record]))
    assert sorted((pair.chosen, pair.rejected) for pair in pairs) == [
        ("Ask first.", "Sure."),
        ("Why?", "Ask first."),
        ("Why?", "Sure."),
    ]
    assert len({pair.id for pair in pairs}) == 3


def test_drafts_and_discarded_records_do_not_count(tmp_path: Path) -> None:
    record = argilla_1("response-1", "response-2", "response-2")
    record["responses"][1]["status"], record["responses"][2]["status"] = "draft", "discarded"
    assert texts(read(jsonl(tmp_path / "a.jsonl", [record]))[0]) == [FIRST]


def test_the_question_is_named_where_there_are_several(tmp_path: Path) -> None:
    record = argilla_1("response-1", question="safer")
    record["responses"][0]["values"]["kinder"] = {"value": "response-2"}
    path = jsonl(tmp_path / "a.jsonl", [record])
    with pytest.raises(InputError, match=r"a\.jsonl:1: the questions are safer, kinder; name"):
        read(path)
    assert texts(read(path, columns={"winner": "kinder"})[0]) == [SECOND]


def test_label_studio_tasks(tmp_path: Path) -> None:
    cancelled = label_studio({"selected": "left"}, {"selected": "right"})
    cancelled["annotations"][0]["was_cancelled"] = True
    rows = [
        label_studio({"selected": "left"}),
        json.loads(json.dumps(cancelled).replace("May I?", "q")),
        label_studio(),
    ]
    path = tmp_path / "project-1.json"
    path.write_text(json.dumps(rows), "utf-8")
    pairs, dropped = read(path)
    assert texts(pairs) == [FIRST, ("q", "Sure.", "Ask first.")]
    assert dropped == {"no judgement": 1}
    assert describe(path).format.startswith("Label Studio export")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (label_studio({"choices": ["answer2"]}, kind="choices"), [SECOND]),
        (label_studio({"choices": ["Tie"]}, kind="choices"), []),
    ],
)
def test_label_studio_choices(
    tmp_path: Path, task: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    assert texts(read(jsonl(tmp_path / "a.jsonl", [task]))[0]) == expected


def test_label_studio_ratings(tmp_path: Path) -> None:
    task = label_studio({"rating": 2}, kind="rating")
    result = task["annotations"][0]["result"]
    result[0]["to_name"] = "answer1"
    result.append(result[0] | {"to_name": "answer2", "value": {"rating": 5}})
    assert texts(read(jsonl(tmp_path / "a.jsonl", [task]))[0]) == [SECOND]


def test_label_studios_short_form(tmp_path: Path) -> None:
    row = {
        "id": 1, "prompt": "May I?", "answer1": "Ask first.", "answer2": "Sure.",
        "comparison": {"selected": "right"}, "annotator": 1, "annotation_id": 3,
        "created_at": "2026-01-01", "updated_at": "2026-01-01", "lead_time": 3.2,
    }  # fmt: skip
    assert texts(read(jsonl(tmp_path / "a.jsonl", [row]))[0]) == [SECOND]

"""Files that cannot be read end `ethosteer curate FILE` with one line: file, row and mend."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethosteer.data.formats.base import KNOWN
from tests.data.formats.small import describe, jsonl, read
from tests.malformed import complaint

Call = Callable[..., tuple[int, str, str]]
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
HH = "\n\nHuman: q\n\nAssistant:"
GOOD_LINE = json.dumps(PAIR)
TWO = {"prompt": "q", "response_a": "a", "response_b": "b"}
MESSAGE = {"role": "assistant", "content": "a"}


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


MALFORMED: dict[str, tuple[str, bytes, int | None, str]] = {
    "truncated JSON": ("a.jsonl", f"{GOOD_LINE}\n{GOOD_LINE[:-9]}".encode(), 2, "not valid JSON"),
    "truncated array": ("a.json", f"[\n{GOOD_LINE},\n{GOOD_LINE}\n".encode(), 4, "not valid JSON"),
    "array of texts": ("a.json", b'[\n"one"\n]', 2, "must be a JSON object, found 'one'"),
    "empty array": ("a.json", b"[]", 1, "no rows"),
    "a list in a line": ("a.jsonl", f"{GOOD_LINE}\n[1]\n".encode(), 2, "must be a JSON object"),
    "deep JSON": ("a.jsonl", b'{"a": ' + b"[" * 100_000, 1, "not valid JSON"),
    "a huge number": ("a.jsonl", b'{"a": ' + b"1" * 5000 + b"}", 1, "not valid JSON"),
    "empty file": ("a.jsonl", b"", 1, "no rows"),
    "empty CSV": ("a.csv", b"", 1, "no rows"),
    "header only": ("a.csv", b"prompt,chosen,rejected\n", 1, "no rows"),
    "ragged CSV": (
        "a.csv", b"prompt,chosen,rejected\nq,a,b\nq,a\n", 3, "2 fields where 3 are expected",
    ),
    "open quote": ("a.csv", b'prompt,chosen,rejected\nq,a,b\nq,"a,b\n', 3, "well-formed CSV"),
    "not UTF-8": (
        "a.csv", b"prompt,chosen,rejected\nq,a,b\nq,caf\xe9,b\n", 3, "save the file as UTF-8",
    ),
    "UTF-16": ("a.jsonl", GOOD_LINE.encode("utf-16"), 1, "save the file as UTF-8"),
    "gzip cut off": ("a.jsonl.gz", gzip.compress(lines(PAIR, PAIR))[:-9], None, "cannot be read"),
    "not gzip": ("a.jsonl.gz", lines(PAIR), None, "cannot be read"),
    "not Parquet": ("a.parquet", b"PAR1 and no more", None, "not a whole Parquet file"),
    "unknown kind": ("a.xlsx", b"PK", None, "not a kind of file that is read; .jsonl, .json"),
    "missing column": (
        "a.jsonl", lines({"prompt": "q", "chosen": "a"}), None,
        "its columns are prompt, chosen, which is no format that is recognised",
    ),
    "a row without a column": (
        "a.jsonl", lines(PAIR, {"prompt": "q", "chosen": "a"}), 2,
        "column 'rejected' must be text or a list of messages, found nothing",
    ),
    "a number for text": (
        "a.jsonl", lines(PAIR, PAIR | {"chosen": 3}), 2,
        "column 'chosen' must be text or a list of messages, found 3",
    ),
    "a message that is text": (
        "a.jsonl", lines(PAIR | {"chosen": ["a"]}), 1,
        "column 'chosen', message 1: must be an object with role and content, found 'a'",
    ),
    "an unknown role": (
        "a.jsonl", lines(PAIR | {"prompt": [{"role": "narrator", "content": "x"}]}), 1,
        "column 'prompt', message 1: role must be user, assistant or system, found 'narrator'",
    ),
    "no content": (
        "a.jsonl", lines(PAIR | {"chosen": [MESSAGE | {"content": None}]}), 1,
        "column 'chosen', message 1: content must be text, found nothing",
    ),
    "a list for a role": (
        "a.jsonl", lines(PAIR | {"chosen": [MESSAGE | {"role": ["user"]}]}), 1, "role must be",
    ),
    "half a character": (
        "a.jsonl", lines(PAIR, PAIR | {"rejected": "x \ud83d"}), 2,
        "half of a surrogate pair, \\ud83d; remove it",
    ),
    "half a character in a message": (
        "a.jsonl", lines(PAIR | {"rejected": [MESSAGE | {"content": "\udc00"}]}), 1,
        "half of a surrogate pair",
    ),
    "half a character in a group": (
        "a.jsonl", lines(PAIR | {"group": "\udc00"}), 1, "half of a surrogate pair",
    ),
    "a list of annotators": (
        "a.jsonl", lines(PAIR | {"annotator": ["x", "y"]}), 1,
        "column 'annotator' must be text or a number, found ['x', 'y']",
    ),
    "no dialogue and no prompt": (
        "a.csv", b"chosen,rejected\nyes,no\n", 2, "is no dialogue, and there is no column prompt",
    ),
    "a NaN score": (
        "a.jsonl", lines(TWO | {"score_a": float("nan"), "score_b": 1}), 1,
        "column 'score_a' must be a number, found nan",
    ),
    "a score that is a word": (
        "a.csv", b"prompt,response_a,response_b,score_a,score_b\nq,a,b,high,1\n", 2,
        "column 'score_a' must be a number, found 'high'",
    ),
    "half a vote": (
        "a.jsonl", lines(TWO | {"votes_a": 1.5, "votes_b": 1}), 1, "must be a whole number",
    ),
    "negative votes": (
        "a.jsonl", lines(TWO | {"votes_a": 1, "votes_b": -1}), 1,
        "column 'votes_b' must not be negative, found -1",
    ),
    "more votes than there are people": (
        "a.jsonl", lines(TWO | {"votes_a": 10**9 + 1, "votes_b": 1}), 1,
        "has 1e+09 votes; at most 1,000,000,000 are read",
    ),
    "votes without bound": (
        "a.jsonl", lines(TWO | {"votes_a": 10**400, "votes_b": 1}), 1,
        "column 'votes_a' must be a number, found",
    ),
    "votes that are nan": (
        "a.jsonl", lines(TWO | {"votes_a": float("nan"), "votes_b": 1}), 1,
        "column 'votes_a' must be a number, found nan",
    ),
    "votes that are a list": (
        "a.jsonl", lines(TWO | {"votes_a": [1], "votes_b": 1}), 1,
        "column 'votes_a' must be a number, found [1]",
    ),
    "a winner that is not there": (
        "a.jsonl", lines(TWO | {"winner": "c"}), 1,
        "column 'winner': 'c' is not understood; write response_a, response_b or tie",
    ),
    "a number for two letters": (
        "a.jsonl", lines(TWO | {"winner": 1}), 1, "column 'winner': 1 is not understood",
    ),
    "a truth value as winner": (
        "a.jsonl", lines(TWO | {"winner": True}), 1, "column 'winner': True is not understood",
    ),
    "a label that is neither": (
        "a.csv", b"prompt,completion,label\nq,a,true\nq,b,maybe\n", 3,
        "column 'label' must be true or false (or 1 or 0, good or bad), found 'maybe'",
    ),
    "an Argilla record without answers": (
        "a.jsonl",
        lines({"fields": {"text": "x"}, "responses": {"preference": [{"value": "a"}]}}), 1,
        "the record has text; name its prompt and its two answers with columns.prompt",
    ),
    "an Argilla ranking of others": (
        "a.jsonl",
        lines({"fields": TWO, "responses": {"preference": [{"value": ["response_c"]}]}}), 1,
        "'response_c' with 1 is no rank or rating of an answer; the answers are response_a",
    ),
    "Argilla fields that are text": (
        "a.jsonl", lines({"fields": "x", "responses": {}}), 1,
        "fields: Input should be a valid dictionary, found 'x'",
    ),
    "Label Studio data that is text": (
        "a.json", json.dumps([{"data": "x", "annotations": []}]).encode(), 1,
        "data: Input should be a valid dictionary, found 'x'",
    ),
    "Label Studio annotations that are a number": (
        "a.json", json.dumps([{"data": TWO, "annotations": 3}]).encode(), 1,
        "annotations: Input should be a valid list, found 3",
    ),
    "assistant first": (
        "a.jsonl", lines(*[PAIR | {"prompt": [MESSAGE]}] * 3), None,
        "dropped: assistant first: 3); a dialogue must begin with the user",
    ),
    "no assistant turn": (
        "a.jsonl", lines({"chosen": "\n\nHuman: q", "rejected": "\n\nHuman: q"}), None,
        "dropped: no answer: 1)",
    ),
    "chosen ends with the user": (
        "a.jsonl",
        lines({"chosen": f"{HH} a\n\nHuman: r", "rejected": f"{HH} b"}), None,
        "dropped: no answer: 1); chosen and rejected must end with a turn of the assistant's",
    ),
    "too few pairs": (
        "a.jsonl", lines(PAIR), None,
        "pairs (rows read: 1; dropped: none); about 80 % of groups are for training",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_one_line(tmp_path: Path, call: Call, name: str) -> None:
    file, content, line, problem = MALFORMED[name]
    path = tmp_path / file
    path.write_bytes(content)
    status, _, err = call("curate", str(path))
    where = str(path) if line is None else f"{path}:{line}: "
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert where in err
    assert problem in err


def refused(call: Call, *arguments: str) -> str:
    status, _, err = call("curate", *arguments)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def test_nulls_in_the_messages_of_a_parquet_file(tmp_path: Path, call: Call) -> None:
    rows = [PAIR | {"prompt": [{"role": "user", "content": text}]} for text in ("q", None)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    err = refused(call, str(tmp_path / "a.parquet"))
    assert "a.parquet:2: column 'prompt', message 1: content must be text, found nothing" in err
    pq.write_table(pa.Table.from_pylist(rows)[:0], tmp_path / "a.parquet")
    assert "a.parquet:1: the file has no rows" in refused(call, str(tmp_path / "a.parquet"))


def test_folders_without_data_and_with_mixed_shards(tmp_path: Path, call: Call) -> None:
    (tmp_path / "README.md").write_text("no data")
    assert "the folder has no data files; .jsonl, .json" in refused(call, str(tmp_path))
    jsonl(tmp_path / "a.jsonl", [PAIR])
    (tmp_path / "b.csv").write_text("prompt,chosen,rejected\nq,a,b\n")
    assert "of different kinds; keep files of one kind" in refused(call, str(tmp_path))


def test_a_shard_is_named_and_so_is_a_file_that_is_not_there(tmp_path: Path, call: Call) -> None:
    jsonl(tmp_path / "a.jsonl", [PAIR])
    jsonl(tmp_path / "b.jsonl", [PAIR, PAIR | {"chosen": 3}])
    assert f"{tmp_path / 'b.jsonl'}:2: " in refused(call, str(tmp_path))
    assert "c.jsonl: no such file" in refused(call, str(tmp_path / "c.jsonl"))


def test_columns_that_are_not_there(tmp_path: Path, call: Call) -> None:
    path = str(jsonl(tmp_path / "a.jsonl", [PAIR]))
    assert f"{path}: columns.chosen names the column 'better', which is missing; the file has " in (
        refused(call, path, "--column", "chosen=better")
    )
    assert "columns.best is unknown; known: prompt, chosen" in (
        refused(call, path, "--column", "best=chosen")
    )
    assert "--column chosen: write it as ours=theirs" in refused(call, path, "--column", "chosen")
    assert "--column and --weigh are for files" in refused(call, "virtue", "--column", "a=b")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.floats() | st.text("ab \n\ud800", max_size=3)
    | st.sampled_from(["a", "tie", HH, "user", "response_a", "left"]),
    lambda value: st.lists(value, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["role", "content", "value", "rank", "prompt", "response_a", "response_b", "result",
             "values", "status", "preference", "user_id", "completed_by", "rating", "choices",
             "selected", "to_name", "type", "text"]
        ),
        value,
        max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip
NAMES = st.sampled_from(
    [*KNOWN, "fields", "responses", "data", "annotations", "preference.responses",
     "preference.responses.users", "preference.responses.status"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(
    rows=st.lists(st.dictionaries(NAMES, VALUES, min_size=2, max_size=5), min_size=1, max_size=2)
)
def test_whatever_the_values_only_input_errors_come(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    path = jsonl(tmp_path / "a.jsonl", rows)
    said = complaint(lambda: (read(path), describe(path)))
    assert said is None or said.startswith(f"{path}:")

"""Small files are whole or absent, and records come back from JSON as they were."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from ethosteer.errors import InputError
from ethosteer.files import file_hash, from_json, read_json, to_json, write_atomic, write_json
from ethosteer.results.steering import Checkpoint, CurvePoint, SteeringResult


def test_a_text_file_is_replaced_as_a_whole(tmp_path: Path):
    path = tmp_path / "results.txt"
    write_atomic(path, "before ünd 道徳")
    assert path.read_text("utf-8") == "before ünd 道徳"
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "half" * 10_000 + "\ud800")  # fails while it is being written
    assert path.read_text("utf-8") == "before ünd 道徳"
    write_atomic(path, "after")
    assert path.read_text("utf-8") == "after"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.txt"]


def test_bytes_do_not_depend_on_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.linesep", "\r\n")
    write_atomic(tmp_path / "a.txt", "one\ntwo\r\nü\n")
    assert (tmp_path / "a.txt").read_bytes() == b"one\ntwo\r\n\xc3\xbc\n"


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-4's example of a message of three bytes
    assert file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
    large = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(large)
    assert file_hash(tmp_path / "a") == hashlib.sha256(large).hexdigest()


def test_json_is_sorted_readable_and_ends_with_a_newline(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": "é", "a": [1]})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "a": [\n    1\n  ],\n  "b": "é"\n}\n'


@dataclass(frozen=True, slots=True)
class Inner:
    value: float
    label: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Outer:
    inner: dict[int, Inner]
    text: str | None = None


def test_json_of_records_keeps_order_types_and_non_finite_numbers():
    record = Outer({3: Inner(math.nan, (1, 2)), 1: Inner(-math.inf)}, "NaN")
    text = to_json(record)
    plain = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert list(plain) == ["inner", "text"] and list(plain["inner"]) == ["3", "1"]
    assert plain["inner"]["1"]["value"] == "-Infinity"
    back = from_json(text, Outer, "a.json")
    assert list(back.inner) == [3, 1] and back.text == "NaN"
    assert math.isnan(back.inner[3].value) and back.inner[3].label == (1, 2)
    assert back.inner[1] == record.inner[1]


@pytest.mark.parametrize("number", [0.1, 1e-5, 1e16, 1e300, 5e-324, 1 / 3, 0.0, -0.0])
def test_floats_come_back_to_the_last_digit(number: float):
    back = from_json(to_json([number]), list[float], "a.json")[0]
    assert back == number and math.copysign(1, back) == math.copysign(1, number)


def test_a_steering_result_comes_back(tmp_path: Path):
    point = CurvePoint(3, 0.5, 1.5, 1.4, 0.1, 12.5, 0.25, 3.25, rewards={"b": 1.0, "a": 2.0})
    result = SteeringResult(
        "ppo", [0.1, 0.2], {"step": Checkpoint(9, [1.0], [2.0])}, [point], "stopped early"
    )
    write_json(tmp_path / "result.json", result)
    assert read_json(tmp_path / "result.json", SteeringResult) == result


def test_a_damaged_file_is_named_with_its_key(tmp_path: Path):
    path = tmp_path / "result.json"
    path.write_text('{"inner": {"1": {"value": "small"}}}', "utf-8")
    with pytest.raises(InputError) as caught:
        read_json(path, Outer)
    assert str(caught.value).startswith(f"{path}: inner.1.value: ")
    path.write_text('{"inner": ', "utf-8")
    with pytest.raises(InputError) as caught:
        read_json(path, Outer)
    assert str(caught.value).startswith(f"{path}: Invalid JSON")

"""Parquet of odd types, and beyond the limits: read as text, or refused with file and row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ethosteer.data.formats import files
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.data.formats.files import read_rows
from ethosteer.errors import InputError
from ethosteer.settings import ArmSettings
from tests.malformed import complaint

TWO = ["May I?", "Why?"]
TEXTS: dict[str, Any] = {
    "large text": pa.array(TWO, pa.large_string()),
    "a dictionary": pa.array(TWO).dictionary_encode(),
}
REFUSED: dict[str, Any] = {
    "bytes": pa.array([b"one", b"\xff"]),
    "bytes of fixed length": pa.array([b"ab", b"cd"], pa.binary(2)),
    "decimals": pa.array([1, 2], pa.decimal128(5, 2)),
    "times": pa.array([1, 2], pa.timestamp("us")),
    "times beyond Python's": pa.array([2**62, -(2**62)], pa.timestamp("us")),
    "nanoseconds of no zone": pa.array([1, 2], pa.timestamp("ns", tz="Mars/Olympus")),
    "durations": pa.array([2**62, 1], pa.duration("s")),
    "a column of nothing": pa.nulls(2),
    "half floats": pa.array([1, 2]).cast(pa.float16()),
    "whole numbers": pa.array([2**64 - 1, 0], pa.uint64()),
    "truth values": pa.array([True, None]),
    "a map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "lists in lists": pa.array([[["a"]], [[]]]),
    "an object": pa.array([{"role": "user", "content": "x"}, None]),
    "text that is not UTF-8": pa.Array.from_buffers(
        pa.string(), 2, [None, *pa.array([b"\xed\xa0\x80", b"x"]).buffers()[1:]]
    ),
}


def written(folder: Path, column: Any) -> Path:
    path = folder / "f.parquet"
    pq.write_table(pa.table({"prompt": column, "chosen": TWO, "rejected": TWO[::-1]}), path)
    return path


def curate(path: Path) -> None:
    dataset = file_dataset("mine", ArmSettings(file=str(path)))
    list(dataset.pairs(list(dataset.rows(path)), 2))


@pytest.mark.parametrize("name", TEXTS)
def test_every_type_of_text_is_text(tmp_path: Path, name: str) -> None:
    rows = list(read_rows(written(tmp_path, TEXTS[name])))
    assert [row.text("prompt") for row in rows] == TWO
    assert [row.line for row in rows] == [1, 2]


@pytest.mark.parametrize("name", REFUSED)
def test_other_types_are_refused_by_file_and_column(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, REFUSED[name])
    said = complaint(lambda: curate(path))
    assert said is not None
    assert re.match(rf"{path}(:[12]: column 'prompt'|: not a whole Parquet file)", said)


def test_a_long_text_that_a_dictionary_holds_once_is_counted_for_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"prompt": ["long " * 10_000] * 2000}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(files, "LARGEST_FILE", 10**6)
    with pytest.raises(InputError, match=r"f\.parquet: has more than 1,000,000 bytes when it is r"):
        list(read_rows(path))


def test_more_rows_than_the_maximum_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ethosteer.data.readers.LARGEST_ROWS", 1)
    with pytest.raises(InputError, match=r"f\.parquet:2: has more than 1 rows; split it"):
        list(read_rows(written(tmp_path, TEXTS["large text"])))

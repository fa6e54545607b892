"""Rows are the same whatever kind of file holds them, and keep the line that an editor shows."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ethosteer.data.formats.files import read_rows, shards
from ethosteer.errors import InputError

ROWS = [
    {"prompt": 'Two\nlines, "quoted"', "chosen": "yes", "rejected": "nö"},
    {"prompt": "one line", "chosen": "a\u2028b", "rejected": "c"},
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def table(delimiter: str) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, ROWS[0], delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(ROWS)
    return file.getvalue()


CONTENTS = {
    "a.jsonl": LINES.encode(),
    "marked.jsonl": b"\xef\xbb\xbf" + LINES.encode(),
    "a.jsonl.gz": gzip.compress(LINES.encode()),
    "a.json": json.dumps(ROWS).encode(),
    "pretty.json": json.dumps(ROWS, indent=2).encode(),
    "lines.json": LINES.encode(),
    "a.csv": table(",").encode(),
    "marked.csv": b"\xef\xbb\xbf" + table(",").encode(),
    "windows.csv": table(",").replace("\n", "\r\n").encode(),
    "A.TSV": table("\t").encode(),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_kind_of_text_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENTS[name])
    rows = [row.fields for row in read_rows(tmp_path / name)]
    if name == "windows.csv":  # its quoted line break is a Windows one, too
        rows[0]["prompt"] = str(rows[0]["prompt"]).replace("\r\n", "\n")
    assert rows == ROWS


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    rows = list(read_rows(tmp_path / "a.parquet"))
    assert [row.fields for row in rows] == ROWS
    assert [row.line for row in rows] == [1, 2]


@pytest.mark.parametrize(
    ("name", "lines"),
    [("a.jsonl", [1, 2]), ("pretty.json", [2, 7]), ("a.json", [1, 1]), ("a.csv", [2, 4])],
)
def test_rows_carry_the_line_that_they_start_on(
    tmp_path: Path, name: str, lines: list[int]
) -> None:
    (tmp_path / name).write_bytes(CONTENTS[name])
    assert [row.line for row in read_rows(tmp_path / name)] == lines


def test_a_folder_of_shards_is_read_by_name(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz"):
        row = json.dumps({"from": name}).encode()
        (tmp_path / name).write_bytes(gzip.compress(row) if name.endswith("gz") else row)
    (tmp_path / ".c.jsonl").write_text("not read")
    (tmp_path / "README.md").write_text("not data")
    rows = list(read_rows(tmp_path))
    assert [row.fields["from"] for row in rows] == ["a.jsonl.gz", "b.jsonl"]
    assert [row.path.name for row in rows] == ["a.jsonl.gz", "b.jsonl"]


def test_a_folder_of_several_kinds_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no data files"):
        shards(tmp_path)
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=r"a\.csv and b\.jsonl are of different kinds"):
        shards(tmp_path)

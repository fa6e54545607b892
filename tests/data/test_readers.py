from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethosteer.data.readers import Row, read_csv, read_jsonl
from ethosteer.data.text_files import read_text
from ethosteer.errors import InputError
from tests.malformed import complaint


def message(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    return str(caught.value)


def test_csv_rows_carry_the_line_they_start_on(publish):
    path = publish("a.csv", 'x,y\n1,"two\nlines"\n\n2,next\n')
    rows = [(row.line, row.text("x"), row.text("y")) for row in read_csv(path, ("x", "y"))]
    assert rows == [(2, "1", "two\nlines"), (5, "2", "next")]


def test_csv_header_may_have_more_columns_a_mark_and_windows_line_ends(publish):
    path = publish("a.csv", "\ufeffy,other,x\r\n1,2,3\r\n".encode())
    (row,) = read_csv(path, ("x", "y"))
    assert (row.text("x"), row.text("y")) == ("3", "1")


def test_csv_without_header_starts_on_line_one(publish):
    path = publish("a.csv", "All was good.,bad\n")
    (row,) = read_csv(path, ("better", "worse"), header=False)
    assert (row.line, row.text("better"), row.text("worse")) == (1, "All was good.", "bad")


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"", 1, "column 'x' is missing"),
        (b"x,z\n1,2\n", 1, "column 'y' is missing; the header has x, z"),
        (b"x,y\n", 1, "no rows"),
        (b"x,y\n1,2\n1,2,3\n", 3, "3 fields where 2 are expected"),
        (b"x,y\n1,2\n1,a\xe9b\n", 3, "byte 0xe9 is not utf-8"),
        (b'x,y\n1,"two\nlines"\n3,"open\n4,5\n', 4, "not a well-formed CSV row"),
    ],
)
def test_csv_errors_name_file_and_line(publish, content, line, problem):
    path = publish("a.csv", content)
    said = message(lambda: list(read_csv(path, ("x", "y"))))
    assert said.startswith(f"{path}:{line}: ")
    assert problem in said


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("", 1, "no rows"),
        ('{"x": 1}\n\n{"y": 1}\n', 3, "field 'x' is missing"),
        ('{"x": 1}\n[1]\n', 2, "must be a JSON object"),
        ('{"x": 1}\n{"x": \n', 2, "not valid JSON"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_jsonl_errors_name_file_and_line(publish, name, content, line, problem):
    path = publish(name, content)
    said = message(lambda: list(read_jsonl(path, ("x",))))
    assert said.startswith(f"{path}:{line}: ")
    assert problem in said


def test_jsonl_does_not_split_rows_at_other_line_separators(publish):
    path = publish("a.jsonl", '{"x": "one\u2028two\u0085three"}\n{"x": "four"}\n')
    rows = [(row.line, row.text("x")) for row in read_jsonl(path, ("x",))]
    assert rows == [(1, "one\u2028two\u0085three"), (2, "four")]


# Cut short; not an archive at all; an impossible first block.
@pytest.mark.parametrize(("start", "end"), [(b"", -9), (b"plain", None), (b"\x07", None)])
def test_a_damaged_archive_is_the_users_to_mend(tmp_path, start, end):
    whole = gzip.compress(b'{"x": "some text that is long enough"}\n')
    header = b"" if start == b"plain" else whole[:10]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes((header + start + whole[len(header) + len(start) :])[:end])
    assert message(lambda: read_text(path)).startswith(f"{path}: cannot be read")


@pytest.mark.parametrize("value", ["maybe", "", "nan", "inf", None, True, [1], "1e999", 10**400])
def test_number_wants_a_finite_number(value):
    row = Row(Path("f.csv"), 7, {"n": value})
    assert message(lambda: row.number("n")).startswith("f.csv:7: column 'n' must be a number")


@pytest.mark.parametrize("value", [3, "3", 3.0, " 3.0 "])
def test_integer_reads_whole_numbers(value):
    assert Row(Path("f.csv"), 7, {"n": value}).integer("n") == 3


def test_typed_fields_name_file_line_and_column():
    row = Row(Path("f.csv"), 7, {"n": "2.5", "t": 4, "c": "purple"})
    assert message(lambda: row.integer("n")) == (
        "f.csv:7: column 'n' must be a whole number, found 2.5"
    )
    assert message(lambda: row.text("t")) == "f.csv:7: column 't' must be text, found 4"
    assert message(lambda: row.text("gone")) == "f.csv:7: column 'gone' must be text, found nothing"
    assert message(lambda: row.choice("c", ("red", "blue"))) == (
        "f.csv:7: column 'c' must be one of red, blue; found 'purple'"
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), name=st.sampled_from(["a.csv", "a.jsonl"]))
def test_whatever_the_bytes_only_input_errors_come(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    read = read_csv if name == "a.csv" else read_jsonl
    said = complaint(lambda: list(read(path, ("x",))))
    assert said is None or said.startswith(f"{path}:")

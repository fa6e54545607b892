from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethosteer.data import readers
from ethosteer.data.readers import (
    Row,
    check_differ,
    distinct,
    is_blank,
    quoted,
    read_csv,
    read_jsonl,
)
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


# --- what is refused, or read, in every file of a kind


@pytest.mark.parametrize("header", ["better,worse", "Scenario 1,Scenario 2", "0,1", '"a","b c"'])
def test_a_header_in_a_file_without_one_is_refused(publish, header):
    path = publish("a.csv", f"{header}\nIt rained.,It poured.\n")
    said = message(lambda: list(read_csv(path, ("x", "y"), header=False)))
    assert said.startswith(f"{path}:1: ")
    assert "look like a header, which this file has none of; remove the line" in said


def test_short_sentences_are_no_header_and_words_may_follow(publish):
    path = publish("a.csv", "It rained.,sun\nsun,moon\n")
    rows = list(read_csv(path, ("x", "y"), header=False))
    assert [row.text("x") for row in rows] == ["It rained.", "sun"]


def test_a_column_that_is_there_twice_is_refused(publish):
    path = publish("a.csv", "x,y,x\n1,2,3\n")
    assert message(lambda: list(read_csv(path, ("x",)))) == (
        f"{path}:1: column 'x' is there twice; rename one"
    )
    assert len(list(read_csv(publish("b.csv", ",,x\n1,2,3\n"), ("x",)))) == 1  # unnamed indices


def test_a_field_of_megabytes_may_be_an_open_quote(publish):
    path = publish("a.csv", 'x\none\n"' + "long " * 40_000 + "\n")
    said = message(lambda: list(read_csv(path, ("x",))))
    assert said.startswith(f"{path}:3: ")
    assert "a field has over 131,072 characters; is a quote open?" in said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"x": 1, "x": 2}', "not valid JSON: the key 'x' is there twice"),
        ('{"x": [{"a": 1, "a": 1}]}', "not valid JSON: the key 'a' is there twice"),
        ('{"x": ' + "1" * 5000 + "}", "not valid JSON: a number has thousands of digits"),
        ('{"x": ' + "[" * 50_000, "not valid JSON: it is nested too deep"),
    ],
)
def test_json_that_says_two_things_or_too_much(publish, text, problem):
    path = publish("a.jsonl", f'{{"x": 0}}\n{text}\n')
    assert message(lambda: list(read_jsonl(path, ("x",)))) == f"{path}:2: {problem}"


def test_a_file_has_a_maximum_of_rows(publish, monkeypatch):
    monkeypatch.setattr(readers, "LARGEST_ROWS", 3)
    path = publish("a.jsonl", '{"x": 1}\n' * 4)
    assert message(lambda: list(read_jsonl(path, ()))) == (
        f"{path}:4: has more than 3 rows; split it into several files"
    )
    path = publish("a.csv", "x\n1\n2\n3\n")
    assert len(list(read_csv(path, ("x",)))) == 3


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x1c"])
def test_line_separators_in_a_cell_are_text(publish, separator):
    path = publish("a.csv", f"x,y\none{separator}two,three\n")
    assert [row.text("x") for row in read_csv(path, ("x", "y"))] == [f"one{separator}two"]


@pytest.mark.parametrize("value", ["a\ud83d", ["b", {"c": "\ud83d"}], {"\ud83d": 1}])
def test_half_a_character_is_refused_wherever_it_is(value):
    row = Row(Path("f.jsonl"), 7, {"t": value})
    assert message(lambda: row.value("t")) == (
        "f.jsonl:7: the text has half of a surrogate pair, \\ud83d; remove it or write the whole "
        "character"
    )


def test_a_nul_character_and_a_deep_value_are_refused_where_they_are_used():
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    row = Row(Path("f.jsonl"), 7, {"t": "a\0", "d": deep, "unused": "\ud83d"})
    assert message(lambda: row.text("t")) == (
        "f.jsonl:7: the text has a NUL character, \\u0000; remove it"
    )
    assert message(lambda: row.value("d")) == "f.jsonl:7: column 'd' is nested too deep"
    assert len(quoted(deep)) <= 60


def test_quoted_is_short_whatever_the_value():
    assert quoted(None) == "nothing"
    assert quoted("a") == "'a'"
    assert quoted(10**6000) == "a number of thousands of digits"
    assert quoted("x" * 10**6).startswith("'xxx") and len(quoted("x" * 10**6)) <= 60
    assert quoted("\x1b[31m") == "'\\x1b[31m'"


@pytest.mark.parametrize("text", ["", " \t\n", "\u200b", "\ufeff\u2060", "\u2028", "\x00"])
def test_a_text_of_which_nothing_can_be_seen_is_blank(text):
    assert is_blank(text)
    row = Row(Path("f.csv"), 7, {"t": text})
    assert message(lambda: row.filled("t")).startswith("f.csv:7: ")


@pytest.mark.parametrize("text", [".", "a\u200b", "\U0001f600", "ะ", "\u200da"])
def test_a_text_of_which_something_can_be_seen_is_not(text):
    assert not is_blank(text)
    assert Row(Path("f.csv"), 7, {"t": text}).filled("t") == text


@pytest.mark.parametrize("value", ["0.9", "5.1", "-3", "1e9", "nan"])
def test_a_number_out_of_its_range_is_refused(value):
    row = Row(Path("f.csv"), 7, {"n": value})
    assert message(lambda: row.number("n", 1, 5)) == (
        f"f.csv:7: column 'n' must be a number from 1 to 5, found {value!r}"
    )


def test_ids_that_are_there_twice_and_texts_that_are_the_same():
    rows = [Row(Path("f.csv"), line, {"id": name}) for line, name in ((2, "a"), (3, "b"), (4, "a"))]
    assert message(lambda: list(distinct(rows, "id"))) == (
        "f.csv:4: column 'id': 'a' is that of line 2 too; rename one"
    )
    row = Row(Path("f.csv"), 7, {"x": "The same. ", "y": "The same."})
    assert message(lambda: check_differ(row, "x", "y")) == (
        "f.csv:7: columns 'x' and 'y' are the same text; change one, or remove the row"
    )


def test_a_header_that_is_repeated_is_refused(publish):
    path = publish("a.csv", "x,y\n1,2\nx,y\n3,4\n")
    assert message(lambda: list(read_csv(path, ()))) == (
        f"{path}:3: the header is repeated; remove the line"
    )

"""Text files as people have them: marks, encodings, archives that lie, TOML of any shape."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ethosteer.data import text_files
from ethosteer.data.text_files import DEEPEST, is_too_deep, parse_toml, read_text, read_toml
from ethosteer.errors import InputError


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("marks", [0, 1, 2])
def test_byte_order_marks_are_no_text(publish, name: str, marks: int) -> None:
    path = publish(name, b"\xef\xbb\xbf" * marks + "é,\ufeff\n".encode())
    assert read_text(path) == "é,\ufeff\n"


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"a\nb\0c\n", 2, "has a NUL character"),
        ("a\nb\n".encode("utf-16-le"), 1, "has a NUL character"),
        ("a\nb\n".encode("utf-16"), 1, "byte 0xff is not utf-8"),
        ("a\ncafé\n".encode("latin-1"), 2, "byte 0xe9 is not utf-8"),
        (b"a\n\xed\xa0\xbd\n", 2, "byte 0xed is not utf-8"),
    ],
)
def test_another_encoding_is_refused_with_the_line(publish, content, line, problem) -> None:
    path = publish("a.csv", content)
    with pytest.raises(InputError) as refused:
        read_text(path)
    assert str(refused.value).startswith(f"{path}:{line}: {problem}")
    assert "save the file as UTF-8" in str(refused.value)


def test_an_archive_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LARGEST_FILE", 3_000_000)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 4_000_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"bomb\.jsonl\.gz: has more than 3,000,000 bytes when it"):
        read_text(path)
    path.write_bytes(gzip.compress(b"\n" * 3_000_000))
    assert len(read_text(path)) == 3_000_000


@pytest.mark.parametrize("spoil", [lambda data: data[:-5], lambda data: b"x" + data])
def test_a_damaged_archive_names_the_file(tmp_path: Path, spoil) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(spoil(gzip.compress(b"text\n" * 100)))
    with pytest.raises(InputError, match=r"a\.csv\.gz: cannot be read: "):
        read_text(path)


def test_a_file_that_is_not_there_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: cannot be read"):
        read_text(tmp_path / "gone.csv")
    with pytest.raises(InputError, match=r"gone\.toml: cannot be read: No such file"):
        read_toml(tmp_path / "gone.toml")


# --- TOML


def test_toml_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml(path) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = ", "Invalid value"),
        ("a = 1\na = 2", "Cannot overwrite a value"),
        ("a = " + "1" * 5000, "a number has thousands of digits"),
        ("a = 0x" + "f" * 9000, "a whole number has more than 64 bits"),
        ("a = 9223372036854775808", "a whole number has more than 64 bits"),
        ("a = [[-9223372036854775809]]", "a whole number has more than 64 bits"),
        ("a = " + "[" * 20_000, "it is nested too deep"),
        ("a = " + "[" * 80 + "]" * 80, "it is nested too deep"),
        (".".join("a" * 500) + " = 1", "it is nested too deep"),
    ],
)
def test_toml_that_cannot_be_read_says_why(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        read_toml(path)
    assert str(refused.value).startswith(f"{path}: not valid TOML: {problem}")


def test_the_largest_whole_numbers_of_toml_are_read() -> None:
    text = "a = 9223372036854775807\nb = -9223372036854775808"
    assert parse_toml(text) == {"a": 2**63 - 1, "b": -(2**63)}


def test_a_toml_file_of_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"#" * (text_files.LARGEST_TOML + 1))
    with pytest.raises(InputError, match=r"a\.toml: has 1,048,577 bytes; a TOML file has at most"):
        read_toml(path)


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value, {"a": 1}]
    return value


def test_depth_is_counted_in_lists_and_tables() -> None:
    assert not is_too_deep(nested(DEEPEST))
    assert is_too_deep(nested(DEEPEST + 2))
    assert is_too_deep({"a": ({"b": nested(DEEPEST)},)})

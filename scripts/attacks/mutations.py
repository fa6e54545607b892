"""Ways to spoil a text file: its bytes, its rows, and the values of its rows."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

JSON_VALUES = (
    "null", "true", "-1", "0", "1.5", "1e999", "-1e308", "NaN", "Infinity", "1" * 400, "1" * 5000,
    '""', '" "', '"\\u2028"', '"\\ud83d"', '"x\\udc00"', '"\\u0000"', '"\\u001b[31m"', '"=1+1"',
    '"NaN"', '"' + "long " * 20_000 + '"', "[]", "{}", "[1]", '["", ""]', '["a", "a"]', '[["a"]]',
    '{"a": 1}', '{"a": 1, "a": 2}', "[" * 90 + "]" * 90, "[" * 100_000, '[{"role": "user"}]',
    '[{"role": "x", "content": "y"}]', '"<|endoftext|>"', '"\\n\\nHuman: a\\n\\nAssistant: b"', "",
)  # fmt: skip
"""JSON, and what only looks like it, to stand for a row's value."""

CELLS = (
    "", " ", "-1", "0", "2", "1e999", "nan", "1" * 400, "\u2028", "\u0085", "\ufeff", "\x1b[31m",
    "=1+1", "null", "true", '""', '"', "a,b", "a\tb", "[SEP]", " [SEP] ", "x" * 140_000, "\x00",
    "\u200b", '["a"]', '["a", "a"]', "[" * 3000, "half", "1,5",
)  # fmt: skip
"""Texts to stand for a cell of a CSV file; some break its row."""

TOML_VALUES = (
    "-1", "0", "1", "3", "0.5", "50", "1e6", "1e300", "inf", "-inf", "nan", "9223372036854775807",
    "1" * 30, "1" * 5000, "0x" + "f" * 9000, "true", "false", '""', '" "', '"a"', '"none"', '"NUL"',
    '"a/b"', '"../x"', '"/dev/zero"', '"~nobody-here/x"', '"\\u0000"', '"\\u001b[2J"', "'\\ud800'",
    '"' + "x" * 300 + '"', '"' + "x" * 5000 + '"', "[]", "[0]", "[0, 0]", "[-1]", "[4294967296]",
    '["a"]', '["a", "a"]', "{}", "{a = 1}", "[" * 60 + "]" * 60, "[" * 90 + "]" * 90,
    "[" * 20_000, "1979-05-27", "07:32:00", '"""\n"""', "=", "",
)  # fmt: skip
"""TOML, and what only looks like it, to stand for a setting's value."""

ARGUMENTS = (
    "", " ", "-", "--", "=", "a=b=c", "../..", "/", "/dev/null", "/dev/zero", ".", "x" * 300,
    "x" * 5000, "a/" * 2000, "\x1b[31m", "\udcff", "\u2028", "nul", "~nobody-here", "*", "%s",
    "{0}", "a.toml", "a.jsonl", "a,b", ",", ":", "lm-eval:", "preferences:", "preferences:x",
    "base=x", "-1", "0", "1e9", "99999999999999999999", "nan", "none", "true",
)  # fmt: skip
"""Texts to stand for an argument of a command."""


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A spoiled file: what was done, and the line (from 1) that alone was changed, if one was."""

    how: str
    content: bytes
    line: int | None = None


def spoil(name: str, text: str, noise: random.Random) -> Spoiled:
    """Return the file called ``name`` with one thing wrong, or different, in it."""
    if noise.random() < 0.4:
        how, spoiled = noise.choice(BYTES)
        content = spoiled(_compressed(name, text.encode()), noise)
        return Spoiled(how, content)
    lines = text.rstrip("\n").split("\n")
    if noise.random() < 0.25:
        how, rows = noise.choice(LINES)
        return Spoiled(how, _compressed(name, "\n".join(rows(lines, noise)).encode()))
    number = noise.randrange(len(lines))
    how, line = (_json_row if ".jsonl" in name else _csv_row)(name, lines[number], noise)
    lines[number] = line
    content = ("\n".join(lines) + "\n").encode(errors="surrogatepass")
    return Spoiled(how, _compressed(name, content), number + 1)


def _compressed(name: str, content: bytes) -> bytes:
    return gzip.compress(content, mtime=0) if name.endswith(".gz") else content


def _json_row(name: str, line: str, noise: random.Random) -> tuple[str, str]:
    row = json.loads(line)
    column = noise.choice(list(row))
    kind = noise.random()
    if kind < 0.1:
        del row[column]
        return "a key removed", json.dumps(row)
    if kind < 0.2:
        row[column.upper() + " "] = row.pop(column)
        return "a key renamed", json.dumps(row)
    if kind < 0.3:
        return "a key twice", json.dumps(row)[:-1] + f", {json.dumps(column)}: null}}"
    if kind < 0.4 and isinstance(row[column], list) and row[column]:
        row[column] = [row[column][0]] * len(row[column])
        return "a list of one value", json.dumps(row)
    raw = noise.choice(JSON_VALUES)
    row[column] = "@@"
    return "a value replaced", json.dumps(row).replace('"@@"', raw)


def _csv_row(name: str, line: str, noise: random.Random) -> tuple[str, str]:
    delimiter = "\t" if ".tsv" in name else ","
    cells = next(csv.reader([line], delimiter=delimiter))
    index = noise.randrange(len(cells))
    kind = noise.random()
    if kind < 0.1:
        return "a cell removed", delimiter.join(cells[:index] + cells[index + 1 :])
    if kind < 0.2:
        return "a cell added", line + delimiter + "more"
    if kind < 0.3:
        cells[index] = cells[index - 1]
        return "a cell copied from its neighbour", _csv_line(cells, delimiter)
    cells[index] = noise.choice(CELLS)
    if kind < 0.4:
        return "a raw cell", delimiter.join(cells)
    return "a cell replaced", _csv_line(cells, delimiter)


def _csv_line(cells: Sequence[str], delimiter: str) -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="").writerow(cells)
    return file.getvalue()


def _cut(content: bytes, noise: random.Random) -> bytes:
    return content[: noise.randrange(len(content))]


def _flip(content: bytes, noise: random.Random) -> bytes:
    index = noise.randrange(len(content))
    return (
        content[:index] + bytes([content[index] ^ (1 << noise.randrange(8))]) + content[index + 1 :]
    )


def _insert(inserted: bytes) -> Callable[[bytes, random.Random], bytes]:
    def spoiled(content: bytes, noise: random.Random) -> bytes:
        index = noise.randrange(len(content) + 1)
        return content[:index] + inserted + content[index:]

    return spoiled


def _decoded(content: bytes, encoding: str) -> bytes:
    try:
        return content.decode().encode(encoding, errors="replace")
    except UnicodeDecodeError:  # compressed
        return content[::-1]


BYTES: tuple[tuple[str, Callable[[bytes, random.Random], bytes]], ...] = (
    ("cut", _cut),
    ("a bit flipped", _flip),
    ("a NUL", _insert(b"\0")),
    ("a byte that is not UTF-8", _insert(b"\xff")),
    ("half a character", _insert(b"\xc3")),
    ("a surrogate in UTF-8", _insert(b"\xed\xa0\x80")),
    ("a quote", _insert(b'"')),
    ("a carriage return", _insert(b"\r")),
    ("a line separator", _insert("\u2028".encode())),
    ("a next line", _insert("\u0085".encode())),
    ("a byte order mark", lambda content, _: b"\xef\xbb\xbf" + content),
    ("two byte order marks", lambda content, _: b"\xef\xbb\xbf" * 2 + content),
    ("UTF-16", lambda content, _: _decoded(content, "utf-16")),
    ("UTF-16 without mark", lambda content, _: _decoded(content, "utf-16-le")),
    ("UTF-32", lambda content, _: _decoded(content, "utf-32")),
    ("cp500", lambda content, _: _decoded(content, "cp500")),
    ("empty", lambda content, _: b""),
    ("blank", lambda content, _: b"\n \n\n"),
    ("noise", lambda content, noise: noise.randbytes(len(content))),
    ("gzip of it", lambda content, _: gzip.compress(content, mtime=0)),
    ("Windows line ends", lambda content, _: content.replace(b"\n", b"\r\n")),
    ("old Mac line ends", lambda content, _: content.replace(b"\n", b"\r")),
    ("twice", lambda content, _: content * 2),
    ("a line of a megabyte", lambda content, _: content + b"x" * 1_000_000 + b"\n"),
    ("a cut archive's trailer", lambda content, _: content[:-4]),
)  # fmt: skip

LINES: tuple[tuple[str, Callable[[list[str], random.Random], list[str]]], ...] = (
    ("the first line removed", lambda lines, _: lines[1:]),
    ("only the first line", lambda lines, _: lines[:1]),
    ("a line twice", lambda lines, noise: [*lines, noise.choice(lines)]),
    ("lines in another order", lambda lines, _: [lines[0], *reversed(lines[1:])]),
    ("blank lines between", lambda lines, _: [part for line in lines for part in (line, "")]),
    ("a header before it", lambda lines, _: ["better,worse", *lines]),
    ("a line of another file", lambda lines, _: [*lines, '{"x": [1]}']),
)  # fmt: skip

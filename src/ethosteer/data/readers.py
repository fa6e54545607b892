"""Readers of published files: CSV, JSON lines and text, gzipped or plain.

A malformed row is an InputError with the file and the line. Curation leaves out well-formed rows
that it cannot use, and counts them.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ethosteer.errors import InputError


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a published file, with typed access that names file and line when it fails."""

    path: Path
    line: int
    fields: dict[str, object]

    def fail(self, problem: str) -> InputError:
        """Return the error for this row (to be raised by the caller)."""
        return InputError.at(self.path, self.line, problem)

    def text(self, column: str) -> str:
        """Return a text field."""
        value = self.fields.get(column)
        if not isinstance(value, str):
            raise self.fail(f"column {column!r} must be text, found {_quoted(value)}")
        return value

    def number(self, column: str) -> float:
        """Return a field as a float."""
        value = self.fields.get(column)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
            if math.isfinite(number):
                return number
        raise self.fail(f"column {column!r} must be a number, found {_quoted(value)}")

    def integer(self, column: str) -> int:
        """Return a field as a whole number."""
        value = self.number(column)
        if value != int(value):
            raise self.fail(f"column {column!r} must be a whole number, found {value}")
        return int(value)

    def choice(self, column: str, allowed: Sequence[str]) -> str:
        """Return a field that must be one of ``allowed``."""
        value = self.fields.get(column)
        text = "" if value is None else str(value).strip()
        if text not in allowed:
            raise self.fail(
                f"column {column!r} must be one of {', '.join(allowed)}; found {_quoted(value)}"
            )
        return text


def _quoted(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a text file, gzipped or plain; an undecodable byte is an InputError with its line."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as fault:
        raise InputError.at(path, None, f"cannot be read: {fault}") from fault
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise InputError.at(
            path, line, f"byte 0x{data[fault.start]:02x} is not {encoding}; save the file as UTF-8"
        ) from fault


def read_csv(
    path: Path,
    columns: Sequence[str],
    *,
    header: bool = True,
    delimiter: str = ",",
) -> Iterator[Row]:
    """Read a CSV file's rows. ``line`` is the line a row starts on.

    With ``header`` every name in ``columns`` must be in the first line (others may be there too);
    without, each row must have exactly these columns, in this order.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    names = list(columns)
    line = 1
    try:
        if header:
            names = [name.removeprefix("\ufeff") for name in next(reader, [])]
            missing = [name for name in columns if name not in names]
            if missing:
                raise InputError.at(
                    path,
                    1,
                    f"column {missing[0]!r} is missing; the header has {', '.join(names) or '-'}",
                )
            line = reader.line_num + 1
        empty = True
        for values in reader:
            if values:
                if len(values) != len(names):
                    raise InputError.at(
                        path, line, f"{len(values)} fields where {len(names)} are expected"
                    )
                empty = False
                yield Row(path, line, dict(zip(names, values, strict=True)))
            line = reader.line_num + 1
    except csv.Error as fault:
        raise InputError.at(path, line, f"not a well-formed CSV row: {fault}") from fault
    if empty:
        raise InputError.at(path, 1, "the file has no rows")


def read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read a JSON-lines file, gzipped or plain; every row must be an object with ``columns``."""
    empty = True
    # Not splitlines: JSON strings may hold U+2028 and the like, which it would break at.
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as fault:
            raise InputError.at(path, line, f"not valid JSON: {fault.msg}") from fault
        if not isinstance(fields, dict):
            raise InputError.at(path, line, f"must be a JSON object, found {_quoted(fields)}")
        missing = [name for name in columns if name not in fields]
        if missing:
            raise InputError.at(path, line, f"field {missing[0]!r} is missing")
        empty = False
        yield Row(path, line, fields)
    if empty:
        raise InputError.at(path, 1, "the file has no rows")

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ethosteer.errors import InputError

AS_IN_THE_FILE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a published file, with typed access that names file and line when it fails.

    ``names`` maps a column's name here to its name in the file, where they differ.
    """

    path: Path
    line: int
    fields: dict[str, object]
    names: Mapping[str, str] = field(default_factory=lambda: AS_IN_THE_FILE)

    def fail(self, problem: str) -> InputError:
        """Return the error for this row (to be raised by the caller)."""
        return InputError.at(self.path, self.line, problem)

    def value(self, column: str) -> object:
        """Return a field as it is; None where there is none."""
        return self.fields.get(self.names.get(column, column))

    def bad(self, column: str, problem: str) -> InputError:
        """Return the error for a field that ``problem`` describes, with what was found."""
        name, value = self.names.get(column, column), self.value(column)
        return self.fail(f"column {name!r} {problem}, found {quoted(value)}")

    def text(self, column: str) -> str:
        """Return a text field."""
        value = self.value(column)
        if not isinstance(value, str):
            raise self.bad(column, "must be text")
        return self.encodable(value)

    def encodable(self, text: str) -> str:
        """Return a text of this row; InputError where it is not valid Unicode."""
        try:
            text.encode()
        except UnicodeEncodeError as fault:
            code = ord(text[fault.start])
            raise self.fail(
                f"the text has half of a surrogate pair, \\u{code:04x}; remove it or write the "
                "whole character"
            ) from fault
        return text

    def number(self, column: str) -> float:
        """Return a field as a float."""
        value = self.value(column)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
            if math.isfinite(number):
                return number
        raise self.bad(column, "must be a number")

    def integer(self, column: str) -> int:
        """Return a field as a whole number."""
        value = self.number(column)
        if value != int(value):
            name = self.names.get(column, column)
            raise self.fail(f"column {name!r} must be a whole number, found {value}")
        return int(value)

    def choice(self, column: str, allowed: Sequence[str]) -> str:
        """Return a field that must be one of ``allowed``."""
        name, value = self.names.get(column, column), self.value(column)
        text = "" if value is None else str(value).strip()
        if text not in allowed:
            raise self.fail(
                f"column {name!r} must be one of {', '.join(allowed)}; found {quoted(value)}"
            )
        return text


def quoted(value: object) -> str:
    """Return a value as an error shows it, at most 60 characters."""
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


def json_fault(fault: Exception) -> str:
    """Say what is wrong with a JSON text."""
    return fault.msg if isinstance(fault, json.JSONDecodeError) else str(fault)


def read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read a JSON-lines file, gzipped or plain; every row must be an object with ``columns``."""
    empty = True
    # Not splitlines: JSON strings may hold U+2028 and the like, which it would break at.
    for line, text in enumerate(read_text(path).removeprefix("\ufeff").split("\n"), start=1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise InputError.at(path, line, f"not valid JSON: {json_fault(fault)}") from fault
        if not isinstance(fields, dict):
            raise InputError.at(path, line, f"must be a JSON object, found {quoted(fields)}")
        missing = [name for name in columns if name not in fields]
        if missing:
            raise InputError.at(path, line, f"field {missing[0]!r} is missing")
        empty = False
        yield Row(path, line, fields)
    if empty:
        raise InputError.at(path, 1, "the file has no rows")

"""Readers of published files: CSV, JSON lines and text, gzipped or plain.

A malformed row is an InputError with the file and the line. Curation leaves out well-formed rows
that it cannot use, and counts them.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ethosteer.data.text_files import is_too_deep, parse_fault, read_text
from ethosteer.errors import InputError

LARGEST_ROWS = 5_000_000
"""Rows of a file, so that a small archive of empty rows cannot fill the memory."""
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
        """Return a field as it is, None where there is none.

        Raises InputError where it is nested too deep, or has a text that is no valid Unicode.
        """
        value = self.fields.get(self.names.get(column, column))
        if not isinstance(value, str | int | float | None):
            if is_too_deep(value):
                raise self.fail(f"column {self.names.get(column, column)!r} is nested too deep")
            for text in _texts_in(value):
                self._check_unicode(text)
        elif isinstance(value, str):
            self._check_unicode(value)
        return value

    def bad(self, column: str, problem: str) -> InputError:
        """Return the error for a field that ``problem`` describes, with what was found."""
        name, value = self.names.get(column, column), self.value(column)
        return self.fail(f"column {name!r} {problem}, found {quoted(value)}")

    def text(self, column: str) -> str:
        """Return a text field."""
        value = self.value(column)
        if not isinstance(value, str):
            raise self.bad(column, "must be text")
        return value

    def filled(self, column: str) -> str:
        """Return a text field; InputError where it is blank."""
        text = self.text(column)
        if is_blank(text):
            name = self.names.get(column, column)
            raise self.fail(f"column {name!r} is empty; fill it, or remove the row")
        return text

    def _check_unicode(self, text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError as fault:
            code = ord(text[fault.start])
            raise self.fail(
                f"the text has half of a surrogate pair, \\u{code:04x}; remove it or write the "
                "whole character"
            ) from fault
        if "\0" in text:
            raise self.fail("the text has a NUL character, \\u0000; remove it")

    def number(self, column: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a field as a finite float from ``low`` to ``high``."""
        value = self.value(column)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
            if math.isfinite(number) and low <= number <= high:
                return number
        between = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
        raise self.bad(column, f"must be a number{between}")

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


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen: blanks, zero-width characters and marks."""
    return not text.strip() or not any(map(_is_visible, text))


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 60, 60, 60


def quoted(value: object) -> str:
    """Return a value as an error shows it, at most 60 characters."""
    try:
        text = "nothing" if value is None else _SHORT.repr(value)
    except ValueError:  # Python writes no numbers of over 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def distinct(rows: Iterable[Row], column: str) -> Iterator[Row]:
    """Yield rows; InputError for the first whose ``column`` is that of an earlier row."""
    lines: dict[str, int] = {}
    for row in rows:
        name = row.filled(column)
        if name in lines:
            raise row.fail(
                f"column {column!r}: {quoted(name)} is that of line {lines[name]} too; rename one"
            )
        lines[name] = row.line
        yield row


def check_differ(row: Row, first: str, second: str) -> None:
    """Raise InputError where two texts of a row are the same, for there is nothing to compare."""
    if row.text(first).strip() == row.text(second).strip():
        raise row.fail(
            f"columns {first!r} and {second!r} are the same text; change one, or remove the row"
        )


def limited_rows(path: Path, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows; InputError where there is none, or where they are too many for the memory."""
    number = 0
    for number, row in enumerate(rows, start=1):
        if number > LARGEST_ROWS:
            raise row.fail(f"has more than {LARGEST_ROWS:,} rows; split it into several files")
        yield row
    if not number:
        raise InputError.at(path, 1, "the file has no rows")


def read_csv(
    path: Path,
    columns: Sequence[str],
    *,
    header: bool = True,
    delimiter: str = ",",
) -> Iterator[Row]:
    """Read a CSV file's rows. ``line`` is the line a row starts on.

    With ``header`` every name in ``columns`` must be in the first line (others may be there too);
    without, each row must have exactly these columns, in this order, and the first must not look
    like a header.
    """
    yield from limited_rows(path, _csv_rows(path, columns, header, delimiter))


def _csv_rows(path: Path, columns: Sequence[str], header: bool, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    names = list(columns)
    line = 1
    try:
        if header:
            names = next(reader, [])
            if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
                raise InputError.at(path, 1, f"column {twice[0]!r} is there twice; rename one")
            missing = [name for name in columns if name not in names]
            if missing:
                raise InputError.at(
                    path,
                    1,
                    f"column {missing[0]!r} is missing; the header has {', '.join(names) or '-'}",
                )
            line = reader.line_num + 1
        for values in reader:
            if values:
                if not header and line == 1 and all(map(_is_column_name, values)):
                    raise InputError.at(
                        path,
                        1,
                        f"{', '.join(map(quoted, values))} look like a header, which this file has "
                        "none of; remove the line",
                    )
                if header and values == names:
                    raise InputError.at(path, line, "the header is repeated; remove the line")
                if len(values) != len(names):
                    raise InputError.at(
                        path, line, f"{len(values)} fields where {len(names)} are expected"
                    )
                yield Row(path, line, dict(zip(names, values, strict=True)))
            line = reader.line_num + 1
    except csv.Error as fault:
        problem = str(fault)
        if "field limit" in problem:
            problem = f"a field has over {csv.field_size_limit():,} characters; is a quote open?"
        raise InputError.at(path, line, f"not a well-formed CSV row: {problem}") from fault


def _is_column_name(value: str) -> bool:
    """Return whether a field of a headerless file can only be a column's name: no sentence."""
    return len(value.split()) <= 3 and not re.search(r"[.,;:!?]", value)


def read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read a JSON-lines file, gzipped or plain; every row must be an object with ``columns``."""
    yield from limited_rows(path, _jsonl_rows(path, columns))


def _jsonl_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    for line, text in enumerate(_lines(read_text(path)), start=1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as fault:
            raise InputError.at(path, line, f"not valid JSON: {parse_fault(fault)}") from fault
        if not isinstance(fields, dict):
            raise InputError.at(path, line, f"must be a JSON object, found {quoted(fields)}")
        missing = [name for name in columns if name not in fields]
        if missing:
            raise InputError.at(path, line, f"field {missing[0]!r} is missing")
        yield Row(path, line, fields)


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object of a JSON text; ValueError where a key is there twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return fields


def _lines(text: str) -> Iterator[str]:
    """Yield lines one by one, for their list may be larger than the text.

    Not splitlines: JSON strings may hold U+2028 and the like, which it would break at.
    """
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _texts_in(value: object) -> Iterator[str]:
    """Yield every text in lists and objects."""
    pending = [value]
    while pending:
        entry = pending.pop()
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            pending += [*entry.keys(), *entry.values()]
        elif isinstance(entry, list | tuple):
            pending += entry

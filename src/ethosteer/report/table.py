"""Tables from plain values: text, numbers, estimates, and cells where something more is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ethosteer.report.blocks import Cell, Column, Mark, Table, Tint
from ethosteer.report.numbers import NONE, interval, number
from ethosteer.results.estimates import Estimate, Slope

Value = str | int | float | Estimate | Slope | Cell | None
"""What a row may hold; None is written as an en dash."""
Write = Callable[..., str]
"""Writes a number: ``write(value)``, or ``write(value, digits)``."""
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Numbers:
    """The head of a column of numbers, and how these are written.

    Without ``write``, integers are written as counts and all else to three digits. Text in such a
    column stays as it is.
    """

    head: str
    write: Write | None = None
    digits: int | None = None


Head = str | Numbers | Column
"""Mere text makes a column of numbers where any of its values is one."""


def table(
    title: str,
    heads: Sequence[Head],
    rows: Iterable[Sequence[Value]],
    *,
    note: str = "",
    folded: bool = False,
    summary: int = 0,
) -> Table:
    """Return a table of one value for each head in every row. The rest is as in ``Table``."""
    rows = [tuple(row) for row in rows]
    columns = [
        head
        if isinstance(head, Column)
        else Column(head.head, "number")
        if isinstance(head, Numbers)
        else Column(head, "number" if any(_is_number(row[index]) for row in rows) else "text")
        for index, head in enumerate(heads)
    ]
    formats = [(head.write, head.digits) if isinstance(head, Numbers) else (None, None)
               for head in heads]  # fmt: skip
    cells = [
        tuple(cell(value, *form) for value, form in zip(row, formats, strict=True)) for row in rows
    ]
    return Table(title, tuple(columns), tuple(cells), note, folded, summary)


def record_table(
    title: str,
    records: Iterable[Record],
    columns: Mapping[Head, Callable[[Record], Value]],
    *,
    note: str = "",
    folded: bool = False,
) -> Table:
    """Return a table of one row for each record: ``columns`` map a head to what it shows of one."""
    rows = [[show(record) for show in columns.values()] for record in records]
    return table(title, list(columns), rows, note=note, folded=folded)


def cell(
    value: Value,
    write: Write | None = None,
    digits: int | None = None,
    *,
    small: Sequence[str] = (),
    mark: Mark = "",
    flags: Sequence[str] = (),
    tint: Tint = 0,
    ring: bool = False,
    link: str = "",
) -> Cell:
    """Return the cell of one value; an estimate's interval is its first small line.

    ``write`` and ``digits`` are those of ``Numbers``, the rest is as in ``Cell``. A ``Cell`` is
    returned as it is.
    """
    if isinstance(value, Cell):
        return value
    if isinstance(value, Estimate | Slope):
        small = (interval(value) if digits is None else interval(value, digits), *small)
        value = value.value
    if value is None:
        text = NONE
    elif isinstance(value, str):
        text = value
    else:
        if write is None:
            write, digits = number, 0 if isinstance(value, int) else digits
        text = write(value) if digits is None else write(value, digits)
    return Cell(text, tuple(small), mark, tuple(flags), tint, ring, link)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float | Estimate | Slope)

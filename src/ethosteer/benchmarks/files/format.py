"""What a format of benchmark files is, and how its columns are recognised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ethosteer.benchmarks.base import TextClassification
from ethosteer.data.readers import Row, is_blank
from ethosteer.errors import InputError
from ethosteer.records import Item, PreferencePair
from ethosteer.results.benchmarks import MetricDefinition
from ethosteer.settings import BenchmarkSettings, FileFormat

COMMON_ROLES: dict[str, tuple[str, ...]] = {
    "id": ("id",),
    "group": ("group",),
    "slices": ("slices", "subject", "category", "bias_type"),
}
"""Roles that every format has, all optional, with the columns that have them by default."""
NO_ROLE = "has no such role"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file: ``of[role]`` are the names, () where the file has none."""

    of: Mapping[str, tuple[str, ...]]

    def has(self, role: str) -> bool:
        """Say whether the file has a column for ``role``."""
        return bool(self.of.get(role))

    def name(self, role: str) -> str:
        """Return the column of a role that has one."""
        return self.of[role][0]

    def text(self, row: Row, role: str) -> str:
        """Return a row's text for a role; InputError where it is missing or blank."""
        return row.filled(self.name(role))

    def optional(self, row: Row, role: str) -> str:
        """Return a row's text for a role, "" where the file or the row has none."""
        value = row.value(self.name(role)) if self.has(role) else None
        if isinstance(value, list | dict | bytes):
            raise row.bad(self.name(role), "must be text or a number")
        text = "" if value is None else str(value).strip()
        return "" if is_blank(text) else text


@dataclass(frozen=True, slots=True)
class FileBenchmark:
    """What a file's rows make: items or preference pairs, and how answers are read and measured.

    The fields are those of ``Benchmark``.
    """

    items: list[Item]
    definitions: tuple[MetricDefinition, ...]
    answers: tuple[str, ...] = ()
    per_token: bool = False
    new_tokens: int = 0
    parse: Callable[[Item, str], int | None] | None = None
    classification: TextClassification | None = None
    pairs: tuple[PreferencePair, ...] = ()
    note: str = ""


Build = Callable[[Sequence[Row], Columns, "FormatSettings"], FileBenchmark]


@dataclass(frozen=True, slots=True)
class FormatSettings:
    """A benchmark's name and table, with errors that name their keys."""

    name: str
    table: BenchmarkSettings

    def fail(self, key: str, problem: str) -> InputError:
        """Return the error for a key of the table (to be raised by the caller)."""
        return InputError(f"benchmarks.{self.name}.{key}: {problem}")


@dataclass(frozen=True, slots=True)
class Format:
    """One format: ``roles`` maps each to the columns that have it by default.

    All roles of one entry of ``required`` must have a column. ``keys`` are the settings that only
    some formats read and this one does.
    """

    name: FileFormat
    roles: Mapping[str, tuple[str, ...]]
    required: Sequence[tuple[str, ...]]
    build: Build
    keys: Collection[str] = ()

    def columns(self, available: Collection[str], settings: FormatSettings) -> Columns:
        """Return the file's column for each role: the one that is set, else the first known one.

        Raises InputError for a role that the format does not have, and for a column that is set
        and not ``available``.
        """
        roles = {**COMMON_ROLES, **self.roles}
        chosen: dict[str, tuple[str, ...]] = {}
        for role, column in (settings.table.columns or {}).items():
            if role not in roles:
                raise settings.fail(
                    f"columns.{role}", f"{self.name} {NO_ROLE}; it has {', '.join(roles)}"
                )
            names = (column,) if isinstance(column, str) else column
            missing = [name for name in names if name not in available]
            if missing or not names:
                raise settings.fail(
                    f"columns.{role}",
                    f"the file has no column {(missing or [''])[0]!r}; it has "
                    f"{', '.join(available)}",
                )
            chosen[role] = tuple(names)
        for role, known in roles.items():
            if role not in chosen:
                chosen[role] = tuple(name for name in known if name in available)[:1]
        return Columns(chosen)

    def fits(self, columns: Columns) -> bool:
        """Say whether every required role has a column."""
        return any(all(map(columns.has, roles)) for roles in self.required)


def slices_of(row: Row, columns: Columns) -> tuple[str, ...]:
    """Return the subsets of the benchmark that a row belongs to."""
    names: list[str] = []
    for value in map(row.value, columns.of["slices"]):
        values = value if isinstance(value, list) else [value]
        if any(isinstance(entry, list | dict | bytes) for entry in values):
            raise row.fail("its slices must be texts or numbers")
        names += [str(entry).strip() for entry in values if entry is not None]
    return tuple(dict.fromkeys(name for name in names if not is_blank(name)))


def named_items(
    items: Sequence[Item], rows: Sequence[Row], columns: Columns, settings: FormatSettings
) -> list[Item]:
    """Return the items of rows, one each, with their ids, groups and slices.

    Without a column of ids they are numbered. A row without a group is one of its own. Raises
    InputError where two rows have one id.
    """
    named: dict[str, Item] = {}
    lines: dict[str, int] = {}
    for number, (item, row) in enumerate(zip(items, rows, strict=True), start=1):
        name = columns.optional(row, "id") or f"{settings.name}-{number}"
        if name in named:
            raise row.fail(f"id {name!r} is that of line {lines[name]} too; rename one")
        lines[name] = row.line
        named[name] = replace(
            item,
            id=name,
            group=columns.optional(row, "group") or name,
            slices=slices_of(row, columns),
        )
    return list(named.values())

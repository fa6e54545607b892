"""A benchmark that is a file of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ethosteer.benchmarks.base import Benchmark
from ethosteer.benchmarks.definitions import defined_metrics
from ethosteer.benchmarks.files import (
    free_answers,
    multiple_choice,
    paired_sentences,
    preference_pairs,
)
from ethosteer.benchmarks.files.format import (
    COMMON_ROLES,
    NO_ROLE,
    Columns,
    FileBenchmark,
    Format,
    FormatSettings,
)
from ethosteer.data.formats.files import read_rows
from ethosteer.data.readers import Row
from ethosteer.data.sources import Source
from ethosteer.errors import InputError
from ethosteer.records import Item, PreferencePair
from ethosteer.settings import BenchmarkSettings

FORMATS = (
    preference_pairs.FORMAT,
    paired_sentences.FORMAT,
    multiple_choice.FORMAT,
    free_answers.FORMAT,
)
"""In the order in which a file is tried as them: the last has columns that others have too."""


def file_benchmark(name: str, table: BenchmarkSettings) -> Benchmark:
    """Return the benchmark of the file that ``table`` names.

    Raises InputError where the file is not there, for a malformed row, where its columns are those
    of no format, and for a setting that does not go with its format.
    """
    assert table.file is not None
    settings = FormatSettings(name, table)
    read = _read(Path(table.file), settings)

    def items(paths: Sequence[Path]) -> list[Item]:
        return _read(paths[0], settings).items

    def pairs(paths: Sequence[Path]) -> list[PreferencePair]:
        return list(_read(paths[0], settings).pairs)

    return Benchmark(
        name=name,
        title=table.title or name,
        sources=file_sources(table),
        items=items,
        metrics=defined_metrics(read.definitions),
        examples={},
        answers=read.answers,
        new_tokens=read.new_tokens,
        parse=read.parse,
        classification=read.classification,
        per_token=read.per_token,
        definitions=read.definitions,
        pairs=pairs if read.pairs else None,
        note=read.note,
    )


def file_sources(table: BenchmarkSettings) -> tuple[Source, ...]:
    """Return the files of a benchmark that is a file: it, and the labelled texts."""
    return tuple(
        Source(path=path, home=table.home or "", licence=table.licence or "")
        for path in (table.file, table.labelled)
        if path is not None
    )


def _read(path: Path, settings: FormatSettings) -> FileBenchmark:
    rows = list(read_rows(path))
    # JSON rows may leave out what has no value, so all rows are asked.
    available = tuple(dict.fromkeys(name for row in rows for name in row.fields))
    form, columns = _recognised(path, available, settings)
    _check_keys(form, settings)
    return form.build(_with_required(rows, form, columns), columns, settings)


def _recognised(
    path: Path, available: Sequence[str], settings: FormatSettings
) -> tuple[Format, Columns]:
    """Return the format that is set, or else the first whose columns the file has."""
    if settings.table.format is not None:
        (form,) = (form for form in FORMATS if form.name == settings.table.format)
        columns = form.columns(available, settings)
        if form.fits(columns):
            return form, columns
        lacking = [role for role in form.required[0] if not columns.has(role)]
        needed = " or ".join(" and ".join(roles) for roles in form.required)
        raise InputError.at(
            path,
            1,
            f"no column for {lacking[0]!r}: {form.name} needs {needed}; the file has "
            f"{', '.join(available)}; name its columns in benchmarks.{settings.name}.columns",
        )
    _check_roles(settings)
    faults: list[InputError] = []
    for form in FORMATS:
        try:
            columns = form.columns(available, settings)
        except InputError as fault:
            faults.append(fault)
            continue
        if form.fits(columns):
            return form, columns
    if len(faults) == len(FORMATS):
        # of a column that the file lacks, where some format has the role
        raise next((fault for fault in faults if NO_ROLE not in str(fault)), faults[-1])
    raise InputError.at(
        path,
        1,
        f"its columns are those of no known format: {', '.join(available)}; name them in "
        f"benchmarks.{settings.name}.columns, as in "
        '{question = "...", choices = "...", answer = "..."}',
    )


def _check_roles(settings: FormatSettings) -> None:
    """Raise InputError for a role that no format has, with the roles of all."""
    known = {role for form in FORMATS for role in (*COMMON_ROLES, *form.roles)}
    for role in settings.table.columns or {}:
        if role not in known:
            roles = "; ".join(f"{form.name} has {', '.join(form.roles)}" for form in FORMATS)
            raise settings.fail(
                f"columns.{role}",
                f"no format has such a role; {roles}; all have {', '.join(COMMON_ROLES)}",
            )


def _check_keys(form: Format, settings: FormatSettings) -> None:
    """Raise InputError for a setting that another format reads and this one does not."""
    for other in FORMATS:
        for key in other.keys:
            if key not in form.keys and getattr(settings.table, key) is not None:
                raise settings.fail(
                    key, f"remove it; it is for {other.name}, and the file's rows are {form.name}"
                )


def _with_required(rows: Sequence[Row], form: Format, columns: Columns) -> Sequence[Row]:
    """Return the rows; InputError for the first that lacks a required column."""
    roles = next(roles for roles in form.required if all(map(columns.has, roles)))
    for row in rows:
        for column in (name for role in roles for name in columns.of[role]):
            if row.fields.get(column) is None:
                raise row.fail(f"column {column!r} is missing; fill it, or remove the row")
    return rows

"""Files of rows by their kind: JSON lines, JSON arrays, CSV, TSV and Parquet, or a folder of one.

Text may be gzipped. A row keeps the line that an editor shows for it; of Parquet, its number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ethosteer.data.readers import Row, limited_rows, quoted, read_csv, read_jsonl, unique_keys
from ethosteer.data.text_files import LARGEST_FILE, parse_fault, read_text
from ethosteer.errors import InputError

PARQUET_BATCH = 64
"""Rows that are decoded at once, before their size is known: a dictionary may hold a long text once
for all rows of a small file."""


def shards(path: Path) -> list[Path]:
    """Return the data files of ``path``: the file itself, or those in a folder, by name.

    Raises InputError where there is none, or where a folder's files are of several kinds.
    """
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if kind_of(path) is None:
            raise InputError(f"{path}: not a kind of file that is read; {_kinds()} are")
        return [path]
    files = [entry for entry in sorted(path.iterdir()) if entry.is_file() and kind_of(entry)]
    if not files:
        raise InputError(f"{path}: the folder has no data files; {_kinds()} are read")
    kinds = {str(kind_of(file)): file.name for file in files}
    if len(kinds) > 1:
        named = " and ".join(list(kinds.values())[:2])
        raise InputError(f"{path}: {named} are of different kinds; keep files of one kind there")
    return files


def kind_of(path: Path) -> str | None:
    """Return the suffix that says how a file is read; None for other and hidden files."""
    name = path.name.lower()
    kind = Path(name.removesuffix(".gz")).suffix
    known = kind in READERS and not (kind == ".parquet" and name.endswith(".gz"))
    return kind if known and not name.startswith(".") else None


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows of a file, or of all files of a folder; InputError with file and line."""
    for file in shards(path):
        yield from READERS[str(kind_of(file))](file)


def _read_json(path: Path) -> Iterator[Row]:
    """Read a JSON array of objects; anything else is read as JSON lines."""
    text = read_text(path)
    if not text.lstrip().startswith("["):
        yield from read_jsonl(path, ())
        return
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as fault:
        line = fault.lineno if isinstance(fault, json.JSONDecodeError) else 1
        raise InputError.at(path, line, f"not valid JSON: {parse_fault(fault)}") from fault
    yield from limited_rows(path, _array_rows(path, text, len(entries)))


def _array_rows(path: Path, text: str, count: int) -> Iterator[Row]:
    # decoded again, one by one, for the line that each starts on
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    position, line, counted = text.index("[") + 1, 1, 0
    for _ in range(count):
        while text[position] in " \t\r\n,":
            position += 1
        line, counted = line + text.count("\n", counted, position), position
        try:
            fields, position = decoder.raw_decode(text, position)
        except ValueError as fault:
            raise InputError.at(path, line, f"not valid JSON: {fault}") from fault
        if not isinstance(fields, dict):
            raise InputError.at(path, line, f"must be a JSON object, found {quoted(fields)}")
        yield Row(path, line, fields)


def _read_parquet(path: Path) -> Iterator[Row]:
    yield from limited_rows(path, _parquet_rows(path))


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    size = 0
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            if twice := [name for name, n in Counter(file.schema_arrow.names).items() if n > 1]:
                raise InputError.at(path, None, f"column {twice[0]!r} is there twice; rename one")
            for batch in file.iter_batches(PARQUET_BATCH):
                size += batch.nbytes
                if size > LARGEST_FILE:
                    raise InputError.at(
                        path,
                        None,
                        f"has more than {LARGEST_FILE:,} bytes when it is read, the maximum of a "
                        "file; split it into several files",
                    )
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(path, number, fields)
    except InputError:
        raise
    # A damaged file, or a type that Python has not, raises anything.
    except Exception as fault:
        reason = str(fault).partition("\n")[0]
        raise InputError.at(path, None, f"not a whole Parquet file: {reason}") from fault


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": partial(read_jsonl, columns=()),
    ".json": _read_json,
    ".csv": partial(read_csv, columns=()),
    ".tsv": partial(read_csv, columns=(), delimiter="\t"),
    ".parquet": _read_parquet,
}
"""How a file is read, by its suffix."""


def _kinds() -> str:
    return ", ".join(READERS)

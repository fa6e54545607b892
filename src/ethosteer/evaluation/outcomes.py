"""Outcomes on disk: one row per model, seed and item, as Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ethosteer.evaluation.on_demand import OnDemand, reading
from ethosteer.files import written_whole
from ethosteer.records import Outcome

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("seed", pa.int64()),
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("group", pa.string()),
        ("slices", pa.list_(pa.string())),
        ("label", pa.int64()),
        ("predicted", pa.int64()),
        ("correct", pa.bool_()),
        ("log_likelihoods", pa.list_(pa.float64())),
        ("lengths", pa.list_(pa.int64())),
        ("text", pa.string()),
        ("truncated", pa.bool_()),
        ("scores", pa.list_(pa.float64())),
    ]
)
assert SCHEMA.names == [field.name for field in fields(Outcome)]
TUPLES = ("slices", "log_likelihoods", "lengths", "scores")
KEY = ("benchmark", "model", "seed")

Key = tuple[str, str, int]
"""A benchmark, a model, and its seed."""

Outcomes = Mapping[Key, Sequence[Outcome]]
"""The outcomes of a study, perhaps read from disk when they are asked for."""


def grouped(outcomes: Iterable[Outcome]) -> dict[Key, list[Outcome]]:
    """Return outcomes by benchmark, model and seed."""
    groups: dict[Key, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.benchmark, outcome.model, outcome.seed), []).append(outcome)
    return groups


def write_outcomes(path: Path, groups: Iterable[Sequence[Outcome]]) -> None:
    """Write groups of outcomes, one at a time, atomically.

    Each is a row group of the file, and can be read without the others.
    """
    with (
        written_whole(path) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
    ):
        for outcomes in groups:
            rows = [asdict(outcome) for outcome in outcomes]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


def read_outcomes(path: Path) -> list[Outcome]:
    """Read all outcomes of a file."""
    return _outcomes(pq.read_table(path, schema=SCHEMA))


def open_outcomes(path: Path) -> OnDemand[Key, list[Outcome]]:
    """Return a file's outcomes by benchmark, model and seed, each read when it is asked for.

    Raises InputError, then or later, where the file cannot be read.
    """
    with reading(path), pq.ParquetFile(path) as file:
        spans = _spans(file)

    @lru_cache(maxsize=1)
    def row_group(index: int) -> pa.Table:
        with pq.ParquetFile(path) as file:
            return file.read_row_group(index)

    def read(key: Key) -> list[Outcome]:
        with reading(path):
            return [
                outcome
                for index, start, stop in spans[key]
                for outcome in _outcomes(row_group(index).slice(start, stop - start))
            ]

    return OnDemand({key: partial(read, key) for key in spans})


def _spans(file: pq.ParquetFile) -> dict[Key, list[tuple[int, int, int]]]:
    """Return which rows each key has, as runs: (row group, first row, row after the last)."""
    spans: dict[Key, list[tuple[int, int, int]]] = {}
    for index in range(file.num_row_groups):
        columns = file.read_row_group(index, columns=list(KEY)).select(KEY).columns
        codes = [column.combine_chunks().dictionary_encode() for column in columns]
        numbers = np.stack([code.indices.to_numpy() for code in codes])
        changes = np.flatnonzero((np.diff(numbers, axis=1) != 0).any(axis=0)) + 1
        edges = [0, *changes.tolist(), numbers.shape[1]]
        for start, stop in pairwise(edges):
            if start < stop:
                benchmark, model, seed = (code[start].as_py() for code in codes)
                spans.setdefault((benchmark, model, seed), []).append((index, start, stop))
    return spans


def _outcomes(table: pa.Table) -> list[Outcome]:
    """Return the rows of a table; equal tuples and names are one object, to save memory."""
    known: dict[object, object] = {}
    columns = []
    for name in SCHEMA.names:
        # a file of an earlier version has no scores
        stored = name in table.column_names
        values = table.column(name).to_pylist() if stored else [None] * table.num_rows
        if name in TUPLES:
            values = [tuple(value or ()) for value in values]
        if name in ("model", "benchmark", "slices", "lengths", "scores"):
            values = [known.setdefault(value, value) for value in values]
        columns.append(values)
    return list(map(Outcome, *columns))

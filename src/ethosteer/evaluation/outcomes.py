"""Outcomes on disk: one row per model, seed and item, as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes, atomically."""
    table = pa.Table.from_pylist([asdict(outcome) for outcome in outcomes], schema=SCHEMA)
    with written_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_outcomes(path: Path) -> list[Outcome]:
    """Read outcomes back."""
    tuples = ("slices", "log_likelihoods", "lengths", "scores")
    return [
        # a file of an earlier version has no scores
        Outcome(**row | {name: tuple(row[name] or ()) for name in tuples})
        for row in pq.read_table(path, schema=SCHEMA).to_pylist()
    ]

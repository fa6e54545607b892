"""Items of benchmarks: read from published files, limited, and stored as Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ethosteer.benchmarks.base import Benchmark, sources_of
from ethosteer.data.sources import Origin
from ethosteer.data.splits import unit_hash
from ethosteer.files import temporary_name
from ethosteer.records import Item
from ethosteer.settings import BenchmarkSettings

ITEMS = "items.parquet"
SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("id", pa.string()),
        ("contexts", pa.list_(pa.string())),
        ("continuations", pa.list_(pa.string())),
        ("label", pa.int64()),
        ("group", pa.string()),
        ("slices", pa.list_(pa.string())),
    ]
)


def load_items(benchmark: Benchmark, settings: BenchmarkSettings, origin: Origin) -> list[Item]:
    """Read a benchmark's items from its published files.

    With ``settings.limit``, whole groups are kept in the order of their hash, as many as fit.
    Raises InputError for a malformed row.
    """
    sources = sources_of(benchmark, settings.source)
    items = benchmark.items([origin.locate(source) for source in sources])
    if settings.limit is None or len(items) <= settings.limit:
        return items
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    chosen: set[str] = set()
    for group in sorted(groups, key=lambda name: unit_hash(f"limit {name}")):
        if len(chosen) + len(groups[group]) <= settings.limit:
            chosen |= {item.id for item in groups[group]}
    return [item for item in items if item.id in chosen]


def write_items(path: Path, items: Mapping[str, Sequence[Item]]) -> None:
    """Write the items of benchmarks, by their names, as one Parquet file, atomically."""
    rows = [
        {"benchmark": benchmark, **asdict(item)}  # the schema leaves ``trim`` out
        for benchmark, members in items.items()
        for item in members
    ]
    temporary = temporary_name(path)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary, compression="zstd")
    temporary.replace(path)


def read_items(path: Path) -> dict[str, list[Item]]:
    """Read items back, by benchmark, without ``trim``, which only answering needs."""
    items: dict[str, list[Item]] = {}
    for row in pq.read_table(path, schema=SCHEMA).to_pylist():
        benchmark = row.pop("benchmark")
        tuples = {key: tuple(row[key]) for key in ("contexts", "continuations", "slices")}
        items.setdefault(benchmark, []).append(Item(**{**row, **tuples}))
    return items


def example_of(item: Item) -> str:
    """Return an item's text, verbatim as a model reads it, followed by its choices."""
    if not item.continuations:
        return item.contexts[0]
    if len(set(item.contexts)) == 1:
        choices = " | ".join(f"«{choice}»" for choice in item.continuations)
        return f"{item.contexts[0]} → {choices}"
    return "\n".join(
        f"{context}«{continuation}»"
        for context, continuation in zip(item.contexts, item.continuations, strict=True)
    )

"""Items of benchmarks: read from published files, limited, and stored as Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ethosteer.benchmarks.base import Benchmark, sources_of
from ethosteer.benchmarks.harness.task import ChatWriter, HarnessTask
from ethosteer.benchmarks.preferences import held_out_items
from ethosteer.data.sources import Origin
from ethosteer.data.splits import split_of, unit_hash
from ethosteer.evaluation.near_duplicates import clustered_items, clusters_of_groups
from ethosteer.evaluation.on_demand import OnDemand, reading
from ethosteer.files import written_whole
from ethosteer.records import Item, PreferencePair
from ethosteer.settings import BenchmarkSettings

if TYPE_CHECKING:
    from ethosteer.models.text import Template

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
        ("expected", pa.list_(pa.string())),
    ]
)

LISTS = ("contexts", "continuations", "slices", "expected")


def load_items(benchmark: Benchmark, settings: BenchmarkSettings, origin: Origin) -> list[Item]:
    """Read a benchmark's items from its published files, at most ``settings.limit``.

    Near-duplicates share a group, unless the benchmark's groups are its design. Items of a
    preference dataset are its held-out pairs before curation, as plain text. Raises InputError for
    a malformed row.
    """
    sources = sources_of(benchmark, settings.source)
    items = benchmark.items([origin.locate(source) for source in sources])
    items = asked_items(benchmark, items)
    return limited(items if benchmark.designed_groups else clustered_items(items), settings.limit)


def task_items(
    task: HarnessTask, settings: BenchmarkSettings, chat: ChatWriter | None
) -> list[Item]:
    """Return the items of a task of lm-evaluation-harness, at most ``settings.limit``.

    ``chat`` writes its requests, which are plain text without it. Near-duplicates share a group:
    documents that are alike, whatever few-shot examples stand before them.
    """
    items = task.items(chat)
    clusters = clusters_of_groups(task.bare_texts(), [item.group for item in items])
    return limited([replace(item, group=clusters[item.group]) for item in items], settings.limit)


def written_pairs(
    benchmark: Benchmark, settings: BenchmarkSettings, origin: Origin, template: Template
) -> list[Item]:
    """Return the items of a file of preference pairs, all of them asked, at most ``limit``."""
    assert benchmark.pairs is not None
    paths = [origin.locate(source) for source in benchmark.sources]
    slices = {item.id: item.slices for item in benchmark.items(paths)}
    items = pair_items(benchmark.pairs(paths), settings, template)
    return [replace(item, slices=slices[item.id]) for item in items]


def asked_items(benchmark: Benchmark, items: Sequence[Item]) -> list[Item]:
    """Return the published items that models are asked: of pairs, those of the test split."""
    return [item for item in items if not benchmark.dataset or split_of(item.group) == "test"]


def pair_items(
    pairs: Sequence[PreferencePair], settings: BenchmarkSettings, template: Template
) -> list[Item]:
    """Return the items of a dataset's curated test pairs, at most ``settings.limit``.

    Near-duplicates share a group.
    """
    return limited(clustered_items(held_out_items(pairs, template)), settings.limit)


def limited(items: Sequence[Item], limit: int | None) -> list[Item]:
    """Keep whole groups in the order of their hash, as many as fit in ``limit`` items."""
    if limit is None or len(items) <= limit:
        return list(items)
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    chosen: set[str] = set()
    for group in sorted(groups, key=lambda name: unit_hash(f"limit {name}")):
        if len(chosen) + len(groups[group]) <= limit:
            chosen |= {item.id for item in groups[group]}
    return [item for item in items if item.id in chosen]


def write_items(path: Path, items: Mapping[str, Sequence[Item]]) -> None:
    """Write the items of benchmarks, by their names, as one Parquet file, atomically.

    Those of one benchmark at a time are in memory.
    """
    with (
        written_whole(path) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
    ):
        for benchmark, members in items.items():
            # of which the schema leaves some fields out
            rows = [{"benchmark": benchmark, **asdict(item)} for item in members]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


def read_items(path: Path) -> dict[str, list[Item]]:
    """Read items back, by benchmark, without what only answering needs: trim and token_ids.

    A file from before ``expected`` was stored has none.
    """
    items: dict[str, list[Item]] = {}
    for row in pq.read_table(path, schema=SCHEMA).to_pylist():
        items.setdefault(row["benchmark"], []).append(_item(row))
    return items


def open_items(path: Path) -> OnDemand[str, list[Item]]:
    """Return a file's items by benchmark as ``read_items`` does, each read when it is asked for.

    Raises InputError, then or later, where the file cannot be read.
    """

    def read(benchmark: str) -> list[Item]:
        with reading(path):
            table = pq.read_table(path, schema=SCHEMA, filters=[("benchmark", "==", benchmark)])
            return [_item(row) for row in table.to_pylist()]

    with reading(path):
        (names,) = pq.read_table(path, columns=["benchmark"]).columns
    return OnDemand({name: partial(read, name) for name in names.unique().to_pylist()})


def _item(row: Mapping[str, Any]) -> Item:
    tuples = {key: tuple(row[key] or ()) for key in LISTS}
    return Item(**{key: value for key, value in row.items() if key != "benchmark"} | tuples)


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

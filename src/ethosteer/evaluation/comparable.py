"""What a benchmark's numbers rest on: its items on disk, their hashes, and the gate they open.

Two results are compared only where items, prompts, dialogue template, tokenizer and classifier are
the same; otherwise the gate says what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ethosteer.files import fingerprint, read_json, temporary_name, write_json
from ethosteer.records import Item
from ethosteer.results import BenchmarkResult, Comparability

ITEMS = "items.parquet"
COMPARABILITY = "comparability.json"
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
WORDS = {
    "items": "the items",
    "prompts": "the prompts",
    "template": "the dialogue template",
    "tokenizer": "the tokenizer",
    "classifier": "the classifier of texts",
}
assert list(WORDS) == [field.name for field in fields(Comparability)]


def comparability_of(
    items: Sequence[Item], template: str, tokenizer: str, classifier: str
) -> Comparability:
    """Return what results on ``items`` must share."""
    return Comparability(
        items=fingerprint([[item.id, item.label, item.group] for item in items]),
        prompts=fingerprint([[item.contexts, item.continuations] for item in items]),
        template=template,
        tokenizer=tokenizer,
        classifier=classifier,
    )


def write_comparability(folder: Path, comparability: Comparability) -> None:
    """Keep a benchmark's comparability beside its items."""
    write_json(folder / COMPARABILITY, comparability)


def read_comparability(folder: Path) -> Comparability:
    """Read it back."""
    return read_json(folder / COMPARABILITY, Comparability)


def write_items(path: Path, items: Mapping[str, Sequence[Item]]) -> None:
    """Write the items of benchmarks, by their names, as one Parquet file."""
    rows = [
        {
            "benchmark": name,
            "id": item.id,
            "contexts": item.contexts,
            "continuations": item.continuations,
            "label": item.label,
            "group": item.group,
            "slices": item.slices,
        }
        for name, own in items.items()
        for item in own
    ]
    temporary = temporary_name(path)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary, compression="zstd")
    temporary.replace(path)


def read_items(path: Path) -> dict[str, list[Item]]:
    """Read items back, by benchmark. What may be shortened of a context is not kept."""
    found: dict[str, list[Item]] = {}
    for row in pq.read_table(path, schema=SCHEMA).to_pylist():
        name = row.pop("benchmark")
        lists = {key: tuple(row[key]) for key in ("contexts", "continuations", "slices")}
        found.setdefault(name, []).append(Item(**{**row, **lists}))
    return found


def example_of(item: Item) -> str:
    """Return what a model reads for an item, word for word, with the choices after it."""
    if not item.continuations:
        return item.contexts[0]
    if len(set(item.contexts)) == 1:
        choices = " | ".join(f"«{choice}»" for choice in item.continuations)
        return f"{item.contexts[0]} → {choices}"
    texts = (f"{a}«{b}»" for a, b in zip(item.contexts, item.continuations, strict=True))
    return "\n".join(texts)


def what_differs(a: BenchmarkResult, b: BenchmarkResult) -> tuple[str, ...]:
    """Say what keeps two studies' results on one benchmark from being compared; () if nothing.

    Results of which it is not known what they rest on are not compared.
    """
    if a.comparability is None or b.comparability is None:
        return ("what one of them rests on is not known: run it again",)
    found = [
        words
        for name, words in WORDS.items()
        if getattr(a.comparability, name) != getattr(b.comparability, name)
    ]
    sizes = f"the number of items ({a.items:,} and {b.items:,})"
    return (*((sizes,) if a.items != b.items else ()), *found)

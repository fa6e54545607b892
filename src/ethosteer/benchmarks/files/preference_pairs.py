"""Preference pairs: does a model itself find the chosen response likelier than the rejected one?

Pairs are written and compared as those of the value profile (benchmarks/preferences.py): by the
study's dialogue template, the end of turn included, per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ethosteer.benchmarks.definitions import define
from ethosteer.benchmarks.files.format import (
    Columns,
    FileBenchmark,
    Format,
    FormatSettings,
    group_and_slices,
)
from ethosteer.benchmarks.preferences import METRICS, plain_item
from ethosteer.data.readers import Row
from ethosteer.records import PreferencePair, parse_dialogue, unusable


def _build(rows: Sequence[Row], columns: Columns, settings: FormatSettings) -> FileBenchmark:
    pairs = tuple(_pair(row, columns, settings) for row in rows)
    items = [
        replace(plain_item(pair), slices=group_and_slices(row, columns, pair.id)[1])
        for row, pair in zip(rows, pairs, strict=True)
    ]
    return FileBenchmark(items, define(*METRICS), per_token=True, pairs=pairs)


def _pair(row: Row, columns: Columns, settings: FormatSettings) -> PreferencePair:
    prompt, chosen, rejected = (
        columns.text(row, role) for role in ("prompt", "chosen", "rejected")
    )
    if chosen.strip() == rejected.strip():
        raise row.fail("the chosen and the rejected response are the same text; remove the row")
    if (problem := unusable(parse_dialogue(prompt))) is not None:
        raise row.fail(f"column {columns.name('prompt')!r} is no dialogue: {problem}")
    name = settings.item_id(row, columns)
    group, _ = group_and_slices(row, columns, name)
    return PreferencePair(name, prompt, chosen.strip(), rejected.strip(), group, row.line)


FORMAT = Format(
    name="preferences",
    roles={
        "prompt": ("prompt", "question", "instruction"),
        "chosen": ("chosen",),
        "rejected": ("rejected",),
    },
    required=(("prompt", "chosen", "rejected"),),
    build=_build,
)

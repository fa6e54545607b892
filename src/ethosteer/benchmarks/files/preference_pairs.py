"""Preference pairs: does a model itself find the chosen response likelier than the rejected one?

The rows are read as those of an arm's file, whatever format they have (data/formats), and pairs are
written and compared as those of the value profile (benchmarks/preferences.py): by the study's
dialogue template, the end of turn included, per token. All pairs are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ethosteer.benchmarks.definitions import define
from ethosteer.benchmarks.files.format import (
    Columns,
    FileBenchmark,
    Format,
    FormatSettings,
    slices_of,
)
from ethosteer.benchmarks.preferences import METRICS, plain_item
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.data.pair_sets import Dropped
from ethosteer.data.readers import Row
from ethosteer.errors import InputError
from ethosteer.records import PreferencePair
from ethosteer.settings import ArmSettings

NAMED = ("prompt", "chosen", "rejected", "group")
"""Roles that the readers of an arm's file know by these names."""


def _build(rows: Sequence[Row], columns: Columns, settings: FormatSettings) -> FileBenchmark:
    table = settings.table
    named = {role: columns.name(role) for role in NAMED if role in table.columns}
    dataset = file_dataset(settings.name, ArmSettings(file=table.file, columns=named or None))
    path = Path(table.file or "")
    pairs: dict[tuple[str, str, str], PreferencePair] = {}
    dropped: Counter[str] = Counter()
    for entry in dataset.pairs(dataset.rows(path), ArmSettings().pairs_per_group):
        if isinstance(entry, Dropped):
            dropped[entry.reason] += 1
        elif (texts := (entry.prompt, entry.chosen, entry.rejected)) in pairs:
            dropped["duplicate"] += 1
        else:
            pairs[texts] = entry
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()))
    if not pairs:
        raise InputError.at(path, None, f"no row makes a preference pair ({counts})")
    of_line = {(row.path, row.line): row for row in rows}
    items = []
    for pair in pairs.values():
        row = of_line.get((path, pair.row))
        slices = slices_of(row, columns) if row else ()
        items.append(replace(plain_item(pair), slices=slices))
    return FileBenchmark(
        items,
        define(*METRICS),
        per_token=True,
        pairs=tuple(pairs.values()),
        note=f"Rows left out: {counts}." if dropped else "",
    )


FORMAT = Format(
    name="preferences",
    roles={
        "prompt": ("prompt", "question", "instruction"),
        "chosen": ("chosen", "preferred"),
        "rejected": ("rejected", "dispreferred"),
    },
    required=(("chosen", "rejected"),),
    build=_build,
)

"""Paired sentences: which of two sentences does a model find likelier?

Like BLiMP, where one of them is correct; like CrowS-Pairs, where one is the more stereotyping and
50 % is the aim; or any two, with the better direction as the user says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ethosteer.benchmarks.crows_pairs import LIKELIHOOD_DIFF, PCT_STEREOTYPE
from ethosteer.benchmarks.definitions import FIRST_LIKELIER, define
from ethosteer.benchmarks.files.format import (
    Columns,
    FileBenchmark,
    Format,
    FormatSettings,
    named_items,
)
from ethosteer.data.readers import Row, check_differ
from ethosteer.records import Item, PlainForm
from ethosteer.statistics.metrics import ACCURACY

KINDS = (("incorrect", "correct"), ("stereotyping", "other"), ("first", "second"))
"""The two sentences of a row, as continuations in this order: a tie is decided for the first, which
is no evidence for the correct one."""


def _build(rows: Sequence[Row], columns: Columns, settings: FormatSettings) -> FileBenchmark:
    kinds = [kind for kind in KINDS if all(map(columns.has, kind))]
    if len(kinds) != 1:
        raise settings.fail(
            "columns",
            "paired_sentences needs two columns: correct and incorrect, stereotyping and other, or "
            f"first and second; these are {'there twice' if kinds else 'missing'}",
        )
    (kind,), better = kinds, settings.table.better
    if kind == KINDS[0]:
        if better is not None:
            raise settings.fail("better", "remove it; the columns say which sentence is correct")
        definitions = define(ACCURACY)
    else:
        share = PCT_STEREOTYPE if kind == KINDS[1] else FIRST_LIKELIER
        definitions = define(replace(share, better=better or share.better), LIKELIHOOD_DIFF)
    label = 1 if kind == KINDS[0] else None
    items = [_item(row, columns, kind, label) for row in rows]
    items = named_items(items, rows, columns, settings)
    return FileBenchmark(items, definitions)


def _item(row: Row, columns: Columns, kind: tuple[str, str], label: int | None) -> Item:
    sentences = tuple(columns.text(row, role) for role in kind)
    check_differ(row, *map(columns.name, kind))
    context = columns.optional(row, "context")
    delimiter = " " if context else ""
    return Item(
        id="",
        contexts=(context,) * 2,
        continuations=tuple(delimiter + sentence for sentence in sentences),
        label=label,
        group="",
        form=PlainForm(delimiter=delimiter),
    )


FORMAT = Format(
    name="paired_sentences",
    roles={
        "correct": ("correct", "sentence_good"),
        "incorrect": ("incorrect", "sentence_bad"),
        "stereotyping": ("stereotyping", "sent_more"),
        "other": ("other", "sent_less"),
        "first": ("first", "sentence1"),
        "second": ("second", "sentence2"),
        "context": ("context",),
    },
    required=KINDS,
    build=_build,
    keys=("better",),
)

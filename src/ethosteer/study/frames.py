"""A run's records as pandas frames, one row for each, with the types of their columns.

pandas is imported when a frame is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ethosteer.records import SPLITS, Item, Outcome, PreferencePair, PreferenceSet
from ethosteer.results.comparisons import Comparison

if TYPE_CHECKING:
    import pandas as pd

TEXT, WHOLE, FLOAT, TUPLE = "string", "int64", "float64", "object"
OPTIONAL_WHOLE, OPTIONAL_TRUTH = "Int64", "boolean"
"""These two are pandas' nullable types; a missing value is ``pandas.NA``."""

OUTCOMES = {
    "model": TEXT, "seed": WHOLE, "benchmark": TEXT, "item": TEXT, "group": TEXT, "slices": TUPLE,
    "label": OPTIONAL_WHOLE, "predicted": OPTIONAL_WHOLE, "correct": OPTIONAL_TRUTH,
    "log_likelihoods": TUPLE, "lengths": TUPLE, "text": TEXT, "truncated": "bool",
    "scores": TUPLE,
}  # fmt: skip
"""The fields of ``Outcome``."""

ITEMS = {
    "benchmark": TEXT, "item": TEXT, "contexts": TUPLE, "continuations": TUPLE,
    "label": OPTIONAL_WHOLE, "group": TEXT, "slices": TUPLE,
}  # fmt: skip
"""The stored fields of ``Item``; its ``id`` is called ``item``, as in the outcomes."""

COMPARISONS = {
    "benchmark": TEXT, "metric": TEXT, "family": TEXT, "role": TEXT, "a": TEXT, "b": TEXT,
    "difference": FLOAT, "low": FLOAT, "high": FLOAT,
    "decision_low": FLOAT, "decision_high": FLOAT, "decision_level": FLOAT,
    "p": FLOAT, "adjusted_p": FLOAT, "equivalence_p": FLOAT, "minimum_detectable": FLOAT,
    "minimum_detectable_low": FLOAT, "minimum_detectable_high": FLOAT, "room": FLOAT,
    "items_needed": FLOAT, "items_needed_low": FLOAT, "items_needed_high": FLOAT,
    "items": WHOLE, "clusters": WHOLE, "seeds": WHOLE, "verdict": TEXT,
}  # fmt: skip
"""The fields of ``Comparison``; ``low`` to ``high`` is the 95 % interval of ``difference``."""

PAIRS = {
    "arm": TEXT, "dataset": TEXT, "split": TEXT, "id": TEXT, "prompt": TEXT, "chosen": TEXT,
    "rejected": TEXT, "group": TEXT, "row": WHOLE,
}  # fmt: skip
"""The fields of ``PreferencePair``, with the first arm that has the pair, and its split."""


def outcomes_frame(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return one row for each model, seed and item."""
    return _frame(OUTCOMES, map(_fields, outcomes))


def items_frame(items: Mapping[str, Sequence[Item]]) -> pd.DataFrame:
    """Return one row for each item of each benchmark."""
    rows = (
        {**_fields(item), "benchmark": name, "item": item.id}
        for name, members in items.items()
        for item in members
    )
    return _frame(ITEMS, rows)


def comparisons_frame(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """Return one row for each comparison of two models on one metric."""
    rows = (
        {
            **_fields(comparison),
            "difference": comparison.difference.value,
            "low": comparison.difference.low,
            "high": comparison.difference.high,
        }
        for comparison in comparisons
    )
    return _frame(COMPARISONS, rows)


def pairs_frame(sets: Mapping[str, PreferenceSet]) -> pd.DataFrame:
    """Return one row for each curated pair; ``sets`` are keyed by the first arm that has them."""
    rows = (
        {**_fields(pair), "arm": arm, "dataset": curated.name, "split": split}
        for arm, curated in sets.items()
        for split in SPLITS
        for pair in curated.split(split)
    )
    return _frame(PAIRS, rows)


def _fields(record: Outcome | Item | Comparison | PreferencePair) -> dict[str, Any]:
    """Return a record's fields by name, without a copy of what they hold."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _frame(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a frame with these columns, each of its type."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns)).astype(columns)

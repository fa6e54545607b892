"""Single answers that are labelled good or bad: TRL's unpaired preferences (KTO)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ethosteer.data.formats.base import (
    Columns,
    Entry,
    Format,
    Labelled,
    group_of,
    written_prompt,
)
from ethosteer.data.formats.dialogues import UnusableError, answer_turns, prompt_turns
from ethosteer.data.pair_sets import Dropped
from ethosteer.data.readers import Row, is_blank

GOOD = ("true", "1", "good", "yes", "desirable", "chosen", "positive")
BAD = ("false", "0", "bad", "no", "undesirable", "rejected", "negative")


def _names(columns: Columns) -> dict[str, str] | None:
    names = columns.require("prompt", "response", "label")
    return None if names is None else names | columns.optional("group", "system")


def _read(rows: Sequence[Row]) -> Iterator[Entry]:
    for row in rows:
        good = _is_good(row)
        try:
            prompt, answer = prompt_turns(row), answer_turns(row, "response")
        except UnusableError as fault:
            yield Dropped(row.line, str(fault))
            continue
        text, problem = written_prompt(prompt)
        if [role for role, _ in answer] != ["assistant"]:
            problem = problem or "no answer"
        elif is_blank(answer[0][1]):
            problem = problem or "empty"
        if problem is not None:
            yield Dropped(row.line, problem)
        else:
            yield Labelled(row.line, text, group_of(row, prompt), answer[0][1], good)


def _is_good(row: Row) -> bool:
    value = row.value("label")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    word = str(value).strip().lower()
    if word not in (*GOOD, *BAD):
        raise row.bad("label", "must be true or false (or 1 or 0, good or bad)")
    return word in GOOD


LABELLED = Format("single answers labelled good or bad", _names, _read)

"""A chosen and a rejected answer: TRL's preference formats, and HH dialogues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ethosteer.data.formats.base import (
    BESIDE,
    Columns,
    Entry,
    Format,
    Judgement,
    annotator_of,
    group_of,
    written_prompt,
)
from ethosteer.data.formats.dialogues import (
    UnusableError,
    answer_turns,
    compared,
    is_dialogue,
    prompt_turns,
)
from ethosteer.data.pair_sets import Dropped
from ethosteer.data.readers import Row, is_blank
from ethosteer.records import Turn


def judgement(
    row: Row,
    prompt: Sequence[Turn] | None,
    answers: tuple[Sequence[Turn], Sequence[Turn]],
    votes: tuple[int, int, int],
    annotator: str | None,
) -> Judgement | Dropped:
    """Return what a row says of two answers, or why it says nothing."""
    try:
        dialogue, first, second = compared(prompt, *answers)
    except UnusableError as fault:
        return Dropped(row.line, str(fault))
    text, problem = written_prompt(dialogue)
    if problem is None and (is_blank(first) or is_blank(second)):
        problem = "empty"
    if problem is None and first == second:
        problem = "tied"
    if problem is not None:
        return Dropped(row.line, problem)
    return Judgement(row.line, text, group_of(row, dialogue), (first, second), votes, annotator)


def _with_prompt(columns: Columns) -> dict[str, str] | None:
    names = columns.require("prompt", "chosen", "rejected")
    return None if names is None else names | columns.optional(*BESIDE)


def _without_prompt(columns: Columns) -> dict[str, str] | None:
    names = columns.require("chosen", "rejected")
    return None if names is None else names | columns.optional(*BESIDE)


def _read_with_prompt(rows: Sequence[Row]) -> Iterator[Entry]:
    for row in rows:
        try:
            prompt = prompt_turns(row)
            answers = answer_turns(row, "chosen"), answer_turns(row, "rejected")
        except UnusableError as fault:
            yield Dropped(row.line, str(fault))
            continue
        yield judgement(row, prompt, answers, (1, 0, 0), annotator_of(row))


def _read_without_prompt(rows: Sequence[Row]) -> Iterator[Entry]:
    for row in rows:
        for column in ("chosen", "rejected"):
            value = row.value(column)
            if isinstance(value, str) and value.strip() and not is_dialogue(value):
                raise row.fail(
                    f"column {row.names[column]!r} is no dialogue, and there is no column prompt: "
                    "add one, or write 'Human: …' and 'Assistant: …' after empty lines"
                )
        try:
            answers = answer_turns(row, "chosen"), answer_turns(row, "rejected")
        except UnusableError as fault:
            yield Dropped(row.line, str(fault))
            continue
        yield judgement(row, None, answers, (1, 0, 0), annotator_of(row))


PREFERENCE = Format("prompt, chosen and rejected", _with_prompt, _read_with_prompt)
IMPLICIT = Format("chosen and rejected with a common start", _without_prompt, _read_without_prompt)

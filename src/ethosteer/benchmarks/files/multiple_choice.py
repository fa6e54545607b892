r"""Multiple choice: a question, its choices and the correct one.

Requests are written as lm-evaluation-harness customarily writes them: ``Question: ...\nAnswer:``
and the choices' texts as continuations; with ``choices = "letters"`` the choices are listed after
the question, and the letters are the continuations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from string import ascii_uppercase

from ethosteer.benchmarks.definitions import define
from ethosteer.benchmarks.files.format import (
    Columns,
    FileBenchmark,
    Format,
    FormatSettings,
    named_items,
)
from ethosteer.data.readers import Row, is_blank, quoted
from ethosteer.records import Item
from ethosteer.statistics.metrics import ACCURACY, ACCURACY_NORMALISED, BIAS_FREE

Choices = tuple[tuple[str, ...], tuple[str, ...]]
"""The texts of a row's choices, and their labels."""
Reading = Callable[[object, Choices], int | None]
"""How an answer names a choice: returns its index, None where it names none."""


def _build(rows: Sequence[Row], columns: Columns, settings: FormatSettings) -> FileBenchmark:
    choices = [_choices(row, columns) for row in rows]
    labels = _labels(rows, columns, choices)
    letters = settings.table.choices == "letters"
    items = [
        _item(row, columns, texts, label, letters=letters)
        for row, (texts, _), label in zip(rows, choices, labels, strict=True)
    ]
    items = named_items(items, rows, columns, settings)
    alike = {item.continuations for item in items}
    answers = tuple(choice[1:] for choice in alike.pop()) if len(alike) == 1 else ()
    metrics = (
        ACCURACY,
        *(() if letters else (ACCURACY_NORMALISED,)),
        *(BIAS_FREE if len(answers) == 2 else ()),
    )
    return FileBenchmark(items, define(*metrics), answers)


def _item(
    row: Row,
    columns: Columns,
    texts: tuple[str, ...],
    label: int,
    *,
    letters: bool,
) -> Item:
    passage = columns.optional(row, "context")
    lines = [passage] if passage else []
    lines.append(f"Question: {columns.text(row, 'question').strip()}")
    names = ascii_uppercase[: len(texts)]
    if letters:
        lines += [f"{letter}. {text}" for letter, text in zip(names, texts, strict=True)]
    context = "\n".join([*lines, "Answer:"])
    return Item(
        id="",
        contexts=(context,) * len(texts),
        continuations=tuple(f" {text}" for text in (names if letters else texts)),
        label=label,
        group="",
    )


def _choices(row: Row, columns: Columns) -> Choices:
    """Return the choices of a row: a list, ARC's ``{text, label}``, or columns of their own."""
    names = columns.of["choices"]
    labels: object = None
    if len(names) > 1:
        value: object = [row.value(name) for name in names]
    else:
        value = row.value(names[0])
        if isinstance(value, str):
            value = _decoded(row, names[0], value)
        if isinstance(value, dict):
            fields: dict[str, object] = value
            value, labels = fields.get("text"), fields.get("label")
    shown = ", ".join(names)
    if not isinstance(value, list) or len(value) < 2:
        raise row.fail(f"column {shown!r} must be a list of two choices or more")
    if len(value) > len(ascii_uppercase):
        raise row.fail(f"column {shown!r} has {len(value)} choices; at most 26 are possible")
    texts = tuple(_text(row, shown, choice) for choice in value)
    if len(set(texts)) < len(texts):
        raise row.fail(f"column {shown!r} has one choice twice; remove one")
    if isinstance(labels, list) and len(labels) == len(texts):
        return texts, tuple(str(label).strip() for label in labels)
    return texts, ()


def _decoded(row: Row, column: str, text: str) -> object:
    """Read choices that a CSV file holds as JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise row.fail(
            f'column {column!r} must be a list of choices, in CSV as JSON: ["one", "two"]'
        ) from fault


def _text(row: Row, columns: str, choice: object) -> str:
    if isinstance(choice, bool) or not isinstance(choice, str | int | float):
        raise row.fail(f"column {columns!r}: every choice must be text")
    text = str(choice).strip()
    if is_blank(text):
        raise row.fail(f"column {columns!r}: a choice is empty")
    return text


def _labels(rows: Sequence[Row], columns: Columns, choices: Sequence[Choices]) -> list[int]:
    """Return the index of every row's correct choice.

    Answers are read in one way throughout the file, the first under which every row's names a
    choice: as the choices' labels, their texts, letters, or indices from 0.
    """
    column = columns.name("answer")
    answers = [row.value(column) for row in rows]
    faults: list[int] = []
    for reading in READINGS:
        labels = [reading(answer, choice) for answer, choice in zip(answers, choices, strict=True)]
        found = [label for label in labels if label is not None]
        if len(found) == len(labels):
            return found
        faults.append(labels.index(None) if found else -1)
    # The reading that gets furthest is the one that is meant.
    row = rows[max(0, *faults)]
    raise row.fail(
        f"column {column!r} must name one of the choices, in all rows alike: by its index from 0, "
        f"its letter (A is the first) or its text; found {quoted(row.value(column))}"
    )


def _by_label(answer: object, choices: Choices) -> int | None:
    labels, name = choices[1], str(answer).strip()
    return labels.index(name) if answer is not None and name in labels else None


def _by_text(answer: object, choices: Choices) -> int | None:
    texts = choices[0]
    text = answer.strip() if isinstance(answer, str) else None
    return texts.index(text) if text in texts else None


def _by_letter(answer: object, choices: Choices) -> int | None:
    letters = ascii_uppercase[: len(choices[0])]
    letter = answer.strip().upper() if isinstance(answer, str) else ""
    return letters.index(letter) if len(letter) == 1 and letter in letters else None


def _by_index(answer: object, choices: Choices) -> int | None:
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    # CSV files hold 2 also as "2" and "2.0"
    number = re.fullmatch(r"(\d+)(\.0*)?", str(answer).strip())
    index = int(number[1]) if number else -1
    return index if 0 <= index < len(choices[0]) else None


READINGS: tuple[Reading, ...] = (_by_label, _by_text, _by_letter, _by_index)

FORMAT = Format(
    name="multiple_choice",
    roles={
        "question": ("question", "query", "prompt"),
        "choices": ("choices", "options", "endings"),
        "answer": ("answer", "answerKey", "label", "gold"),
        "context": ("context", "passage"),
    },
    required=(("question", "choices", "answer"),),
    build=_build,
    keys=("choices",),
)

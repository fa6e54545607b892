"""Free answers: generated greedily, and read by a pattern or by a classifier.

With a pattern and an answer column an answer is correct if what the pattern finds in it is the
expected one; the pattern reads the expected answer too, where it matches. Without that column the
proportion of answers in which the pattern is found is the metric, as is with a classifier the
proportion that it puts into its positive class. A classifier's held-out quality is part of the
result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ethosteer.benchmarks.base import TextClassification
from ethosteer.benchmarks.definitions import (
    NO_ANSWER_SHARE,
    POSITIVE_PROBABILITY,
    POSITIVE_SHARE,
    define,
)
from ethosteer.benchmarks.files.format import (
    Columns,
    FileBenchmark,
    Format,
    FormatSettings,
    named_items,
)
from ethosteer.data.formats.files import read_rows
from ethosteer.data.readers import Row
from ethosteer.data.splits import unit_hash
from ethosteer.errors import InputError
from ethosteer.interruption import time_limit
from ethosteer.records import Item, LabelledText
from ethosteer.statistics.metrics import ACCURACY

NEW_TOKENS = 64
PATTERN_SECONDS = 5.0
"""Seconds of processor time for one search; (a+)+b takes for ever on a long enough row of a's."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """The pattern that reads answers. A search that takes too long is an InputError."""

    compiled: re.Pattern[str]
    settings: FormatSettings

    def search(self, text: str, subject: str) -> re.Match[str] | None:
        """Return the first match; ``subject`` says in an error what ``text`` is."""
        try:
            with time_limit(PATTERN_SECONDS):
                return self.compiled.search(text)
        except TimeoutError as fault:
            raise self.settings.fail(
                "pattern",
                f"takes more than {PATTERN_SECONDS:g} s on {subject}; repetitions within "
                "repetitions, such as (a+)+, take exponential time: write them as one",
            ) from fault

    def answer(self, text: str, subject: str) -> str | None:
        """Return what the first group matches, or the whole pattern where it has none."""
        match = self.search(text, subject)
        return match[1 if self.compiled.groups else 0] if match else None


def _build(rows: Sequence[Row], columns: Columns, settings: FormatSettings) -> FileBenchmark:
    table = settings.table
    if table.pattern is None and table.labelled is None:
        raise settings.fail(
            "pattern",
            "free answers are read by pattern, or by a classifier that labelled trains or tests; "
            "give one (or columns.choices, if the answers are to be chosen from)",
        )
    items = [Item("", (columns.text(row, "question"),), (), None, "") for row in rows]
    items = named_items(items, rows, columns, settings)
    new_tokens = table.new_tokens or NEW_TOKENS
    share = replace(POSITIVE_SHARE, better=table.better or "none")
    if table.labelled is not None:
        if table.columns and "answer" in table.columns:
            raise settings.fail("columns.answer", "remove it; the answers are classified")
        probability = replace(POSITIVE_PROBABILITY, better=share.better)
        classification = TextClassification(
            table.classifier or "trained", table.positive_class or "1", _labelled_texts
        )
        definitions = define(share, probability, NO_ANSWER_SHARE)
        return FileBenchmark(
            items, definitions, new_tokens=new_tokens, classification=classification
        )
    pattern = _Pattern(re.compile(table.pattern or ""), settings)
    if not columns.has("answer"):
        return FileBenchmark(
            items,
            define(share),
            new_tokens=new_tokens,
            parse=lambda item, text: int(pattern.search(text, _answer_to(item)) is not None),
        )
    if table.better is not None:
        raise settings.fail("better", "remove it; the answer column says what is correct")
    items = [
        replace(item, label=1, expected=_expected(row, columns, pattern))
        for item, row in zip(items, rows, strict=True)
    ]
    definitions = define(ACCURACY, NO_ANSWER_SHARE)
    return FileBenchmark(items, definitions, new_tokens=new_tokens, parse=_grader(pattern))


def _answer_to(item: Item) -> str:
    return f"the answer to item {item.id}"


def _expected(row: Row, columns: Columns, pattern: _Pattern) -> tuple[str, ...]:
    """Return the answers that count as correct: one, or a list of them."""
    value = row.value(columns.name("answer"))
    answers = value if isinstance(value, list) else [value]
    if not answers or any(
        isinstance(answer, bool) or not isinstance(answer, str | int | float) for answer in answers
    ):
        raise row.fail(f"column {columns.name('answer')!r} must be an answer or a list of them")
    texts = [str(answer) for answer in answers]
    subject = f"the expected answer in {row.path}:{row.line}"
    expected = tuple(normalised(pattern.answer(text, subject) or text) for text in texts)
    if not all(expected):
        raise row.fail(f"column {columns.name('answer')!r}: an answer is empty")
    return expected


def normalised(answer: str) -> str:
    """Return an answer as it is compared: without case, outer blanks, a final full stop.

    Numbers are compared as numbers: ``1,200`` is ``1200.0``.
    """
    text = " ".join(answer.casefold().split()).removesuffix(".")
    try:
        return repr(float(text.replace(",", "").removeprefix("$")))
    except ValueError:
        return text


def _grader(pattern: _Pattern) -> Callable[[Item, str], int | None]:
    """Return what reads an answer: 1 if it is an expected one, 0 if another, None if none."""

    def grade(item: Item, text: str) -> int | None:
        answer = pattern.answer(text, _answer_to(item))
        return None if not answer else int(normalised(answer) in item.expected)

    return grade


def _labelled_texts(paths: Sequence[Path]) -> tuple[list[LabelledText], list[LabelledText]]:
    """Return the rows of the labelled file in two halves: to train on, and held out.

    Rows of one text are in one half.
    """
    path = paths[1]
    train: list[LabelledText] = []
    held_out: list[LabelledText] = []
    for row in read_rows(path):
        text = row.filled("text")
        half = train if unit_hash(f"labelled {text}") < 0.5 else held_out
        half.append(LabelledText(text, row.choice("label", ("0", "1")) == "1"))
    for rows in (train, held_out):
        if len({row.positive for row in rows}) < 2:
            raise InputError.at(
                path, None, "needs texts of both labels, some twenty of each, in either half"
            )
    return train, held_out


FORMAT = Format(
    name="free_answers",
    roles={
        "question": ("question", "prompt", "query"),
        "answer": ("answer", "gold", "target"),
    },
    required=(("question",),),
    build=_build,
    keys=("better", "pattern", "new_tokens", "labelled", "positive_class", "classifier"),
)

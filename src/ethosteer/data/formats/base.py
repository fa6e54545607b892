"""What a format is: how columns are recognised, and what a row says.

A row is a judgement of two answers to one dialogue, or one answer that is labelled good or bad.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from ethosteer.data.pair_sets import Dropped
from ethosteer.data.readers import Row, is_blank
from ethosteer.errors import InputError
from ethosteer.records import Turn, format_dialogue, parse_dialogue, unusable


@dataclass(frozen=True, slots=True)
class Judgement:
    """Two answers to one prompt, and how many annotators preferred the first, the second, neither.

    ``annotator`` is the one who judged, None where the file does not say.
    """

    row: int
    prompt: str
    group: str
    answers: tuple[str, str]
    votes: tuple[int, int, int]
    annotator: str | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """One answer to a prompt, labelled good or bad."""

    row: int
    prompt: str
    group: str
    answer: str
    good: bool


Entry = Judgement | Labelled | Dropped


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write preferences into rows.

    ``names(columns)`` maps column names of ours to the file's, None where the file is not of this
    format. ``read(rows)`` yields what the rows say; a malformed row raises InputError.
    """

    title: str
    names: Callable[[Columns], dict[str, str] | None]
    read: Callable[[Sequence[Row]], Iterator[Entry]]


ALIASES = {
    "prompt": ("prompt", "question", "instruction", "query", "input", "history", "context"),
    "chosen": ("chosen", "preferred", "accepted"),
    "rejected": ("rejected", "dispreferred"),
    "winner": (
        "winner", "preference", "preferred", "better", "better_response_id", "choice", "comparison",
        "ranking", "label", "chosen", "vote",
    ),
    "annotator": ("annotator", "annotator_id", "worker", "worker_id", "rater", "user_id", "judge"),
    "system": ("system", "system_prompt"),
    "group": ("group",),
    "response": ("response", "completion", "answer", "output"),
    "label": ("label",),
}  # fmt: skip
"""How files name the columns that have one name here; case, hyphens and spaces aside."""

BESIDE = ("annotator", "group", "system")
"""Columns that every format may have."""
ANSWERS = ("response_a", "response_b")
STEMS = ("response", "answer", "completion", "output", "generation", "candidate", "human_ref",
         "conversation")  # fmt: skip
SUFFIXES = (("a", "b"), ("0", "1"), ("1", "2"), ("left", "right"))
KNOWN = (
    "prompt", "chosen", "rejected", *ANSWERS, "winner", "votes_a", "votes_b", "score_a", "score_b",
    "annotator", "group", "system", "response", "label",
)  # fmt: skip
"""The column names that the setting ``columns`` may map."""


def plain(name: str) -> str:
    """Return a name in lower case, with underscores: Response-1 and response1 are response_1."""
    name = re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")
    return re.sub(r"(?<=[a-z])(?=\d+$)", "_", name)


@dataclass(frozen=True)
class Columns:
    """The columns of a file, and those that the user names: ours -> the file's."""

    names: tuple[str, ...]
    named: Mapping[str, str]

    def find(self, column: str, aliases: Sequence[str] | None = None) -> str | None:
        """Return the file's name of one of our columns, None where the file has none."""
        if column in self.named:
            return self.named[column]
        by_plain = {plain(name): name for name in reversed(self.names)}
        aliases = ALIASES.get(column, (column,)) if aliases is None else aliases
        return next((by_plain[alias] for alias in aliases if alias in by_plain), None)

    def require(self, *columns: str) -> dict[str, str] | None:
        """Return the file's names of columns that must all be there, else None."""
        names = {column: self.find(column) for column in columns}
        known = {column: name for column, name in names.items() if name is not None}
        distinct = len(set(known.values())) == len(columns)
        return known if len(known) == len(columns) and distinct else None

    def optional(self, *columns: str) -> dict[str, str]:
        """Return the file's names of those columns that are there."""
        names = {column: self.find(column) for column in columns}
        return {column: name for column, name in names.items() if name is not None}


def group_of(row: Row, turns: Sequence[Turn]) -> str:
    """Return the unit of splitting: the group column, else the first thing that the human says.

    Dialogues that open alike are about the same and often go on alike.
    """
    if (named := _named(row, "group")) is not None:
        return named
    return next(text for role, text in turns if role == "human")


def annotator_of(row: Row) -> str | None:
    """Return who judged a row; None where the file does not say."""
    return _named(row, "annotator")


def _named(row: Row, column: str) -> str | None:
    """Return a name, which may be a number; None where the field is empty."""
    value = row.value(column)
    if isinstance(value, float) and isnan(value):
        return None
    if isinstance(value, str | int | float):
        text = str(value).strip()
        return None if is_blank(text) else text
    if value is None:
        return None
    raise row.bad(column, "must be text or a number")


def written_prompt(turns: Sequence[Turn]) -> tuple[str, str | None]:
    """Return a prompt as text, and why it is of no use, None where it is."""
    if problem := unusable(turns):
        return "", problem
    if any(is_blank(text) for _, text in turns):
        return "", "empty turn"
    if any(role == "system" for role, _ in turns[1:]):
        return "", "system turn inside"
    if turns[-1][0] != "human":
        return "", "no question"
    text = format_dialogue(turns)
    if parse_dialogue(text) != list(turns):
        return "", "speaker's mark in a turn"
    return text, None


def unknown_columns(named: Mapping[str, str], names: Sequence[str], where: str) -> None:
    """Raise InputError where the setting ``columns`` names a column that is not there."""
    for ours, theirs in named.items():
        if theirs not in names:
            raise InputError(
                f"{where}: columns.{ours} names the column {theirs!r}, which is missing; the file "
                f"has {', '.join(names)}"
            )

"""Two answers to one prompt with a winner, votes or scores, perhaps by several annotators."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from ethosteer.data.formats.base import (
    ANSWERS,
    BESIDE,
    STEMS,
    SUFFIXES,
    Columns,
    Entry,
    Format,
    annotator_of,
    plain,
)
from ethosteer.data.formats.dialogues import UnusableError, answer_turns, prompt_turns
from ethosteer.data.formats.pairs import judgement
from ethosteer.data.pair_sets import Dropped
from ethosteer.data.readers import Row

FIRST, SECOND, TIE = (1, 0, 0), (0, 1, 0), (0, 0, 1)
TIES = {"tie", "tied", "both", "neither", "equal", "same", "draw", "bothbad", "either"}
LETTERS = {
    "a": FIRST,
    "left": FIRST,
    "first": FIRST,
    "b": SECOND,
    "right": SECOND,
    "second": SECOND,
}
LARGEST_VOTES = 1_000_000_000
MEASURES = (("votes", ("votes", "vote", "n_votes")), ("score", ("score", "rating", "scores")))
"""Columns with a number for each answer: a name here, and the file's stems."""


def answer_columns(columns: Columns) -> tuple[str, str] | None:
    """Return the file's names of the two answers; None where there are none, or not two."""
    if set(ANSWERS) <= columns.named.keys():
        return columns.named[ANSWERS[0]], columns.named[ANSWERS[1]]
    for stem in STEMS:
        for suffixes in SUFFIXES:
            first, second = (columns.find("", (f"{stem}_{suffix}",)) for suffix in suffixes)
            if first is not None and second is not None:
                return first, second
    return None


def _names(columns: Columns) -> dict[str, str] | None:
    answers = answer_columns(columns)
    if answers is None:
        return None
    names = columns.optional("prompt") | {ANSWERS[0]: answers[0], ANSWERS[1]: answers[1]}
    ends = [plain(name).rpartition("_")[2] for name in answers]
    verdict = columns.optional("winner")
    for measure, stems in MEASURES:
        if verdict:
            break
        ours = (f"{measure}_a", f"{measure}_b")
        theirs = [
            columns.find(name, [f"{stem}_{end}" for stem in stems])
            for name, end in zip(ours, ends, strict=True)
        ]
        if theirs[0] is not None and theirs[1] is not None:
            verdict = {ours[0]: theirs[0], ours[1]: theirs[1]}
    return names | verdict | columns.optional(*BESIDE) if verdict else None


def _read(rows: Sequence[Row]) -> Iterator[Entry]:
    for row in rows:
        try:
            prompt = prompt_turns(row) if "prompt" in row.names else None
            answers = answer_turns(row, ANSWERS[0]), answer_turns(row, ANSWERS[1])
        except UnusableError as fault:
            yield Dropped(row.line, str(fault))
            continue
        votes = _votes(row)
        if votes is None:
            yield Dropped(row.line, "no judgement")
        else:
            yield judgement(row, prompt, answers, votes, annotator_of(row))


def _votes(row: Row) -> tuple[int, int, int] | None:
    """Return the votes for the first answer, the second and neither; None without a judgement."""
    if "winner" in row.names:
        return verdict(row, row.value("winner"), (row.names[ANSWERS[0]], row.names[ANSWERS[1]]))
    if "votes_a" in row.names:
        counts = row.integer("votes_a"), row.integer("votes_b")
        if min(counts) < 0:
            name = row.names["votes_a" if counts[0] < 0 else "votes_b"]
            raise row.fail(f"column {name!r} must not be negative, found {min(counts)}")
        if max(counts) > LARGEST_VOTES:
            raise row.fail(f"has {max(counts):g} votes; at most {LARGEST_VOTES:,} are read")
        return (*counts, 0) if any(counts) else None
    return by_score(row.number("score_a"), row.number("score_b"))


def by_score(first: float, second: float) -> tuple[int, int, int]:
    """Return the vote of two scores, of which the higher one is better."""
    return TIE if math.isclose(first, second) else FIRST if first > second else SECOND


def verdict(row: Row, value: object, answers: Sequence[str]) -> tuple[int, int, int] | None:
    """Return the vote that ``value`` is, where ``answers`` are the columns of the two answers.

    It names a column, the end of its name, a side (A, left, first), or a tie. None where it is
    empty; InputError where it is not understood.
    """
    given = value
    if isinstance(value, str) and value.lstrip().startswith("{"):  # Label Studio's CSV
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, Mapping):
        value = value.get("selected", value.get("value"))
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # an empty cell makes a column of numbers one of floats
    if value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip():
        return None
    names = [plain(name) for name in answers]
    word = plain(str(value))
    ends = [name.rpartition("_")[2] for name in names]
    votes = {ends[0]: FIRST, ends[1]: SECOND, names[0]: FIRST, names[1]: SECOND}
    known = LETTERS | votes
    if not isinstance(value, bool):
        if word in known:
            return known[word]
        words = word.split("_")
        if TIES & set(words):
            return TIE
        if len(words) == 2 and words[1] in known:  # model_a, answer 1
            return known[words[1]]
    name = row.names.get("winner", "winner")
    raise row.fail(
        f"column {name!r}: {given!r} is not understood; write {names[0]}, {names[1]} or tie"
    )


COMPARISON = Format("two answers with a winner, votes or scores", _names, _read)

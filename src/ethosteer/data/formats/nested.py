"""Records of annotation tools: texts in named fields, and what annotators said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ethosteer.data.formats.base import ANSWERS, Columns, Entry, plain
from ethosteer.data.formats.comparisons import TIE, answer_columns, by_score, verdict
from ethosteer.data.formats.dialogues import UnusableError, answer_turns, prompt_turns
from ethosteer.data.formats.pairs import judgement
from ethosteer.data.pair_sets import Dropped
from ethosteer.data.readers import Row, quoted

T = TypeVar("T")
Given = tuple[str, object]
"""Who judged, and the judgement: an answer's name, a ranking, or ratings by the answer's name."""


def checked(row: Row, column: str, adapter: TypeAdapter[T]) -> T:
    """Return a nested field as a value of the adapter's type; InputError where it is none."""
    try:
        return adapter.validate_python(row.value(column))
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        key = ".".join([column, *map(str, error["loc"])])
        raise row.fail(f"{key}: {error['msg']}, found {quoted(error.get('input'))}") from fault


def entries(row: Row, fields: Mapping[str, Any], given: Sequence[Given]) -> Iterator[Entry]:
    """Yield the judgements of one record: its prompt and answers, and what annotators said."""
    if not given:
        yield Dropped(row.line, "no judgement")
        return
    columns = Columns(tuple(map(str, fields)), row.names)
    answers, prompt = _answers(columns), columns.find("prompt")
    if len(answers) < 2 or prompt is None or not {prompt, *answers} <= fields.keys():
        raise row.fail(
            f"the record has {', '.join(columns.names)}; name its prompt and its two answers with "
            "columns.prompt, columns.response_a and columns.response_b"
        )
    names = {"prompt": prompt} | columns.optional("group", "system")
    record = replace(row, fields=dict(fields), names=names)
    for who, value in given:
        for first, second, votes in _comparisons(record, value, answers):
            two = replace(record, names=names | {ANSWERS[0]: first, ANSWERS[1]: second})
            try:
                turns = prompt_turns(two)
                both = answer_turns(two, ANSWERS[0]), answer_turns(two, ANSWERS[1])
            except UnusableError as fault:
                yield Dropped(row.line, str(fault))
                continue
            yield judgement(two, turns, both, votes, who)


def _answers(columns: Columns) -> list[str]:
    """Return the fields that hold answers: two, or all of one stem where there are more."""
    two = answer_columns(columns)
    if two is None:
        return []
    if two[0] in columns.named.values():
        return list(two)
    stem = plain(two[0]).rpartition("_")[0]
    others = [name for name in columns.names if plain(name).rpartition("_")[0] == stem]
    return list(dict.fromkeys([*two, *others]))


def _comparisons(
    row: Row, value: object, answers: Sequence[str]
) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """Yield pairs of answers with a vote; a ranking or ratings compare every two answers."""
    if isinstance(value, dict) and set(value) == {"value"}:
        value = value["value"]
    ranks = _ranks(row, value, answers)
    if ranks is not None:
        for first, second in combinations(answers, 2):
            if first in ranks and second in ranks:
                yield first, second, by_score(-ranks[first], -ranks[second])
        return
    votes = verdict(row, value, answers[:2])
    if votes is not None and votes != TIE and len(answers) > 2:
        raise row.fail(
            f"one of {len(answers)} answers is preferred; only two answers, or a ranking, are read"
        )
    if votes is not None:
        yield answers[0], answers[1], votes


def _ranks(row: Row, value: object, answers: Sequence[str]) -> dict[str, float] | None:
    """Return the rank of each answer, the lowest being the best; None where it is no ranking."""
    by_plain = {plain(name): name for name in answers}
    if isinstance(value, dict) and value and plain(str(next(iter(value)))) in by_plain:
        ranked = [(name, rating, -1) for name, rating in value.items()]
    elif isinstance(value, list):
        ranked = [
            (entry.get("value"), entry.get("rank"), 1)
            if isinstance(entry, dict)
            else (entry, position, 1)
            for position, entry in enumerate(value, start=1)
        ]
    else:
        return None
    ranks: dict[str, float] = {}
    for named, number, sign in ranked:
        name = by_plain.get(plain(str(named)))
        if name is None or isinstance(number, bool) or not isinstance(number, int | float):
            raise row.fail(
                f"{quoted(named)} with {quoted(number)} is no rank or rating of an answer; the "
                f"answers are {', '.join(answers)}"
            )
        ranks[name] = sign * float(number)
    return ranks

"""Preferences as the annotation tools Argilla and Label Studio export them.

Argilla 1 and 2 write records with ``fields`` and ``responses``, or one column for each field and
``QUESTION.responses`` for each question. Label Studio writes tasks with ``data`` and
``annotations``; its short forms (JSON_MIN, CSV) are comparisons like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from ethosteer.data.formats.base import ALIASES, ANSWERS, Columns, Entry, Format, plain
from ethosteer.data.formats.comparisons import TIE, answer_columns, by_score, verdict
from ethosteer.data.formats.dialogues import UnusableError, answer_turns, prompt_turns
from ethosteer.data.formats.pairs import judgement
from ethosteer.data.pair_sets import Dropped
from ethosteer.data.readers import Row

RESPONSES = ".responses"
Given = tuple[str, object]
"""Who answered a question, and the answer."""


def _argilla_names(columns: Columns) -> dict[str, str] | None:
    if {"fields", "responses"} <= set(columns.names):
        return dict(columns.named)
    if any(name.endswith(RESPONSES) for name in columns.names):
        return dict(columns.named)
    return None


def _argilla(rows: Sequence[Row]) -> Iterator[Entry]:
    for row in rows:
        fields = row.fields.get("fields", row.fields)
        if not isinstance(fields, dict):
            raise row.bad("fields", "must be an object")
        yield from _entries(row, fields, _argilla_answers(row))


def _argilla_answers(row: Row) -> list[Given]:
    """Return what annotators submitted to the question about the preference."""
    responses = row.fields.get("responses")
    answers: dict[str, list[Given]] = {}
    if isinstance(responses, list):  # Argilla 1: by annotator
        for number, response in enumerate(responses, start=1):
            if isinstance(response, dict) and response.get("status", "submitted") == "submitted":
                who = str(response.get("user_id") or number)
                for question, value in (response.get("values") or {}).items():
                    answers.setdefault(question, []).append((who, value))
    elif isinstance(responses, dict):  # Argilla 2: by question
        for question, given in responses.items():
            for number, response in enumerate(given or (), start=1):
                if response.get("status", "submitted") == "submitted":
                    who = str(response.get("user_id") or number)
                    answers.setdefault(question, []).append((who, response.get("value")))
    else:
        for column, values in row.fields.items():
            if column.endswith(RESPONSES):
                question = column.removesuffix(RESPONSES)
                answers[question] = _flat_answers(row.fields, column, values)
    return _asked(row, answers)


def _flat_answers(fields: Mapping[str, object], column: str, values: object) -> list[Given]:
    """Return the submitted answers of one question where each of its properties is a column."""
    given = values if isinstance(values, list) else []
    users, statuses = (
        entries if isinstance(entries := fields.get(f"{column}.{name}"), list) else []
        for name in ("users", "status")
    )
    return [
        (str(users[index] if index < len(users) else index), value)
        for index, value in enumerate(given)
        if index >= len(statuses) or statuses[index] == "submitted"
    ]


def _asked(row: Row, answers: Mapping[str, list[Given]]) -> list[Given]:
    """Return the answers to the question about the preference, by its name or as the only one."""
    if not answers:
        return []
    if (named := row.names.get("winner")) is not None:
        return answers.get(named, [])
    for question, given in answers.items():
        if plain(question) in ALIASES["winner"]:
            return given
    if len(answers) > 1:
        raise row.fail(
            f"the questions are {', '.join(answers)}; name the one about the preference with "
            "columns.winner"
        )
    return next(iter(answers.values()))


def _label_studio_names(columns: Columns) -> dict[str, str] | None:
    return dict(columns.named) if {"data", "annotations"} <= set(columns.names) else None


def _label_studio(rows: Sequence[Row]) -> Iterator[Entry]:
    for row in rows:
        data, annotations = row.fields.get("data"), row.fields.get("annotations")
        if not isinstance(data, dict):
            raise row.bad("data", "must be an object")
        if not isinstance(annotations, list):
            raise row.bad("annotations", "must be a list")
        given: list[Given] = []
        for number, annotation in enumerate(annotations, start=1):
            if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
                continue
            who = annotation.get("completed_by", number)
            who = who.get("id", who.get("email")) if isinstance(who, dict) else who
            if (answer := _region(row, annotation.get("result"))) is not None:
                given.append((str(who), answer))
        yield from _entries(row, data, given)


def _region(row: Row, results: object) -> object:
    """Return what an annotation says: the side selected, a choice, or a rating by its text."""
    regions = [entry for entry in results or () if isinstance(entry, dict)]  # type: ignore[attr-defined]
    if (named := row.names.get("winner")) is not None:
        regions = [entry for entry in regions if entry.get("from_name") == named]
    ratings: dict[str, Any] = {}
    for region in regions:
        value = region.get("value") or {}
        if "selected" in value:
            return value["selected"]
        if value.get("choices"):
            return value["choices"][0]
        if "rating" in value:
            ratings[str(region.get("to_name"))] = value["rating"]
    return ratings or None


def _entries(row: Row, fields: Mapping[str, Any], given: Sequence[Given]) -> Iterator[Entry]:
    """Yield the judgements of one record: its prompt and answers, and what annotators said."""
    if not given:
        yield Dropped(row.line, "no judgement")
        return
    columns = Columns(tuple(map(str, fields)), row.names)
    answers, prompt = _answers(columns), columns.find("prompt")
    if len(answers) < 2 or prompt not in fields:
        raise row.fail(
            f"the record has {', '.join(columns.names)}; name its prompt and its two answers with "
            "columns.prompt, columns.response_a and columns.response_b"
        )
    names = {"prompt": str(prompt)}
    if (group := columns.find("group")) in fields:
        names["group"] = str(group)
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
    stem = plain(two[0]).rpartition("_")[0]
    others = [name for name in columns.names if plain(name).rpartition("_")[0] == stem]
    return list(dict.fromkeys([*two, *others])) if two[0] not in columns.named.values() else [*two]


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
    if votes is None:
        return
    others = answers[2:] if votes != TIE else ()
    if others:
        raise row.fail(
            f"one of {len(answers)} answers was chosen; only two answers, or a ranking, are read"
        )
    yield answers[0], answers[1], votes


def _ranks(row: Row, value: object, answers: Sequence[str]) -> dict[str, float] | None:
    """Return the rank of each answer, the lowest being the best; None where it is no ranking."""
    by_plain = {plain(name): name for name in answers}
    if isinstance(value, dict) and value and plain(str(next(iter(value)))) in by_plain:
        return {by_plain[plain(str(name))]: -float(rating) for name, rating in value.items()}
    if not isinstance(value, list):
        return None
    ranks: dict[str, float] = {}
    for position, entry in enumerate(value, start=1):
        ranked = entry if isinstance(entry, dict) else {"value": entry, "rank": position}
        name, rank = by_plain.get(plain(str(ranked.get("value")))), ranked.get("rank")
        if name is None or not isinstance(rank, int | float):
            raise row.fail(f"a ranking names {ranked!r}, which is none of {', '.join(answers)}")
        ranks[name] = float(rank)
    return ranks


ARGILLA = Format("Argilla export", _argilla_names, _argilla)
LABEL_STUDIO = Format("Label Studio export", _label_studio_names, _label_studio)

"""Argilla's exports: records with ``fields`` and ``responses``, or one column for each of them.

Argilla 1 lists responses by annotator, Argilla 2 by question; as a table a question has the columns
``QUESTION.responses``, ``.responses.users`` and ``.responses.status``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from pydantic import BaseModel, TypeAdapter

from ethosteer.data.formats.base import ALIASES, Columns, Entry, Format, plain
from ethosteer.data.formats.nested import Given, checked, entries
from ethosteer.data.readers import Row

RESPONSES = ".responses"
SUBMITTED = "submitted"


class Response(BaseModel):
    """One annotator's answers to all questions, in Argilla 1."""

    user_id: Any = None
    status: str | None = SUBMITTED
    values: dict[str, Any] | None = None


class Answer(BaseModel):
    """One annotator's answer to one question, in Argilla 2."""

    user_id: Any = None
    status: str | None = SUBMITTED
    value: Any = None


FIELDS = TypeAdapter(dict[str, Any])
BY_ANNOTATOR = TypeAdapter(list[Response])
BY_QUESTION = TypeAdapter(dict[str, list[Answer] | None])
COLUMN = TypeAdapter(list[Any] | None)


def _names(columns: Columns) -> dict[str, str] | None:
    is_record = {"fields", "responses"} <= set(columns.names)
    is_table = any(name.endswith(RESPONSES) for name in columns.names)
    return dict(columns.named) if is_record or is_table else None


def _read(rows: Sequence[Row]) -> Iterator[Entry]:
    for row in rows:
        fields = checked(row, "fields", FIELDS) if "fields" in row.fields else row.fields
        yield from entries(row, fields, _asked(row, _answers(row)))


def _answers(row: Row) -> dict[str, list[Given]]:
    """Return what annotators submitted, by question."""
    answers: dict[str, list[Given]] = {}
    given = row.value("responses")
    if isinstance(given, list):
        responses = checked(row, "responses", BY_ANNOTATOR)
        for number, response in enumerate(responses, start=1):
            if response.status in (SUBMITTED, None):
                for question, value in (response.values or {}).items():
                    answers.setdefault(question, []).append((_who(response.user_id, number), value))
    elif given is not None:
        for question, given in checked(row, "responses", BY_QUESTION).items():
            answers[question] = [
                (_who(answer.user_id, number), answer.value)
                for number, answer in enumerate(given or (), start=1)
                if answer.status in (SUBMITTED, None)
            ]
    for column in row.fields:
        if column.endswith(RESPONSES):
            answers[column.removesuffix(RESPONSES)] = _column_answers(row, column)
    return answers


def _column_answers(row: Row, column: str) -> list[Given]:
    """Return the submitted answers of one question where each of its properties is a column."""
    given, users, statuses = (
        checked(row, f"{column}{name}", COLUMN) for name in ("", ".users", ".status")
    )
    return [
        (_who(user, number), value)
        for number, (value, user, status) in enumerate(
            zip_longest(given or (), users or (), statuses or (), fillvalue=None), start=1
        )
        if status in (SUBMITTED, None) and number <= len(given or ())
    ]


def _who(user: object, number: int) -> str:
    return str(user or f"annotator {number}")


def _asked(row: Row, answers: Mapping[str, list[Given]]) -> list[Given]:
    """Return the answers to the question about the preference, by its name or as the only one."""
    if (named := row.names.get("winner")) is not None:
        return answers.get(named, [])
    known = [question for question in answers if plain(question) in ALIASES["winner"]]
    if len(answers) > 1 and not known:
        raise row.fail(
            f"the questions are {', '.join(answers)}; name the one about the preference with "
            "columns.winner"
        )
    return answers[known[0]] if known else next(iter(answers.values()), [])


ARGILLA = Format("Argilla export", _names, _read)

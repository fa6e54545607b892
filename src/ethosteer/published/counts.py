"""Counts that another study published: one TOML file, validated, for what can be asked of them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, ValidationError, model_validator

from ethosteer.errors import InputError
from ethosteer.settings import Settings

PUBLISHED_DIR = Path(str(files("ethosteer"))) / "assets" / "published"
MARKS = frozenset({"citation", "models", "shares", "answers", "confusions"})
"""Keys by which a file of counts is told from a study file."""


class Shares(Settings):
    """[[shares]]: of the same ``items`` items, how many each model had right (or alike)."""

    benchmark: str
    title: str
    metric: str
    items: int = Field(ge=1)
    right: dict[str, NonNegativeInt]

    @model_validator(mode="after")
    def _within(self) -> Shares:
        for model, count in self.right.items():
            if count > self.items:
                raise ValueError(f"right.{model} is {count} of {self.items} items")
        return self


class Values(Settings):
    """[[values]]: means of which no counts were published."""

    benchmark: str
    title: str
    metric: str
    value: dict[str, FiniteFloat]


class Answers(Settings):
    """[[answers]]: free answers, counted; every model may have had a number of items of its own."""

    benchmark: str
    title: str
    correct: dict[str, NonNegativeInt]
    wrong: dict[str, NonNegativeInt]
    refused: dict[str, NonNegativeInt]

    def counts(self, model: str) -> tuple[int, int, int]:
        """Return (correct, wrong, refused) of one model."""
        return self.correct[model], self.wrong[model], self.refused[model]


class Confusion(Settings):
    """[[confusions]]: one model's answers by label."""

    benchmark: str
    title: str
    model: str
    tp: NonNegativeInt
    tn: NonNegativeInt
    fp: NonNegativeInt
    fn: NonNegativeInt

    @model_validator(mode="after")
    def _filled(self) -> Confusion:
        if not self.tp + self.tn + self.fp + self.fn:
            raise ValueError("tp, tn, fp and fn are all 0")
        return self


class Statement(Settings):
    """[[statements]]: a conclusion of the study, in its own sense.

    ``about``: "arms", that none of them is better than another; "nothing" that was counted.
    """

    said: str
    about: Literal["arms", "nothing"]


class Counts(Settings):
    """All that a study published.

    ``baselines`` are models that are held to the control as arms are, and belong to neither.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    question: str
    citation: str
    models: tuple[str, ...] = Field(min_length=2)
    control: str
    baselines: tuple[str, ...] = ()
    shares: tuple[Shares, ...] = ()
    values: tuple[Values, ...] = ()
    answers: tuple[Answers, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    statements: tuple[Statement, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """All models but the control."""
        return tuple(model for model in self.models if model != self.control)

    @property
    def arms(self) -> tuple[str, ...]:
        """The models that the study set out to compare."""
        return tuple(model for model in self.others if model not in self.baselines)

    @model_validator(mode="after")
    def _named(self) -> Counts:
        if len(set(self.models)) < len(self.models):
            raise ValueError("models: one is named twice")
        for key, names in (("control", [self.control]), ("baselines", self.baselines)):
            for name in names:
                if name not in self.models:
                    raise ValueError(f"{key}: {name!r} is none of the models")
        if not (self.shares or self.answers or self.confusions):
            raise ValueError("there are no counts: give shares, answers or confusions")
        return self

    @model_validator(mode="after")
    def _complete(self) -> Counts:
        tables: list[tuple[str, Mapping[str, float]]] = [
            *((f"shares of {each.title}", each.right) for each in self.shares),
            *((f"values of {each.title}", each.value) for each in self.values),
            *(
                (f"answers to {each.title}", own)
                for each in self.answers
                for own in (each.correct, each.wrong, each.refused)
            ),
        ]
        for name, table in tables:
            for model in self.models:
                if model not in table:
                    raise ValueError(f"{name}: model {model!r} is missing")
            for model in table:
                if model not in self.models:
                    raise ValueError(f"{name}: {model!r} is none of the models")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Counts:
        for each in self.answers:
            for model in self.models:
                if not sum(each.counts(model)):
                    raise ValueError(f"answers to {each.title}: {model!r} has no items")
        for table in self.confusions:
            if table.model not in self.models:
                raise ValueError(f"confusions: {table.model!r} is none of the models")
            for answers in self.answers:
                counted = table.tp + table.tn, table.fp + table.fn
                own = answers.counts(table.model)[:2]
                if answers.benchmark == table.benchmark and counted != own:
                    raise ValueError(
                        f"confusions: {table.model} has {counted[0]} right and {counted[1]} wrong, "
                        f"but {own[0]} and {own[1]} in answers to {answers.title}"
                    )
        return self


def bundled_counts() -> tuple[str, ...]:
    """Return the names of the counts that come with the package."""
    return tuple(sorted(path.stem for path in PUBLISHED_DIR.glob("*.toml")))


def counts_path(name: str) -> Path | None:
    """Return the file that ``name`` means: bundled counts, or a TOML file of that form; or None."""
    if name in bundled_counts():
        return PUBLISHED_DIR / f"{name}.toml"
    path = Path(name)
    if path.suffix == ".toml" and path.is_file() and not MARKS.isdisjoint(_table(path)):
        return path
    return None


def read_counts(path: Path) -> Counts:
    """Read published counts; InputError that names the file and the key for anything wrong."""
    try:
        return Counts.model_validate_json(_json(_table(path)))
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {key + ': ' if key else ''}{message}") from fault


def _table(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as fault:
        raise InputError(f"{path}: cannot be read: {fault.strerror}") from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise InputError(f"{path}: not valid TOML: {fault}") from fault


def _json(table: dict[str, object]) -> str:
    """As JSON text, so that strict validation takes TOML's lists for tuples."""
    return json.dumps(table, default=str)

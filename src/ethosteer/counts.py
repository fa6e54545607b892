"""Counts that another study published: one TOML file, validated, for what can be asked of them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from ethosteer.config import Settings
from ethosteer.errors import InputError

PUBLISHED_DIR = Path(str(files("ethosteer"))) / "assets" / "published"


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
    value: dict[str, float]


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


class Counts(Settings):
    """All that a study published."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    question: str
    citation: str
    models: tuple[str, ...] = Field(min_length=2)
    control: str
    shares: tuple[Shares, ...] = ()
    values: tuple[Values, ...] = ()
    answers: tuple[Answers, ...] = ()
    confusions: tuple[Confusion, ...] = ()

    @property
    def arms(self) -> tuple[str, ...]:
        """All models but the control."""
        return tuple(model for model in self.models if model != self.control)

    @model_validator(mode="after")
    def _complete(self) -> Counts:
        if self.control not in self.models:
            raise ValueError(f"control {self.control!r} is none of the models")
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
            odd = set(table) ^ set(self.models)
            if odd:
                raise ValueError(f"{name}: {sorted(odd)[0]!r} is in only one of them and models")
        for each in self.confusions:
            if each.model not in self.models:
                raise ValueError(f"confusions: {each.model!r} is none of the models")
        return self


def bundled_counts() -> tuple[str, ...]:
    """Return the names of the counts that come with the package."""
    return tuple(sorted(path.stem for path in PUBLISHED_DIR.glob("*.toml")))


def counts_path(name: str) -> Path | None:
    """Return the file that ``name`` means: bundled counts, or a TOML file of that form; or None."""
    if name in bundled_counts():
        return PUBLISHED_DIR / f"{name}.toml"
    path = Path(name)
    if path.suffix == ".toml" and path.is_file() and {"citation", "models"} <= set(_table(path)):
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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise InputError(f"{path}: not valid TOML: {fault}") from fault


def _json(table: dict[str, object]) -> str:
    """As JSON text, so that strict validation takes TOML's lists for tuples."""
    return json.dumps(table, default=str)

"""Counts that another study published: one TOML file, validated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, ValidationError, model_validator

from ethosteer.data.text_files import read_toml
from ethosteer.errors import InputError
from ethosteer.settings import Settings

PUBLISHED_DIR = Path(str(files("ethosteer"))) / "assets" / "published"
MARKS = frozenset({"citation", "models", "shares", "answers", "confusions"})
"""Keys that distinguish a file of counts from a study file."""

Pair = tuple[str, str]


class Metric(Settings):
    """What [[shares]] and [[values]] have in common: the benchmark, its title, and the metric."""

    benchmark: str
    title: str
    metric: str

    @property
    def label(self) -> str:
        """The title and the metric, as tables head them."""
        return f"{self.title}, {self.metric}"


class Shares(Metric):
    """[[shares]]: the same ``items`` items for all models, and how many each had right."""

    items: int = Field(ge=1)
    right: dict[str, NonNegativeInt]

    @model_validator(mode="after")
    def _within_items(self) -> Shares:
        for model, right in self.right.items():
            if right > self.items:
                raise ValueError(f"right.{model} is {right} of {self.items} items")
        return self

    def published(self, model: str) -> float:
        """Return one model's share."""
        return self.right[model] / self.items


class Values(Metric):
    """[[values]]: means that were published without counts."""

    value: dict[str, FiniteFloat]

    def published(self, model: str) -> float:
        """Return one model's value."""
        return self.value[model]


class Answers(Settings):
    """[[answers]]: free answers, counted; the number of items may differ from model to model."""

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
    def _not_empty(self) -> Confusion:
        if not self.tp + self.tn + self.fp + self.fn:
            raise ValueError("tp, tn, fp and fn are all 0")
        return self


class Statement(Settings):
    """[[statements]]: a conclusion of the study, quoted.

    ``about``: "arms", that none of them is better than another; "nothing" that was counted.
    """

    quote: str
    about: Literal["arms", "nothing"]


class Counts(Settings):
    """All counts that a study published.

    ``baselines`` are models that are compared with the control as arms are, without being arms.
    ``caveats`` are what a comparison with another study's results has to reckon with.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    question: str
    citation: str
    caveats: str = ""
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

    @property
    def against(self) -> tuple[Pair, ...]:
        """Every other model with the control."""
        return tuple((model, self.control) for model in self.others)

    @property
    def between(self) -> tuple[Pair, ...]:
        """Every two arms."""
        return tuple(combinations(self.arms, 2))

    @model_validator(mode="after")
    def _known_models(self) -> Counts:
        if len(set(self.models)) < len(self.models):
            raise ValueError("models: one is named twice")
        names = [("control", self.control), *(("baselines", name) for name in self.baselines)]
        names += [("confusions", confusion.model) for confusion in self.confusions]
        tables: list[tuple[str, Mapping[str, float]]] = [
            *((f"shares of {shares.title}", shares.right) for shares in self.shares),
            *((f"values of {values.title}", values.value) for values in self.values),
            *(
                (f"answers to {answers.title}", table)
                for answers in self.answers
                for table in (answers.correct, answers.wrong, answers.refused)
            ),
        ]
        for key, table in tables:
            names += [(key, model) for model in table]
            for model in self.models:
                if model not in table:
                    raise ValueError(f"{key}: model {model!r} is missing")
        for key, name in names:
            if name not in self.models:
                raise ValueError(f"{key}: {name!r} is none of the models")
        return self

    @model_validator(mode="after")
    def _consistent_counts(self) -> Counts:
        if not (self.shares or self.answers or self.confusions):
            raise ValueError("there are no counts: give shares, answers or confusions")
        for answers in self.answers:
            for model in self.models:
                if not sum(answers.counts(model)):
                    raise ValueError(f"answers to {answers.title}: {model!r} has no items")
            for confusion in self.confusions:
                if confusion.benchmark == answers.benchmark:
                    right, wrong = confusion.tp + confusion.tn, confusion.fp + confusion.fn
                    counted = answers.counts(confusion.model)
                    if (right, wrong) != counted[:2]:
                        raise ValueError(
                            f"confusions: {confusion.model} has {right} right and {wrong} wrong, "
                            f"but {counted[0]} and {counted[1]} in answers to {answers.title}"
                        )
        return self


def bundled_counts() -> tuple[str, ...]:
    """Return the names of the counts that come with the package."""
    return tuple(sorted(path.stem for path in PUBLISHED_DIR.glob("*.toml")))


def counts_path(name: str) -> Path | None:
    """Return the file of ``name``: bundled counts, or a TOML file of that form; else None."""
    if name in bundled_counts():
        return PUBLISHED_DIR / f"{name}.toml"
    path = Path(name)
    if path.suffix == ".toml" and path.is_file() and not MARKS.isdisjoint(read_toml(path)):
        return path
    return None


def load_counts(name: str) -> Counts:
    """Read the counts of ``name``, as ``counts_path`` finds them; InputError if it does not."""
    path = counts_path(name)
    if path is None:
        raise InputError(
            f"{name!r} is neither a .toml file of published counts nor bundled with the package "
            f"({', '.join(bundled_counts())})"
        )
    return read_counts(path)


def read_counts(path: Path) -> Counts:
    """Read published counts; InputError that names the file and the key for anything wrong."""
    try:
        # as JSON, since strict validation takes JSON's lists for tuples, but not Python's
        return Counts.model_validate_json(json.dumps(read_toml(path), default=str))
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {key + ': ' if key else ''}{message}") from fault

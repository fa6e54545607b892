"""[data] and [arms.NAME]: what is read, and how text becomes a prompt."""

from __future__ import annotations

import datetime
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ethosteer.files import path_problem
from ethosteer.settings.base import LARGEST_COUNT, LARGEST_LENGTH, Settings, absolute_path

TEMPLATE_DATE = "2024-07-26"
"""Today, for chat templates that print it: constant, so that a study can be repeated."""


TemplateName = Literal["guanaco", "hh", "chat"]
"""The format of a dialogue; "chat" is the tokenizer's own template."""


class DataSettings(Settings):
    """[data]: where published files are read from, and how text becomes a prompt."""

    origin: Literal["sample", "hub"] = Field(
        "hub", description="the bundled sample, or the hub; --data-dir replaces either"
    )
    template: TemplateName = Field(
        "guanaco", description="the format of a dialogue; 'chat' is the tokenizer's own template"
    )
    date: str = Field(
        TEMPLATE_DATE, description="today, YYYY-MM-DD, for chat templates that print the date"
    )
    max_tokens: int = Field(
        512,
        ge=16,
        le=LARGEST_LENGTH,
        description="of prompt and response; longer pairs are dropped",
    )
    conversations: str = Field(
        "hub",
        description="to fine-tune on: 'sample', 'hub', or a JSONL file in --data-dir",
    )
    prompts: Literal["arms", "conversations"] = Field(
        "arms",
        description="steering prompts: of each dataset's pairs in equal numbers, or conversations",
    )
    max_prompt_tokens: int = Field(
        128, ge=8, le=LARGEST_LENGTH, description="longer steering prompts are dropped"
    )

    @field_validator("date")
    @classmethod
    def _is_a_date(cls, text: str) -> str:
        try:
            iso = datetime.date.fromisoformat(text).isoformat()
        except ValueError:
            iso = ""
        if text != iso:  # Python reads other forms too, such as 2024-W30-5
            raise ValueError("must be a date, such as 2024-07-26")
        return text

    @field_validator("conversations")
    @classmethod
    def _usable(cls, name: str) -> str:
        if (problem := path_problem(name)) is not None:
            raise ValueError(problem)
        return name


FILE_SETTINGS = (
    "file", "collected", "hub", "config", "split", "revision", "columns", "weigh", "title", "home",
    "licence",
)  # fmt: skip
"""The settings of an arm that describe a file."""
LABELS = ("title", "home", "licence")
"""Those of them that change no pair."""


class ArmSettings(Settings):
    """[arms.NAME]: one preference dataset: a built-in one, a file of your own, or one of the hub.

    The columns of a file are recognised by their names; ``data.formats`` lists the formats.
    """

    dataset: str | None = Field(
        None, description="a built-in dataset, or an arm with a file; default: the arm's name"
    )
    file: str | None = Field(
        None,
        description="preferences of your own: .jsonl, .json, .csv, .tsv or .parquet, or a folder "
        "of such files; relative to the study file",
    )
    collected: str | None = Field(
        None,
        description="human judgements: the folder of `ethosteer collect`, of which the export is "
        "read, or a file of the export; relative to the study file",
    )
    hub: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="a dataset of the Hugging Face hub, as org/name",
    )
    config: str | None = Field(None, description="of the hub's dataset; default: its default one")
    split: str | None = Field(None, description="of the hub's dataset; default: train")
    revision: str | None = Field(
        None, description="the hub revision; a commit for a repeatable run"
    )
    columns: dict[str, str] | None = Field(
        None,
        description="the file's column for one of ours, as in { chosen = 'better' }; default: "
        "recognised by their names",
    )
    weigh: Literal["majority", "judgements"] | None = Field(
        None,
        description="several annotators of one pair: the majority decides (the default), or each "
        "judgement is a pair",
    )
    title: str | None = Field(None, description="of your dataset, for reports")
    home: str | None = Field(None, description="the web page of your dataset")
    licence: str | None = Field(None, description="of your dataset")
    algorithm: str | None = Field(None, description="default: steer.algorithm")
    pairs_per_group: int = Field(
        2, ge=1, le=LARGEST_COUNT, description="maximum number of pairs from one scenario"
    )
    max_pairs: int | None = Field(
        None,
        ge=8,
        le=LARGEST_COUNT,
        description="maximum number of pairs in each split, chosen by hash",
    )

    @field_validator("file", "collected")
    @classmethod
    def _absolute(cls, file: str | None) -> str | None:
        return None if file is None else absolute_path(file)

    @model_validator(mode="after")
    def _one_source(self) -> ArmSettings:
        sources = ("dataset", "file", "collected", "hub")
        named = [name for name in sources if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{named[0]} and {named[1]} exclude each other")
        for allowed, names in {
            ("file", "hub"): ("columns",),
            ("file", "collected", "hub"): ("weigh", *LABELS),
            ("hub",): ("config", "split", "revision"),
        }.items():
            for name in names:
                if getattr(self, name) is not None and not set(allowed) & set(named):
                    raise ValueError(f"{name} needs {' or '.join(allowed)}")
        return self

    @property
    def from_file(self) -> bool:
        """Whether the arm reads a file of the user's, or one of the hub that is not built in."""
        return any(value is not None for value in (self.file, self.collected, self.hub))

    @property
    def content(self) -> dict[str, Any]:
        """The settings that say which rows are read and how: arms with the same share a dataset."""
        return {name: getattr(self, name) for name in FILE_SETTINGS if name not in LABELS}

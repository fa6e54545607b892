"""[benchmarks.NAME], [evaluate], [track] and [compare]."""

from __future__ import annotations

import re
import warnings
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ethosteer.files import path_problem
from ethosteer.settings.base import LARGEST_COUNT, Settings, absolute_path

FileFormat = Literal["multiple_choice", "paired_sentences", "preferences", "free_answers"]
"""What the rows of a benchmark file are."""


class BenchmarkSettings(Settings):
    """[benchmarks.NAME]: a built-in benchmark, a file, or a task of lm-evaluation-harness.

    ``file`` makes it a benchmark of the user's; ``lm-eval:TASK`` as NAME, a task of the harness.
    """

    limit: int | None = Field(
        None,
        ge=1,
        le=LARGEST_COUNT,
        description="maximum number of items; whole groups, chosen by hash",
    )
    source: str | None = Field(None, description="another published version of its files")
    classifier: str | None = Field(
        None,
        description="of generated texts: a hub id, a folder, or 'trained' (on the benchmark's "
        "training rows, or on those of labelled); default: the benchmark's usual one, but "
        "'trained' with --data-dir",
    )
    file: str | None = Field(
        None,
        description="a file of the user's: JSONL, JSON, CSV or TSV, gzipped or plain; relative to "
        "the study file",
    )
    format: FileFormat | None = Field(
        None,
        description="what the file's rows are; default: recognised by its columns",
    )
    columns: dict[str, str | tuple[str, ...]] | None = Field(
        None,
        description="the file's column for each role (question, choices, answer, chosen, ..., and "
        "id, group, slices), where it has another name",
    )
    choices: Literal["texts", "letters"] | None = Field(
        None,
        description="multiple choice: score the choices' texts (the default), or list them after "
        "the question and score the letters A, B, ...",
    )
    better: Literal["higher", "lower", "half", "none"] | None = Field(
        None,
        description="the direction in which the proportion improves, where columns do not say what "
        "is correct; 'half': its aim is 50 %",
    )
    pattern: str | None = Field(
        None,
        description="free answers: a regular expression; its first group (or the whole match) is "
        "the answer",
    )
    new_tokens: int | None = Field(
        None, ge=1, le=1024, description="free answers: their length; default: 64"
    )
    labelled: str | None = Field(
        None,
        description="free answers: a file of texts with labels 0 and 1 (columns text and label); "
        "half of it tests the classifier, and half trains it if it is 'trained'",
    )
    positive_class: str | None = Field(
        None,
        description="index or name of the class of classifier that label 1 means; default: 1",
    )
    title: str | None = Field(None, description="for reports; default: the benchmark's name")
    home: str | None = Field(None, description="the file's web page, for reports")
    licence: str | None = Field(None, description="the file's licence, for reports")

    @field_validator("file", "labelled")
    @classmethod
    def _absolute(cls, file: str | None) -> str | None:
        return None if file is None else absolute_path(file)

    @field_validator("classifier")
    @classmethod
    def _usable(cls, name: str | None) -> str | None:
        if name is not None and (problem := path_problem(name)) is not None:
            raise ValueError(problem)
        return name

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            with warnings.catch_warnings(action="ignore"):  # of future meanings
                re.compile(pattern or "")
        except (re.error, RecursionError, OverflowError) as fault:
            raise ValueError(f"is not a regular expression: {fault}") from fault
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> BenchmarkSettings:
        if self.file is None:
            for key in FILE_KEYS:
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: describes a file; give file, or remove {key}")
            return self
        if self.source is not None:
            raise ValueError("source: names a version of a built-in benchmark; remove it, or file")
        if self.pattern is not None and self.labelled is not None:
            raise ValueError("labelled: answers are read by pattern or by a classifier, not both")
        if self.labelled is None:
            for key in ("classifier", "positive_class"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f"{key}: needs labelled, a file of texts with labels, since a classifier's "
                        "held-out quality is part of the result"
                    )
        elif self.positive_class is not None and self.classifier in (None, "trained"):
            raise ValueError("positive_class: names a class of a classifier that is not trained")
        return self


FILE_KEYS = (
    "format", "columns", "choices", "better", "pattern", "new_tokens", "labelled", "positive_class",
)  # fmt: skip
"""Settings of [benchmarks.NAME] that describe a file."""


class EvaluateSettings(Settings):
    """[evaluate]: how models are scored."""

    chat: bool = Field(
        False,
        description="write every benchmark's request by the tokenizer's chat template, as "
        "lm-evaluation-harness does with apply_chat_template",
    )
    include_path: tuple[str, ...] = Field(
        (),
        description="folders with YAML tasks of lm-evaluation-harness, relative to the study file, "
        "for benchmarks called lm-eval:TASK",
    )
    tokens_per_batch: int | None = Field(
        None,
        ge=1,
        le=LARGEST_COUNT,
        description="token budget of all models together; default: 1,024 on a processor (or 384 "
        "per model, if that is more), 32,768 on a GPU",
    )
    sample_prompts: int = Field(
        6, ge=0, le=1000, description="held-out prompts whose answers the report shows"
    )
    cross_pairs: int = Field(
        200,
        ge=8,
        le=LARGEST_COUNT,
        description="held-out pairs of each dataset scored by all reward models",
    )

    @field_validator("include_path")
    @classmethod
    def _absolute(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(absolute_path, folders))


class TrackSettings(Settings):
    """[track]: live curves of the steering."""

    trackers: tuple[str, ...] = Field(
        ("tensorboard",),
        description="of accelerate: tensorboard, wandb, aim, mlflow, ...; [] for none",
    )


class CompareSettings(Settings):
    """[compare]: the statistics of the differences."""

    control: Literal["base", "fine-tuned"] = Field(
        "fine-tuned",
        description="the model that arms are compared with; default without fine-tuning: base",
    )
    resamples: int = Field(
        2000, ge=200, le=1_000_000, description="permutations of a permutation test"
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="significance level")
    correction: Literal["holm", "bh"] = Field(
        "holm",
        description="for multiple comparisons: Holm (family-wise error) or Benjamini-Hochberg "
        "(false discovery rate)",
    )
    primary: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="benchmarks whose primary metrics are the study's hypotheses, corrected "
        "together; default: all benchmarks",
    )
    margin: float | None = Field(None, gt=0, description="equivalence margin; preregister it")
    effect: float | None = Field(
        None,
        gt=0,
        description="smallest difference of interest; the report states the items needed for it",
    )
    overlap_ngram: int = Field(
        8, ge=3, le=100, description="words; the n of the n-gram overlap of pairs and benchmarks"
    )
    published: str | None = Field(
        None,
        description="a published study's counts to show beside this one's: 'published-2024' or a "
        "TOML file",
    )

    @field_validator("published")
    @classmethod
    def _usable(cls, name: str | None) -> str | None:
        if name is not None and (problem := path_problem(name)) is not None:
            raise ValueError(problem)
        return name

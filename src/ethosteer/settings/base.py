"""What all tables share, and [base], the model that all arms share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ethosteer.errors import InputError
from ethosteer.files import path_problem

LARGEST_COUNT = 1_000_000_000
"""The maximum of steps, items, pairs and other counts."""
LARGEST_LENGTH = 1_048_576
"""The maximum of lengths in tokens."""
LARGEST_BATCH = 65_536
LARGEST_EPOCHS = 1000
DEFAULT_HEAD_SIZE = 64
"""Width of an attention head where neither heads nor their size are given."""


class Settings(BaseModel):
    """A frozen group of settings. Types are strict; an unknown key is an error.

    Numbers are finite, and counts have maxima far above any sensible use, so that a slip of the
    hand is refused before days of work or all memory are spent on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def checked(cls, **values: Any) -> Self:  # noqa: ANN401 (any setting)
        """Return the settings that options of a command make; InputError that names the key."""
        try:
            return cls(**values)
        except ValidationError as fault:
            error = fault.errors(include_url=False)[0]
            key = ".".join(str(name) for name in error["loc"])
            message = error["msg"].removeprefix("Value error, ")
            raise InputError(f"{key + ': ' if key else ''}{message}") from fault


class ModelShape(Settings):
    """[base.shape]: the geometry of a Llama-like base, to plan a study without the base's files."""

    hidden: int = Field(ge=1, le=1_000_000, description="width of the hidden states")
    layers: int = Field(ge=1, le=10_000, description="number of decoder layers")
    intermediate: int = Field(ge=1, le=10_000_000, description="width of the feed-forward layers")
    vocabulary: int = Field(ge=1, le=100_000_000, description="number of tokens")
    tied: bool = Field(False, description="one matrix for input and output embeddings")
    heads: int | None = Field(
        None, ge=1, le=1_000_000, description="attention heads; default: as many as 64 wide ones"
    )
    key_value_heads: int | None = Field(
        None, ge=1, le=1_000_000, description="heads of keys and values; default: as of queries"
    )
    head_size: int | None = Field(
        None, ge=1, le=1_000_000, description="width of a head; default: hidden over heads"
    )
    head_norms: bool = Field(False, description="queries and keys have norms, as in Qwen3")

    @property
    def query_heads(self) -> int:
        """The number of attention heads."""
        return self.heads or max(1, self.hidden // DEFAULT_HEAD_SIZE)

    @property
    def head_width(self) -> int:
        """The width of a head."""
        return self.head_size or max(1, self.hidden // self.query_heads)

    @property
    def query_width(self) -> int:
        """The width of the queries of all heads, which need not be that of the hidden states."""
        return self.query_heads * self.head_width

    @property
    def key_value_width(self) -> int:
        """The width of the keys, and of the values, of all heads."""
        return (self.key_value_heads or self.query_heads) * self.head_width


def absolute_path(file: str) -> str:
    """Return a file's absolute path; ValueError where no system can have it.

    A study may be resumed from another folder; ``load_study`` resolves the paths of a study file.
    """
    if (problem := path_problem(file)) is not None:
        raise ValueError(problem)
    try:
        return str(Path(file).expanduser().absolute())
    except RuntimeError as fault:  # ~NAME of a user who is not there
        raise ValueError(str(fault)) from fault


class BaseSettings(Settings):
    """[base]: the model that all arms share."""

    model: str = Field(
        "pocket", description="'pocket', 'smollm2', a model folder, a .gguf file, or a hub id"
    )
    revision: str | None = Field(
        None, description="the hub revision; a commit for a repeatable run"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="number format of the frozen base and of its activations"
    )
    autocast: bool = Field(False, description="run a float32 base under torch.autocast to bfloat16")
    quantise: Literal["nf4", "int8"] | None = Field(
        None,
        description="hold the weights of linear layers in 4 bits (NF4, double quantisation) or 8; "
        "needs `pip install 'ethosteer[quantise]'`",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="run each decoder layer again in the backward pass, instead of keeping its "
        "activations: less memory for more time, with the same results",
    )
    device: str = Field("auto", description="'auto', 'cpu', 'cuda', 'cuda:1', ...")
    shape: ModelShape | None = Field(None, description="only for `ethosteer plan`")

    @property
    def is_exact(self) -> bool:
        """Whether all arithmetic is float32: the same text gives the same numbers in any batch."""
        return self.dtype == "float32" and not self.autocast

    @field_validator("model")
    @classmethod
    def _usable(cls, model: str) -> str:
        if (problem := path_problem(model)) is not None:
            raise ValueError(problem)
        return model

    @model_validator(mode="after")
    def _one_number_format(self) -> Self:
        if self.autocast and self.quantise:
            raise ValueError(
                "autocast is for weights in float32, and those of a quantised base are not; leave "
                "it out, and set base.dtype = 'bfloat16'"
            )
        if self.autocast and self.dtype == "float16":
            raise ValueError("autocast is for weights in float32; leave it out of a float16 base")
        return self

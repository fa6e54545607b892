"""What all tables share, and [base], the model that all arms share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """A frozen group of settings. Types are strict; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelShape(Settings):
    """[base.shape]: the geometry of a Llama-like base, to plan a study without the base's files."""

    hidden: int = Field(ge=1, description="width of the hidden states")
    layers: int = Field(ge=1, description="number of decoder layers")
    intermediate: int = Field(ge=1, description="width of the feed-forward layers")
    vocabulary: int = Field(ge=1, description="number of tokens")
    tied: bool = Field(False, description="one matrix for input and output embeddings")


class BaseSettings(Settings):
    """[base]: the model that all arms share."""

    model: str = Field(
        "pocket", description="'pocket', 'smollm2', a model folder, a .gguf file, or a hub id"
    )
    revision: str | None = Field(
        None, description="the hub revision; a commit for a repeatable run"
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the frozen base")
    autocast: bool = Field(False, description="run a float32 base under torch.autocast to bfloat16")
    device: str = Field("auto", description="'auto', 'cpu', 'cuda', 'cuda:1', ...")
    shape: ModelShape | None = Field(None, description="only for `ethosteer plan`")

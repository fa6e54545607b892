"""Adapters, optimisers, [finetune] and [reward]."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ethosteer.settings.base import LARGEST_BATCH, LARGEST_COUNT, LARGEST_EPOCHS, Settings

TRAINING_PASS = (
    "token budget of a training pass; default: 1,024 on a processor, on a GPU what fits in 60 % of "
    "its free memory (256 to 32,768)"
)


class LoraSettings(Settings):
    """The shape of an adapter (Hu et al. 2021): the weights change by ``alpha / r * B A``."""

    r: int = Field(8, ge=1, le=4096, description="rank")
    alpha: float = Field(32.0, gt=0, le=1e6, description="the update is scaled by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the adapter's input, in training")
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="names of the linear layers to adapt; 'all-linear': every linear layer of the "
        "decoder but the output embedding",
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        # one message for both kinds, where the union would give one for each
        names = value if isinstance(value, tuple | list) else ()
        if value != "all-linear" and not (
            names and all(isinstance(name, str) and name for name in names)
        ):
            raise ValueError("Input should be 'all-linear' or a list of layer names")
        return value


class OptimiserSettings(Settings):
    """AdamW with warm-up, linear decay to zero and clipping of the gradient norm, for each arm."""

    learning_rate: float = Field(1e-3, gt=0, le=1, description="after the warm-up")
    weight_decay: float = Field(0.0, ge=0, le=1, description="decoupled, as in AdamW")
    warmup: float = Field(0.03, ge=0, lt=1, description="fraction of the steps")
    decay: bool = Field(True, description="linear decay to zero; false: a constant rate")
    max_grad_norm: float = Field(
        1.0, gt=0, le=1e6, description="gradients are clipped to this norm"
    )


class FinetuneSettings(Settings):
    """[finetune]: supervised fine-tuning of the base by a frozen adapter, below those of arms."""

    enabled: bool = Field(
        True, description="false: arms start from the base as it is, which is then the control"
    )
    epochs: float = Field(1.0, gt=0, le=LARGEST_EPOCHS, description="passes over the conversations")
    batch: int = Field(8, ge=1, le=LARGEST_BATCH, description="conversations per step")
    max_steps: int | None = Field(
        None, ge=1, le=LARGEST_COUNT, description="upper bound on the steps"
    )
    tokens_per_batch: int | None = Field(None, ge=1, le=LARGEST_COUNT, description=TRAINING_PASS)
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()


class RewardSettings(Settings):
    """[reward]: one Bradley-Terry reward model for each dataset and seed."""

    epochs: float = Field(
        1.0, gt=0, le=LARGEST_EPOCHS, description="passes over the training pairs"
    )
    batch: int = Field(8, ge=1, le=LARGEST_BATCH, description="pairs per step and arm")
    validations: int = Field(
        5,
        ge=0,
        le=10_000,
        description="checks on validation pairs; the weights with the lowest loss are kept",
    )
    validation_pairs: int = Field(
        128, ge=8, le=LARGEST_COUNT, description="maximum number scored at each check"
    )
    normalisation_samples: int = Field(
        256,
        ge=16,
        le=LARGEST_COUNT,
        description="answers of the base on which the reward has mean 0 and SD 1",
    )
    tokens_per_batch: int | None = Field(None, ge=1, le=LARGEST_COUNT, description=TRAINING_PASS)
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()

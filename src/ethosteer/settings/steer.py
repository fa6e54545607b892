"""[steer], and what the tables of the algorithms have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator

from ethosteer.settings.base import (
    LARGEST_BATCH,
    LARGEST_COUNT,
    LARGEST_EPOCHS,
    LARGEST_LENGTH,
    Settings,
)
from ethosteer.settings.training import TRAINING_PASS, LoraSettings, OptimiserSettings


class AlgorithmSettings(Settings):
    """The table [steer.NAME] of an algorithm, which may have a pace that differs from [steer]'s."""

    steps: int | None = Field(None, ge=1, le=LARGEST_COUNT, description="default: steer.steps")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="default: steer.optimiser.learning_rate"
    )

    def check(self, steer: SteerSettings) -> None:
        """Raise InputError where these settings and ``steer`` contradict each other."""


Table = TypeVar("Table", bound=AlgorithmSettings)


class SteerSettings(Settings):
    """[steer]: how arms are steered, and which of their checkpoints is evaluated."""

    algorithm: str = Field("ppo", description="of arms that name no algorithm")
    steps: int = Field(
        100,
        ge=1,
        le=LARGEST_COUNT,
        description="of the optimiser, or rounds of sampling and learning",
    )
    batch: int = Field(64, ge=1, le=LARGEST_BATCH, description="answers per step and arm")
    minibatches: int = Field(
        4, ge=1, le=LARGEST_BATCH, description="optimiser steps per pass over a step's answers"
    )
    epochs: int = Field(4, ge=1, le=LARGEST_EPOCHS, description="passes over the answers of a step")
    min_new_tokens: int = Field(
        32, ge=1, le=LARGEST_LENGTH, description="an answer has at least this many tokens"
    )
    max_new_tokens: int = Field(
        128,
        ge=1,
        le=LARGEST_LENGTH,
        description="each answer's limit is uniform from the minimum to this",
    )
    ignore_eos: bool = Field(True, description="answers run to their limit; as in the 2024 study")
    missing_eos_penalty: float = Field(
        0.0, ge=0, le=1e6, description="subtracted from the reward of an answer without EOS"
    )
    temperature: float = Field(1.0, ge=0.01, le=100, description="of sampling")
    kl_coefficient: float = Field(0.2, ge=0, le=1e6, description="its initial value")
    kl_target: float | None = Field(
        6.0, gt=0, le=1e6, description="nats per answer; none: a constant coefficient"
    )
    kl_horizon: int = Field(
        10_000, ge=1, le=LARGEST_COUNT, description="of the adaptive controller, in answers"
    )
    max_kl: float = Field(
        200.0, gt=0, le=1e6, description="nats per answer; an arm above it is stopped"
    )
    select: Literal["step", "kl"] = Field(
        "step", description="evaluate the last step, or the last one with KL up to kl_target"
    )
    measure_every: int = Field(
        5,
        ge=1,
        le=LARGEST_COUNT,
        description="steps between scores by all reward models, and between points of the curve of "
        "an algorithm that samples for the curve alone",
    )
    held_out_prompts: int = Field(
        64, ge=8, le=LARGEST_COUNT, description="for the reward and KL before and after"
    )
    checkpoint_every: int = Field(
        20,
        ge=1,
        le=LARGEST_COUNT,
        description="steps between checkpoints for resumption, of two minutes at most",
    )
    tokens_per_batch: int | None = Field(None, ge=1, le=LARGEST_COUNT, description=TRAINING_PASS)
    lora: LoraSettings = LoraSettings(r=16, dropout=0.05)
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=1.4e-5, warmup=0.0, decay=False)

    @model_validator(mode="before")
    @classmethod
    def _complete_tables(cls, table: Any) -> Any:  # noqa: ANN401 (any input)
        """Give keys that [steer.lora] and [steer.optimiser] leave out the defaults of [steer]."""
        if not isinstance(table, Mapping):
            return table
        filled = {
            key: {**cls.model_fields[key].default.model_dump(), **table[key]}
            for key in ("lora", "optimiser")
            if isinstance(table.get(key), Mapping)
        }
        return {**table, **filled}

    @model_validator(mode="after")
    def _consistent(self) -> SteerSettings:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens must not exceed max_new_tokens")
        if self.batch % self.minibatches:
            raise ValueError("batch must be a multiple of minibatches")
        if self.select == "kl" and self.kl_target is None:
            raise ValueError("select = 'kl' needs a kl_target")
        return self

    @property
    def tables(self) -> dict[str, AlgorithmSettings]:
        """The tables of all algorithms by the algorithm's name."""
        return {name: value for name, value in self if isinstance(value, AlgorithmSettings)}

    def table(self, kind: type[Table]) -> Table:
        """Return the table of one algorithm, by its class."""
        return next(table for table in self.tables.values() if isinstance(table, kind))

    def for_algorithm(self, algorithm: str) -> SteerSettings:
        """Return the settings of an arm steered by ``algorithm``, at that algorithm's pace."""
        table = self.tables[algorithm]
        rate = table.learning_rate or self.optimiser.learning_rate
        return self.model_copy(
            update={
                "algorithm": algorithm,
                "steps": table.steps or self.steps,
                "optimiser": self.optimiser.model_copy(update={"learning_rate": rate}),
            }
        )

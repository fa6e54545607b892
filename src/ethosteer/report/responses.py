"""What the report counts of all models' answers, kept as arrays of one number for an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ethosteer.evaluation.outcomes import Outcomes
from ethosteer.records import Outcome

Number = TypeVar("Number", bound=np.generic)
ModelSeed = tuple[str, int]
NO_ANSWER, NOT_ASKED = -1, -2


@dataclass(frozen=True, slots=True)
class Responses:
    """All models' answers to one benchmark.

    ``items`` are ids. ``predicted[model, seed]`` has for each item the index of the chosen answer,
    ``NO_ANSWER``, or ``NOT_ASKED`` where a model was not asked the item; ``correct[model, seed]``
    whether it is correct, False without a label.
    """

    items: tuple[str, ...]
    predicted: Mapping[ModelSeed, NDArray[np.int32]]
    correct: Mapping[ModelSeed, NDArray[np.bool_]]
    has_labels: bool

    @property
    def is_equal(self) -> bool:
        """Whether all models were asked all items."""
        return not any((answers == NOT_ASKED).any() for answers in self.predicted.values())

    def of(self, model: str) -> list[ModelSeed]:
        """Return a model with each of its seeds."""
        return [key for key in self.predicted if key[0] == model]


def responses_by_benchmark(outcomes: Outcomes) -> dict[str, Responses]:
    """Count all outcomes; those of one model on one benchmark are in memory at a time."""
    keys: dict[str, list[ModelSeed]] = {}
    for benchmark, model, seed in outcomes:
        keys.setdefault(benchmark, []).append((model, seed))
    return {name: _responses(name, models, outcomes) for name, models in keys.items()}


def _responses(benchmark: str, models: Sequence[ModelSeed], outcomes: Outcomes) -> Responses:
    index: dict[str, int] = {}
    positions: dict[ModelSeed, NDArray[np.int64]] = {}
    predicted: dict[ModelSeed, NDArray[np.int32]] = {}
    correct: dict[ModelSeed, NDArray[np.bool_]] = {}
    has_labels = False
    for model, seed in models:
        answers: Sequence[Outcome] = outcomes[benchmark, model, seed]
        positions[model, seed] = np.array(
            [index.setdefault(outcome.item, len(index)) for outcome in answers], dtype=np.int64
        )
        given = (NO_ANSWER if it.predicted is None else it.predicted for it in answers)
        predicted[model, seed] = np.fromiter(given, np.int32, len(answers))
        correct[model, seed] = np.array([bool(outcome.correct) for outcome in answers], dtype=bool)
        has_labels = has_labels or any(outcome.label is not None for outcome in answers)

    def spread(values: NDArray[Number], key: ModelSeed, blank: int) -> NDArray[Number]:
        whole = np.full(len(index), blank, dtype=values.dtype)
        whole[positions[key]] = values
        return whole

    return Responses(
        tuple(index),
        {key: spread(values, key, NOT_ASKED) for key, values in predicted.items()},
        {key: spread(values, key, 0) for key, values in correct.items()},
        has_labels,
    )

"""Reward models: on held-out pairs, and on the answers and the pairs of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ethosteer.results.estimates import Estimate


@dataclass(frozen=True, slots=True)
class ValidationPoint:
    """A reward model on its validation pairs after ``step`` steps: mean loss, and accuracy."""

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class HeldOutPairs:
    """A reward model's raw rewards of held-out pairs, and their losses: one entry per pair."""

    chosen: list[float]
    rejected: list[float]
    groups: list[str]
    response_tokens: list[tuple[int, int]]
    losses: list[float]
    validation: list[ValidationPoint] = field(default_factory=list)

    def clustered(self, clusters: Mapping[str, str]) -> HeldOutPairs:
        """Return the same pairs, each group replaced by its cluster."""
        return replace(self, groups=[clusters[group] for group in self.groups])

    @property
    def length_correlation(self) -> float:
        """Pearson correlation of a response's reward with its length in tokens; nan if constant."""
        rewards = np.array([self.chosen, self.rejected])
        lengths = np.array(self.response_tokens, dtype=float).T
        if rewards.std() == 0 or lengths.std() == 0:
            return float("nan")
        return float(np.corrcoef(rewards.ravel(), lengths.ravel())[0, 1])


@dataclass(frozen=True, slots=True)
class CrossResult:
    """Every model's answers and every dataset's pairs under every reward model, of one seed.

    rewards: model -> reward model -> normalised reward of its answer to each held-out prompt (the
    same prompts for all). correct: reward model -> dataset -> whether it prefers the chosen
    response, per held-out pair. groups: dataset -> scenario of each held-out pair.
    """

    rewards: dict[str, dict[str, list[float]]]
    correct: dict[str, dict[str, list[bool]]]
    groups: dict[str, list[str]]

    def clustered(self, clusters: Mapping[str, Mapping[str, str]]) -> CrossResult:
        """Return the same results, each dataset's groups replaced by their clusters."""
        groups = {
            dataset: [clusters[dataset][group] for group in names]
            for dataset, names in self.groups.items()
        }
        return replace(self, groups=groups)


@dataclass(frozen=True, slots=True)
class CrossCell:
    """What one reward model makes of ``name``.

    ``name`` is a model, and the estimate its answers' mean normalised reward; or it is a dataset,
    and the estimate is the accuracy on its held-out pairs.
    """

    name: str
    reward_model: str
    estimate: Estimate

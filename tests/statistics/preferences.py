"""Invented judgements of answers from sources of known strength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ethosteer.statistics.bradley_terry import Comparisons
from ethosteer.statistics.metrics import Floats


def comparisons(
    rows: Sequence[tuple[str, str, int]],
    prompts: Sequence[int] | None = None,
    annotators: Sequence[int] | None = None,
) -> Comparisons:
    """Judgements as (first, second, outcome), every one of another prompt and one annotator."""
    sources = tuple(dict.fromkeys(name for row in rows for name in row[:2]))
    return Comparisons(
        sources,
        np.array([sources.index(first) for first, _, _ in rows]),
        np.array([sources.index(second) for _, second, _ in rows]),
        np.array([outcome for _, _, outcome in rows]),
        np.arange(len(rows)) if prompts is None else np.asarray(prompts),
        np.zeros(len(rows), dtype=int) if annotators is None else np.asarray(annotators),
    )


def drawn(
    strengths: Sequence[float] | Floats,
    judgements: int,
    generator: np.random.Generator,
    prompts: int = 100,
    annotators: int = 10,
    prompt_sd: float = 0.0,
    annotator_sd: float = 0.0,
    nu: float = 0.5,
) -> Comparisons:
    """Judgements by Davidson's model; the strengths of each prompt and annotator vary normally."""
    size = len(strengths)
    of_prompt = generator.normal(0, prompt_sd, (prompts, size))
    of_annotator = generator.normal(0, annotator_sd, (annotators, size))
    prompt = generator.permutation(np.arange(judgements) % prompts)
    annotator = generator.integers(0, annotators, judgements)
    first, second = np.argsort(generator.random((judgements, size)), axis=1)[:, :2].T
    own = np.asarray(strengths) + of_prompt[prompt] + of_annotator[annotator]
    index = np.arange(judgements)
    difference = own[index, first] - own[index, second]
    weights = np.stack(
        [np.exp(difference / 2), np.full(judgements, nu), np.exp(-difference / 2)], axis=1
    )
    thresholds = (weights / weights.sum(axis=1, keepdims=True)).cumsum(axis=1)
    outcomes = 1 - (generator.random(judgements)[:, None] > thresholds).sum(axis=1)
    names = tuple(f"source {number}" for number in range(size))
    return Comparisons(names, first, second, outcomes, prompt, annotator)

"""Benchmarks and outcomes of small models for the tests beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ethosteer.benchmarks.base import Benchmark
from ethosteer.data.sources import Source
from ethosteer.records import Outcome
from ethosteer.statistics.metrics import Metric

CONTROLS = ("base", "fine-tuned")
Outcomes = dict[str, dict[int, list[Outcome]]]
SHARES = {"base": 0.5, "fine-tuned": 0.55, "duty": 0.6, "care": 0.75, "virtue": 0.95}


def benchmark(*metrics: Metric, answers: tuple[str, ...] = ()) -> Benchmark:
    source = Source(path="b/b.csv", home="https://example.org/b", licence="MIT")
    return Benchmark("b", "B", (source,), lambda _: [], metrics, {}, answers=answers)


def outcome(
    item: int,
    label: int | None,
    predicted: int | None,
    *,
    group: str = "",
    slices: tuple[str, ...] = (),
    value: float = 0.0,
    cut: bool = False,
) -> Outcome:
    correct = None if label is None else predicted == label
    name = f"i{item}"
    return Outcome(
        "m", 0, "b", name, group or name, slices, label, predicted, correct,
        (value, 0.0), (1, 1), truncated=cut,
    )  # fmt: skip


def outcomes(labels: Sequence[int | None], predicted: Sequence[int | None]) -> list[Outcome]:
    return [outcome(i, *pair) for i, pair in enumerate(zip(labels, predicted, strict=True))]


def answering(shares: Mapping[str, float], seeds: int = 1, items: int = 80) -> Outcomes:
    """Models that are right on a share of items, each seed of an arm on others."""
    draw = np.random.default_rng(4)
    labels = [int(x) for x in draw.integers(0, 2, items)]
    found: Outcomes = {}
    for model, share in shares.items():
        own = (0,) if model in CONTROLS else range(seeds)
        found[model] = {}
        for seed in own:
            right = draw.random(items) < share
            predicted = [x if ok else 1 - x for x, ok in zip(labels, right, strict=True)]
            found[model][seed] = outcomes(labels, predicted)
    return found

"""Small models, differences and families for the tests beside this file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ethosteer.results.benchmarks import Better
from ethosteer.statistics.metrics import PROPORTION, Floats
from ethosteer.statistics.paired import Clustered, Difference, clustered_values, paired_difference
from ethosteer.statistics.verdicts import Decision, Rules, family_decisions


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shares(*seeds: Floats, groups: list[str] | None = None) -> Clustered:
    return clustered_values(seeds, groups, PROPORTION)


def averages(seeds: Sequence[Floats] | Floats, groups: list[str] | None = None) -> Clustered:
    return clustered_values(list(seeds), groups)


def answers(right: int, of: int) -> Floats:
    return np.array([1.0] * right + [0.0] * (of - right))


def compare(a: Clustered, b: Clustered, swaps: int = 200, seed: int = 0) -> Difference:
    return paired_difference(a, b, swaps, rng(seed))


def alone(difference: Difference, rules: Rules, better: Better = "higher") -> Decision:
    """Judge a family of one."""
    (found,) = family_decisions([difference], [better], rules)
    return found

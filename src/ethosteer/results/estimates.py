"""Numbers with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and the number of items it rests on."""

    value: float
    low: float
    high: float
    n: int


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"), 0)


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope per 100 steps, with its interval and p of no slope; seeds are its replicates.

    With one seed the interval covers the noise along that run, not the variation of seeds.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int

"""The check that numbers are finite, where they enter records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite

from ethosteer.errors import InputError


def check_finite(values: Iterable[float], name: Callable[[int], str], mend: str) -> None:
    """Raise InputError unless all numbers are finite.

    nan compares as false with everything, so it would count as a wrong answer or a first choice.
    ``name(index)`` names what a number belongs to, such as a model and an item, and ``mend`` says
    what to do.
    """
    for index, value in enumerate(values):
        if not isfinite(value):
            raise InputError(f"{name(index)} is {value}, not a finite number; {mend}")

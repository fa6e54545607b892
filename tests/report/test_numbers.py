import math

import pytest

from ethosteer.report.numbers import (
    count,
    duration,
    interval,
    listing,
    number,
    p_value,
    percent,
    plural,
    signed,
)
from ethosteer.results.estimates import Estimate


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.12345, 3, "0.123"),
        (-0.5, 1, "−0.5"),
        (-0.0001, 3, "0.000"),
        (12345.6, 0, "12,346"),
        (math.nan, 3, "n/a"),
        (math.inf, 3, "∞"),
        (-math.inf, 3, "−∞"),
    ],
)
def test_number(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.02, "+0.020"), (-0.02, "−0.020"), (0.0004, "0.000"), (-0.0004, "0.000"), (math.nan, "n/a")],
)
def test_signed(value: float, text: str) -> None:
    assert signed(value) == text


def test_intervals_shares_and_probabilities() -> None:
    assert interval(Estimate(0, -0.0142, 0.31, 9)) == "[−0.014, 0.310]"
    assert percent(0.4319) == "43.2\u202f%"
    assert percent(math.nan) == "n/a"
    assert p_value(0.00099) == "<\u202f0.001"
    assert p_value(0.001) == "0.001"
    assert p_value(math.nan) == "n/a"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (4.24, "4.2 s"),
        (59.4, "59 s"),
        (318, "5 min 18 s"),
        (3600 * 26 + 65, "26 h 01 min"),
        (3600 * 68485 + 840, "68,485 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_words() -> None:
    assert listing([]) == ""
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a, x", "b", "c"]) == "a, x; b and c"
    assert (plural(1, "seed"), plural(1200, "seed")) == ("1 seed", "1,200 seeds")
    assert count(1508) == "1,508"

"""How the report writes numbers and lists: one way each, the same in HTML and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ethosteer.results.estimates import Estimate, Slope

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
THIN = "\N{NARROW NO-BREAK SPACE}"


def number(value: float, digits: int = 3) -> str:
    """Write a number with a fixed number of decimals and a true minus sign; "n/a" for nan."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:,.{digits}f}"
    if not any(digit in "123456789" for digit in text):
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """Write a difference: its sign always shown, except on zero."""
    text = number(value, digits)
    rounds_to_zero = not any(digit in "123456789" for digit in text)
    return text if value < 0 or math.isnan(value) or rounds_to_zero else f"+{text}"


def interval(estimate: Estimate | Slope, digits: int = 3) -> str:
    """Write the 95 % interval as ``[low, high]``."""
    return f"[{number(estimate.low, digits)}, {number(estimate.high, digits)}]"


def p_value(p: float) -> str:
    """Write a p-value to three decimals; smaller ones as ``< 0.001``."""
    return f"<{THIN}0.001" if p < 0.001 else number(p)


def percent(proportion: float, digits: int = 1) -> str:
    """Write a proportion as a percentage; "n/a" for nan."""
    percentage = number(100 * proportion, digits)
    return percentage if math.isnan(proportion) else f"{percentage}{THIN}%"


def count(value: int) -> str:
    """Write an integer with commas between thousands."""
    return number(value, 0)


def duration(seconds: float) -> str:
    """Write a time in its two largest units, short ones in seconds, and long ones in hours."""
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 100 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{round(whole / 3600):,} h"


def listing(words: Sequence[str]) -> str:
    """Join words as in ``a, b and c``; by semicolons where a word has a comma itself."""
    if len(words) < 2:
        return "".join(words)
    comma = "; " if any("," in word for word in words) else ", "
    return f"{comma.join(words[:-1])} and {words[-1]}"


def plural(amount: int, noun: str, nouns: str = "") -> str:
    """Write an amount with its noun, such as ``1 seed`` or ``2 seeds``."""
    return f"{count(amount)} {noun if amount == 1 else nouns or noun + 's'}"

"""How the report writes numbers: one way each, the same in HTML and in Markdown."""

from __future__ import annotations

import math

from ethosteer.results import Estimate, Slope

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
THIN = "\N{NARROW NO-BREAK SPACE}"


def number(value: float, digits: int = 3) -> str:
    """Write a number with a fixed count of digits and a true minus sign; "n/a" for nan."""
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
    """Write a p-value to three digits; smaller ones as ``< 0.001``."""
    return f"<{THIN}0.001" if p < 0.001 else number(p)


def percent(share: float, digits: int = 1) -> str:
    """Write a share of one as a percentage; "n/a" for nan."""
    return number(share) if math.isnan(share) else f"{number(100 * share, digits)}{THIN}%"


def count(value: int) -> str:
    """Write a whole number with thousands set apart by commas."""
    return number(value, 0)


def duration(seconds: float) -> str:
    """Write a time in the two largest units that it fills."""
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listing(words: list[str]) -> str:
    """Join words as a sentence does: ``a, b and c``; with semicolons where a word has a comma."""
    if len(words) < 2:
        return "".join(words)
    comma = "; " if any("," in word for word in words) else ", "
    return f"{comma.join(words[:-1])} and {words[-1]}"


def plural(amount: int, noun: str, nouns: str = "") -> str:
    """Write an amount with its noun, such as ``1 seed`` or ``2 seeds``."""
    return f"{count(amount)} {noun if amount == 1 else nouns or noun + 's'}"

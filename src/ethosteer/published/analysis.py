"""Published counts put through their tests: every number that the report on them shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from ethosteer.published.counts import Answers, Confusion, Counts, Shares
from ethosteer.published.proportions import (
    Bounds,
    Unpaired,
    correlation_of,
    items_paired,
    items_unpaired,
    mcnemar_bounds,
    most_parted,
    smallest_paired,
    smallest_unpaired,
    unpaired_difference,
    wilson,
)
from ethosteer.results import Estimate
from ethosteer.statistics.paired import POWER
from ethosteer.statistics.verdicts import adjusted_p_values

ALPHA = 0.05
PARTED = (0.02, 0.05, 0.1, 0.2)
"""Shares of items that two models may part on, for what pairing would have detected."""
NEEDED_PARTED = 0.05
"""The share parted on for how many items a published lead would need."""

Pair = tuple[str, str]
Can = Literal["always", "possible", "never"]


@dataclass(frozen=True, slots=True)
class PairedResult:
    """``a`` less ``b`` on the same items, of which only the counts are known.

    ``difference`` has Newcombe's interval, as if the items were not the same. best_p, worst_p:
    McNemar's p by Holm if all pairs of the family part on as few, or as many, items as they can.
    """

    a: str
    b: str
    difference: Estimate
    bounds: Bounds
    best_p: float
    worst_p: float
    most_parted: int | None
    needed_unpaired: float
    needed_paired: float

    @property
    def items(self) -> int:
        """How many items both models had."""
        return self.difference.n // 2

    @property
    def lead(self) -> int:
        """How many more items ``a`` had right; negative if fewer."""
        return self.bounds.fewest if self.difference.value > 0 else -self.bounds.fewest

    @property
    def can(self) -> Can:
        """Whether the two differ significantly whichever items they had right, or for some."""
        if self.worst_p < ALPHA:
            return "always"
        return "possible" if self.best_p < ALPHA else "never"


@dataclass(frozen=True, slots=True)
class SharesResult:
    """One benchmark's shares of the same items.

    ``against``: every other model and the control; ``between``: the arms, each with each.
    ``below`` and ``above`` are the nearest shares that separate samples tell from the control's,
    ``paired`` the leads that the same items would show, for each of PARTED.
    """

    title: str
    metric: str
    items: int
    shares: dict[str, Estimate]
    against: tuple[PairedResult, ...]
    between: tuple[PairedResult, ...]
    below: float
    above: float
    paired: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class UnpairedResult:
    """``a`` less ``b`` on different items, with p adjusted by Holm."""

    a: str
    b: str
    difference: Estimate
    p: float
    adjusted_p: float

    @property
    def shown(self) -> bool:
        """Whether a difference is shown, after correction."""
        return self.adjusted_p < ALPHA


@dataclass(frozen=True, slots=True)
class AnswersResult:
    """Free answers: who answered, and how many of the answers were right.

    ``right_*`` compare the right among the answers given, ``refused_*`` the items left without one.
    ``below`` and ``above``, per model: the nearest shares of right answers told from the control's.
    """

    title: str
    counts: dict[str, tuple[int, int, int]]
    right: dict[str, Estimate]
    refused: dict[str, Estimate]
    right_against: tuple[UnpairedResult, ...]
    right_between: tuple[UnpairedResult, ...]
    refused_against: tuple[UnpairedResult, ...]
    below: dict[str, float]
    above: dict[str, float]


@dataclass(frozen=True, slots=True)
class ConfusionResult:
    """One model's Matthews correlation, and p that it is 0."""

    title: str
    model: str
    table: dict[str, int]
    correlation: Estimate
    p: float


@dataclass(frozen=True, slots=True)
class CountsResult:
    """All that was computed, at the level and the power stated."""

    alpha: float
    power: float
    shares: tuple[SharesResult, ...]
    answers: tuple[AnswersResult, ...]
    confusions: tuple[ConfusionResult, ...]


def counts_result(counts: Counts) -> CountsResult:
    """Put published counts through all tests."""
    return CountsResult(
        alpha=ALPHA,
        power=POWER,
        shares=tuple(_shares(counts, each) for each in counts.shares),
        answers=tuple(_answers(counts, each) for each in counts.answers),
        confusions=tuple(_confusion(each) for each in counts.confusions),
    )


def strictest(pairs: Sequence[object]) -> float:
    """The level that the first of a family's pairs has to meet."""
    return ALPHA / max(1, len(pairs))


def _against(counts: Counts) -> list[Pair]:
    return [(model, counts.control) for model in counts.others]


def _shares(counts: Counts, shares: Shares) -> SharesResult:
    pairs, right, items = _against(counts), shares.right, shares.items
    level = strictest(pairs)
    below, above = smallest_unpaired(right[counts.control] / items, items, items, level)
    return SharesResult(
        title=shares.title,
        metric=shares.metric,
        items=items,
        shares={model: wilson(right[model], items) for model in counts.models},
        against=_paired(shares, pairs),
        between=_paired(shares, list(combinations(counts.arms, 2))),
        below=below,
        above=above,
        paired=tuple(smallest_paired(parted, items, level) for parted in PARTED),
    )


def _paired(shares: Shares, pairs: Sequence[Pair]) -> tuple[PairedResult, ...]:
    right, items, level = shares.right, shares.items, strictest(pairs)
    family = [mcnemar_bounds(right[a], right[b], items) for a, b in pairs]
    return tuple(
        PairedResult(
            a=a,
            b=b,
            difference=unpaired_difference(right[a], items, right[b], items).estimate,
            bounds=bounds,
            best_p=best_p,
            worst_p=worst_p,
            most_parted=most,
            needed_unpaired=items_unpaired(right[a] / items, right[b] / items, level),
            needed_paired=items_paired((right[a] - right[b]) / items, NEEDED_PARTED, level),
        )
        for (a, b), bounds, best_p, worst_p, most in zip(
            pairs,
            family,
            adjusted_p_values([bounds.lowest_p for bounds in family]),
            adjusted_p_values([bounds.highest_p for bounds in family]),
            most_parted(family, ALPHA),
            strict=True,
        )
    )


def _answers(counts: Counts, answers: Answers) -> AnswersResult:
    given = {model: sum(answers.counts(model)[:2]) for model in counts.models}
    total = {model: sum(answers.counts(model)) for model in counts.models}

    def right(a: str, b: str) -> Unpaired:
        return unpaired_difference(answers.correct[a], given[a], answers.correct[b], given[b])

    def refused(a: str, b: str) -> Unpaired:
        return unpaired_difference(answers.refused[a], total[a], answers.refused[b], total[b])

    pairs, control = _against(counts), counts.control
    rights = {model: wilson(answers.correct[model], given[model]) for model in counts.models}
    nearest = {
        model: smallest_unpaired(
            rights[control].value, given[control], given[model], strictest(pairs)
        )
        for model in counts.others
    }
    return AnswersResult(
        title=answers.title,
        counts={model: answers.counts(model) for model in counts.models},
        right=rights,
        refused={model: wilson(answers.refused[model], total[model]) for model in counts.models},
        right_against=_unpaired(pairs, right),
        right_between=_unpaired(list(combinations(counts.arms, 2)), right),
        refused_against=_unpaired(pairs, refused),
        below={model: below for model, (below, _) in nearest.items()},
        above={model: above for model, (_, above) in nearest.items()},
    )


def _unpaired(
    pairs: Sequence[Pair], compare: Callable[[str, str], Unpaired]
) -> tuple[UnpairedResult, ...]:
    found = [compare(a, b) for a, b in pairs]
    adjusted = adjusted_p_values([each.p for each in found])
    return tuple(
        UnpairedResult(a, b, each.estimate, each.p, p)
        for (a, b), each, p in zip(pairs, found, adjusted, strict=True)
    )


def _confusion(each: Confusion) -> ConfusionResult:
    table = {"tp": each.tp, "tn": each.tn, "fp": each.fp, "fn": each.fn}
    correlation, p = correlation_of(**table)
    return ConfusionResult(each.title, each.model, table, correlation, p)

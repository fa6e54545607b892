"""Every number that the report on published counts shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from ethosteer.published.counts import Answers, Counts, Pair, Shares
from ethosteer.published.proportions import (
    Bounds,
    correlation,
    detectable_lead,
    detectable_rates,
    mcnemar_bounds,
    most_discordant,
    paired_sample_size,
    sample_size,
    unpaired_difference,
    wilson,
)
from ethosteer.results.estimates import Estimate
from ethosteer.statistics.paired import NAN, POWER
from ethosteer.statistics.verdicts import adjusted_p_values

ALPHA = 0.05
DISCORDANT = (0.02, 0.05, 0.1, 0.2)
"""Proportions of discordant items for which the lead that a paired test detects is given."""
ASSUMED_DISCORDANT = 0.05
"""The proportion of discordant items assumed where a published lead needs a sample size."""

Verdict = Literal["differs", "could differ", "cannot differ", "undecided"]


@dataclass(frozen=True, slots=True)
class PairedResult:
    """``a`` - ``b`` on the same items, of which only the counts are known.

    ``difference`` has Newcombe's interval, as if of separate samples. ``best_p`` and ``worst_p``
    are McNemar's p after Holm, all pairs of the family having as few, or as many, discordant items
    as their counts allow.
    """

    a: str
    b: str
    difference: Estimate
    bounds: Bounds
    best_p: float
    worst_p: float
    most_discordant: int | None
    needed_unpaired: float
    needed_paired: float

    @property
    def lead(self) -> int:
        """How many more items ``a`` had right; negative if fewer."""
        return self.bounds.fewest if self.difference.value > 0 else -self.bounds.fewest

    @property
    def verdict(self) -> Verdict:
        """Whether the two differ significantly for all, some or no items that the counts allow."""
        if self.worst_p < ALPHA:
            return "differs"
        return "could differ" if self.best_p < ALPHA else "cannot differ"


@dataclass(frozen=True, slots=True)
class SharesResult:
    """One benchmark whose items were the same for all models.

    ``against``: every other model and the control; ``between``: every two arms. ``below`` and
    ``above`` are the nearest shares that separate samples distinguish from the control's,
    ``paired`` the leads that a paired test detects, for each of DISCORDANT.
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

    @property
    def label(self) -> str:
        """The title and the metric, as tables head them."""
        return f"{self.title}, {self.metric}"

    @property
    def verdict_on_arms(self) -> Verdict | None:
        """The strongest verdict on any two arms; None where there are no two."""
        verdicts = [pair.verdict for pair in self.between]
        order: tuple[Verdict, ...] = ("differs", "could differ", "cannot differ")
        return next((verdict for verdict in order if verdict in verdicts), None)

    @property
    def minimum_detectable(self) -> float:
        """The smaller of the differences to ``below`` and ``above``; nan if there is neither."""
        share = self.shares[self.against[0].b].value
        differences = [abs(share - end) for end in (self.below, self.above) if isfinite(end)]
        return min(differences, default=NAN)


@dataclass(frozen=True, slots=True)
class UnpairedResult:
    """``a`` - ``b`` on separate samples, p adjusted by Holm."""

    a: str
    b: str
    difference: Estimate
    p: float
    adjusted_p: float

    @property
    def verdict(self) -> Verdict:
        """Whether the two differ significantly after correction."""
        return "differs" if self.adjusted_p < ALPHA else "undecided"


@dataclass(frozen=True, slots=True)
class AnswersResult:
    """Free answers: ``counts`` are (right, wrong, refused) by model.

    ``right`` are proportions of the answers given, ``refused`` of all items. ``below`` and
    ``above``, by model: the nearest shares of right answers distinguished from the control's.
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

    @property
    def by_answers(self) -> list[str]:
        """The models compared with the control, from the fewest answers given to the most."""
        return sorted(self.below, key=lambda model: self.right[model].n)


@dataclass(frozen=True, slots=True)
class ConfusionResult:
    """One model's Matthews correlation, and the p of its being 0."""

    title: str
    model: str
    table: dict[str, int]
    correlation: Estimate
    p: float


@dataclass(frozen=True, slots=True)
class CountsResult:
    """All results, at level ``alpha``; sample sizes and detectable differences at ``power``."""

    alpha: float
    power: float
    shares: tuple[SharesResult, ...]
    answers: tuple[AnswersResult, ...]
    confusions: tuple[ConfusionResult, ...]


def analyse(counts: Counts) -> CountsResult:
    """Test published counts and compute what they could have detected."""
    confusions = []
    for confusion in counts.confusions:
        table = confusion.model_dump(include={"tp", "tn", "fp", "fn"})
        confusions.append(
            ConfusionResult(confusion.title, confusion.model, table, *correlation(**table))
        )
    return CountsResult(
        alpha=ALPHA,
        power=POWER,
        shares=tuple(_shares(counts, shares) for shares in counts.shares),
        answers=tuple(_answers(counts, answers) for answers in counts.answers),
        confusions=tuple(confusions),
    )


def _strictest(pairs: Sequence[Pair]) -> float:
    """The level of Holm's first step, which the smallest p of a family has to meet."""
    return ALPHA / max(1, len(pairs))


def _shares(counts: Counts, shares: Shares) -> SharesResult:
    right, items, level = shares.right, shares.items, _strictest(counts.against)
    below, above = detectable_rates(right[counts.control] / items, items, items, level)
    return SharesResult(
        title=shares.title,
        metric=shares.metric,
        items=items,
        shares={model: wilson(right[model], items) for model in counts.models},
        against=_paired(shares, counts.against),
        between=_paired(shares, counts.between),
        below=below,
        above=above,
        paired=tuple(detectable_lead(discordant, items, level) for discordant in DISCORDANT),
    )


def _paired(shares: Shares, pairs: Sequence[Pair]) -> tuple[PairedResult, ...]:
    """Compare two models at a time; the pairs are one family of Holm's correction."""
    right, items, level = shares.right, shares.items, _strictest(pairs)
    family = [mcnemar_bounds(right[a], right[b], items) for a, b in pairs]
    best_p = adjusted_p_values([bounds.lowest_p for bounds in family])
    worst_p = adjusted_p_values([bounds.highest_p for bounds in family])
    limits = most_discordant(family, ALPHA)
    return tuple(
        PairedResult(
            a=a,
            b=b,
            difference=unpaired_difference(right[a], items, right[b], items)[0],
            bounds=family[index],
            best_p=best_p[index],
            worst_p=worst_p[index],
            most_discordant=limits[index],
            needed_unpaired=sample_size(right[a] / items, right[b] / items, level),
            needed_paired=paired_sample_size(
                (right[a] - right[b]) / items, ASSUMED_DISCORDANT, level
            ),
        )
        for index, (a, b) in enumerate(pairs)
    )


def _answers(counts: Counts, answers: Answers) -> AnswersResult:
    amounts = {model: answers.counts(model) for model in counts.models}
    right = {model: (correct, correct + wrong) for model, (correct, wrong, _) in amounts.items()}
    refused = {model: (amount[2], sum(amount)) for model, amount in amounts.items()}
    rights = {model: wilson(*pair) for model, pair in right.items()}
    control, level = rights[counts.control], _strictest(counts.against)
    rates = {
        model: detectable_rates(control.value, control.n, rights[model].n, level)
        for model in counts.others
    }
    return AnswersResult(
        title=answers.title,
        counts=amounts,
        right=rights,
        refused={model: wilson(*pair) for model, pair in refused.items()},
        right_against=_unpaired(right, counts.against),
        right_between=_unpaired(right, counts.between),
        refused_against=_unpaired(refused, counts.against),
        below={model: below for model, (below, _) in rates.items()},
        above={model: above for model, (_, above) in rates.items()},
    )


def _unpaired(
    proportions: dict[str, tuple[int, int]], pairs: Sequence[Pair]
) -> tuple[UnpairedResult, ...]:
    """Compare two models' (successes, items) at a time; the pairs are one family."""
    tests = [unpaired_difference(*proportions[a], *proportions[b]) for a, b in pairs]
    adjusted = adjusted_p_values([p for _, p in tests])
    return tuple(
        UnpairedResult(a, b, difference, p, adjusted_p)
        for (a, b), (difference, p), adjusted_p in zip(pairs, tests, adjusted, strict=True)
    )

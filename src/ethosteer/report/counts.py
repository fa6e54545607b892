"""The report on published counts: what they show, could have shown, and what it would take."""

from __future__ import annotations

from math import isfinite, isnan

from ethosteer.counts import Answers, Counts, Shares
from ethosteer.maths.proportions import (
    Unpaired,
    correlation_of,
    items_unpaired,
    mcnemar_bounds,
    most_parted,
    smallest_paired,
    smallest_unpaired,
    unpaired_difference,
    wilson,
)
from ethosteer.maths.statistics import corrected
from ethosteer.report.blocks import Block, Bullets, Cell, Column, Document, Section, Table, Text
from ethosteer.report.numbers import (
    NONE,
    count,
    interval,
    listing,
    number,
    p_value,
    percent,
    plural,
    signed,
)

ALPHA = 0.05
PARTED = (0.02, 0.05, 0.1, 0.2)
"""Shares of items that two models may part on, for what pairing would have detected."""


def counts_document(counts: Counts) -> Document:
    """Lay out what can be said of published counts."""
    sections = (
        Section("answer", "The answer", _answer(counts)),
        Section("shares", "The same items for all", tuple(_shares(counts))),
        Section("answers", "Free answers, on items of each model's own", tuple(_free(counts))),
        Section("take", "What it would have taken", _take(counts)),
        Section("source", "Where the numbers come from", (_source(counts),)),
    )
    facts = (
        f"published by: {counts.citation}",
        plural(len(counts.models), "model"),
        f"control: {counts.control}",
    )
    return Document(
        title=f"{counts.name}: what published counts can show",
        question=counts.question,
        facts=" · ".join(facts),
        sections=tuple(section for section in sections if section.blocks),
    )


def _strictest(counts: Counts) -> float:
    return ALPHA / len(counts.arms)


# --- the answer


def _answer(counts: Counts) -> tuple[Block, ...]:
    never = tuple(_never(counts, shares) for shares in counts.shares)
    free = tuple(_said_free(counts, answers) for answers in counts.answers)
    parts = (
        Bullets("On the same items", never),
        Bullets("Values that say nothing", tuple(_flat(counts))),
        Bullets("Free answers", (*free, *_said_confusions(counts))),
        Bullets("What this rests on", (ASSUMED,)),
    )
    return (Text(_headline(counts), lead=True), *(part for part in parts if part.items))


ASSUMED = (
    "The tests are exact and two-sided. Models on the same items are bounded from both sides, as "
    "it was not kept which items each had right; models on different numbers of items are taken "
    "as independent, though they may have had items in common. One seed stands behind every "
    "model, so nothing here speaks of training once more."
)


def _headline(counts: Counts) -> str:
    """Say in how many comparisons a difference can be shown, and how large it had to be."""
    pairs = [(shares, arm) for shares in counts.shares for arm in counts.arms]
    possible = [(s, arm) for s, arm in pairs if _parted_at_most(counts, s, arm) is not None]
    sizes = [
        smallest_unpaired(s.right[counts.control] / s.items, s.items, _strictest(counts))
        for s in counts.shares
    ]
    where = listing(sorted({s.title for s, _ in possible}))
    could = (
        f"in {len(possible)} of {len(pairs)} comparisons with {counts.control} (on {where}), and "
        "there only if the two models gave nearly the same answers"
        if possible
        else f"in none of {len(pairs)} comparisons with {counts.control}"
    )
    span = f"{number(min(sizes))} to {number(max(sizes))}" if sizes else ""
    detect = (
        f" Compared as samples of their own, models had to lie {span} apart to be told apart four "
        "times in five; the largest lead that was published is "
        f"{number(_largest(counts))}."
        if sizes
        else ""
    )
    return (
        f"On the benchmarks that all models answered, these counts can show a difference {could}. "
        f"Which items a model had right was not kept, so whether they do is not known.{detect}"
    )


def _largest(counts: Counts) -> float:
    return max(
        abs(s.right[arm] - s.right[counts.control]) / s.items
        for s in counts.shares
        for arm in counts.arms
    )


def _parted_at_most(counts: Counts, shares: Shares, arm: str) -> int | None:
    """On how many items an arm and the control may have parted for it to count after correction."""
    return most_parted(
        shares.right[arm], shares.right[counts.control], shares.items, _strictest(counts)
    )


def _never(counts: Counts, shares: Shares) -> str:
    """Say of one benchmark which arms can differ from the control, and on what condition."""
    found = {arm: _parted_at_most(counts, shares, arm) for arm in counts.arms}
    lead = {arm: shares.right[arm] - shares.right[counts.control] for arm in counts.arms}
    possible = [
        f"{arm} ({shares.right[arm]} against {shares.right[counts.control]}, if they parted on "
        f"{parted} items at most)"
        for arm, parted in found.items()
        if parted is not None
    ]
    never = [
        f"{arm} ({signed(lead[arm], 0)} of {count(shares.items)})"
        for arm, parted in found.items()
        if parted is None
    ]
    sentences = []
    if possible:
        sentences.append(f"can differ: {listing(possible)}")
    if never:
        sentences.append(f"cannot, whichever items these were: {listing(never)}")
    return f"{shares.title}, {shares.metric}, after correction for {len(counts.arms)} models: " + (
        f"{'; '.join(sentences)}."
    )


def _flat(counts: Counts) -> list[str]:
    """Name values that are one number for every model."""
    said = []
    for values in counts.values:
        if len(set(values.value.values())) == 1:
            value = next(iter(values.value.values()))
            said.append(
                f"{values.title}, {values.metric} is {number(value, 4)} for all "
                f"{len(counts.models)} models: a constant answer, which is no finding."
            )
    return said


def _said_free(counts: Counts, answers: Answers) -> str:
    totals = {model: sum(answers.counts(model)) for model in counts.models}
    refused = [answers.refused[model] / totals[model] for model in counts.models]
    rows = {arm: _free_difference(counts, answers, arm) for arm in counts.arms}
    adjusted = corrected([found.p for found in rows.values()])
    shown = [
        f"{arm} ({signed(found.estimate.value)} {interval(found.estimate)}, adjusted p "
        f"{p_value(p)})"
        for (arm, found), p in zip(rows.items(), adjusted, strict=True)
        if p < ALPHA
    ]
    differ = (
        f"among the answers that were given, the share of right ones differs from "
        f"{counts.control}'s for {listing(shown)}"
        if shown
        else "among the answers that were given, no model's share of right ones differs from "
        f"{counts.control}'s"
    )
    return (
        f"{answers.title}: {percent(min(refused))} to {percent(max(refused))} of items were left "
        f"without an answer, and models had {count(min(totals.values()))} to "
        f"{count(max(totals.values()))} items; {differ}. Models that answer different items are "
        "not compared by their answers."
    )


def _said_confusions(counts: Counts) -> tuple[str, ...]:
    said = []
    for each in counts.confusions:
        found, p = correlation_of(each.tp, each.tn, each.fp, each.fn)
        verdict = "is not shown to differ from 0" if p >= ALPHA else "is shown to differ from 0"
        said.append(
            f"{each.title}, {each.model}: Matthews correlation {signed(found.value)} "
            f"{interval(found)} on {found.n} answers {verdict} (p {p_value(p)})."
        )
    return tuple(said)


# --- tables


def _shares(counts: Counts) -> list[Block]:
    tables = [_share_table(counts, shares) for shares in counts.shares]
    return [*tables, _detectable(counts)] if tables else []


def _share_table(counts: Counts, shares: Shares) -> Table:
    bounds = {
        arm: mcnemar_bounds(shares.right[arm], shares.right[counts.control], shares.items)
        for arm in counts.arms
    }
    best = dict(zip(bounds, corrected([own.lowest_p for own in bounds.values()]), strict=True))
    rows = []
    for model in counts.models:
        found = wilson(shares.right[model], shares.items)
        cells = [
            Cell(model, ("control",) if model == counts.control else ()),
            Cell(f"{count(shares.right[model])} of {count(shares.items)}"),
            Cell(number(found.value, 4), (interval(found),)),
        ]
        if model in bounds:
            own, parted = bounds[model], _parted_at_most(counts, shares, model)
            cells += [
                Cell(signed(found.value - shares.right[counts.control] / shares.items, 4)),
                Cell(f"{count(own.fewest)} to {count(own.most)}"),
                Cell(p_value(own.lowest_p)),
                Cell(p_value(own.highest_p)),
                Cell(p_value(best[model])),
                Cell("never" if parted is None else f"{count(parted)} items at most"),
            ]
        else:
            cells += [Cell(NONE)] * 6
        rows.append(tuple(cells))
    heads = (
        "counted", "share", "lead", "items parted on", "p at best", "p at worst",
        "adjusted p at best", "shown if parted on",
    )  # fmt: skip
    return Table(
        title=f"{shares.title}, {shares.metric}",
        columns=(Column("model"), *(Column(head, "number") for head in heads)),
        rows=tuple(rows),
        note="Shares with Wilson's intervals. McNemar's exact p against the control: at best all "
        "items on which the two part go one way, at worst they part on as many as their counts "
        f"allow. Adjusted by Holm over the {len(counts.arms)} models.",
    )


def _detectable(counts: Counts) -> Table:
    strictest = _strictest(counts)
    rows = []
    for shares in counts.shares:
        rate = shares.right[counts.control] / shares.items
        paired = [smallest_paired(parted, shares.items, strictest) for parted in PARTED]
        rows.append(
            (
                Cell(f"{shares.title}, {shares.metric}"),
                Cell(count(shares.items)),
                Cell(number(smallest_unpaired(rate, shares.items, strictest))),
                *(Cell("none" if isnan(lead) else number(lead)) for lead in paired),
            )
        )
    return Table(
        title="The smallest difference that would have been found four times in five",
        columns=(
            Column("benchmark"),
            Column("items", "number"),
            Column("unpaired", "number"),
            *(Column(f"paired, {share:.0%} parted on", "number") for share in PARTED),
        ),
        rows=tuple(rows),
        note=f"At the strictest step of Holm's correction for {len(counts.arms)} models. Paired: "
        "by McNemar's test, had it been kept which items each model had right, and had two models "
        "parted on so many; none: on so few items no lead would do.",
    )


def _free_difference(counts: Counts, answers: Answers, arm: str) -> Unpaired:
    """Hold an arm's share of right answers to the control's, among those that were given."""
    (right, wrong, _), (other, unlike, _) = map(answers.counts, (arm, counts.control))
    return unpaired_difference(right, right + wrong, other, other + unlike)


def _free(counts: Counts) -> list[Block]:
    return [_free_table(counts, answers) for answers in counts.answers]


def _free_table(counts: Counts, answers: Answers) -> Table:
    differences = {arm: _free_difference(counts, answers, arm) for arm in counts.arms}
    adjusted = dict(
        zip(differences, corrected([own.p for own in differences.values()]), strict=True)
    )
    rows = []
    for model in counts.models:
        right, wrong, refused = answers.counts(model)
        given, total = wilson(right, right + wrong), right + wrong + refused
        own = differences.get(model)
        rows.append(
            (
                Cell(model, ("control",) if model == counts.control else ()),
                *(Cell(count(amount)) for amount in (total, right, wrong, refused)),
                Cell(percent(refused / total)),
                Cell(number(right / total)),
                Cell(number(given.value), (interval(given),)),
                Cell(signed(own.estimate.value), (interval(own.estimate),)) if own else Cell(NONE),
                Cell(p_value(adjusted[model])) if own else Cell(NONE),
            )
        )
    heads = (
        "items", "right", "wrong", "no answer", "share without", "right of all",
        "right of answered", "lead among answered", "adjusted p",
    )  # fmt: skip
    return Table(
        title=f"{answers.title}: answers",
        columns=(Column("model"), *(Column(head, "number") for head in heads)),
        rows=tuple(rows),
        note="Right of all counts no answer as not right. The lead among answered is of answers to "
        "different items (Newcombe's interval, Fisher's exact p, Holm): whoever answers only what "
        "is easy leads.",
    )


def _take(counts: Counts) -> tuple[Block, ...]:
    """Say how many items the published leads would need, and what would have to be kept."""
    strictest = _strictest(counts)
    rows = [
        (
            Cell(f"{shares.title}, {shares.metric}"),
            Cell(arm),
            Cell(signed((shares.right[arm] - shares.right[counts.control]) / shares.items, 4)),
            Cell(count(shares.items)),
            Cell(_amount(items_unpaired(*_rates(counts, shares, arm), strictest))),
        )
        for shares in counts.shares
        for arm in counts.arms
    ]
    if not rows:
        return ()
    table = Table(
        title="Items that the published leads would need",
        columns=(
            Column("benchmark"),
            Column("model"),
            Column("lead", "number"),
            Column("items", "number"),
            Column("items needed of each model", "number"),
        ),
        rows=tuple(rows),
        note="To find such a lead four times in five, unpaired, at the strictest step; ∞: there is "
        "no lead.",
    )
    return (Bullets("For an answer next time", KEPT), table)


KEPT = (
    "Keep what every model answered to every item: paired, the same items show differences several "
    "times smaller.",
    "Give all models the same items, and a forced choice beside the free answer, so that a refusal "
    "loses no item.",
    "Train every arm with several seeds: without them a difference is one between two trained "
    "models, not between two datasets.",
    "Say beforehand which difference matters, and how small a one counts as none.",
)


def _rates(counts: Counts, shares: Shares, arm: str) -> tuple[float, float]:
    return shares.right[arm] / shares.items, shares.right[counts.control] / shares.items


def _amount(items: float) -> str:
    return count(int(items)) if isfinite(items) else "∞"


def _source(counts: Counts) -> Table:
    rows = [(Cell("published by"), Cell(counts.citation))]
    for values in counts.values:
        shown = ", ".join(f"{model} {number(own, 4)}" for model, own in values.value.items())
        rows.append((Cell(f"{values.title}, {values.metric} (no counts)"), Cell(shown)))
    return Table(
        title="The publication, and what of it could not be tested",
        columns=(Column(""), Column("", "long")),
        rows=tuple(rows),
    )

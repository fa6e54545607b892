"""What published counts show, in sentences: first in short, then by benchmark and statement."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from ethosteer.published.analysis import (
    ALPHA,
    AnswersResult,
    Can,
    ConfusionResult,
    CountsResult,
    PairedResult,
    SharesResult,
    UnpairedResult,
)
from ethosteer.published.counts import Counts, Statement
from ethosteer.report.blocks import Block, Bullets, Text
from ethosteer.report.numbers import (
    count,
    interval,
    listing,
    number,
    p_value,
    percent,
    plural,
    signed,
)
from ethosteer.results import Estimate
from ethosteer.statistics.paired import NAN

ASSUMED = (
    "Tests are exact and two-sided, and corrected by Holm over the models of one question. Models "
    "on the same items are bounded from both sides, as it is not known which items each had right.",
    "Models on different numbers of items are taken as independent samples. Were their items in "
    "part the same, the intervals would as a rule be too wide rather than too narrow.",
    "Whoever answers chooses what to answer: of the answers given, shares are of different items, "
    "and a lead may come from easier ones.",
    "One training run stands behind every model, as far as is known: a difference here is one "
    "between two trained models, not yet between two ways to train.",
)


def answer_blocks(counts: Counts, result: CountsResult) -> tuple[Block, ...]:
    """Return the answer in short, then what could be detected, what stands, and on what terms."""
    lists = (
        Bullets("On the same items", tuple(_of_shares(each, counts) for each in result.shares)),
        Bullets("Values that say nothing", tuple(_of_values(counts))),
        Bullets(
            "Free answers",
            (
                *(sentence for each in result.answers for sentence in _of_answers(each, counts)),
                *(_of_confusion(each) for each in result.confusions),
            ),
        ),
        Bullets(
            "Which of its statements stand",
            tuple(_of_statement(each, result) for each in counts.statements),
        ),
        Bullets("What this rests on", ASSUMED),
    )
    return (Text(_in_short(counts, result), lead=True), *(own for own in lists if own.items))


def _in_short(counts: Counts, result: CountsResult) -> str:
    parts = [_shares_in_short(counts, result)] if result.shares else []
    parts += [_answers_in_short(counts, each) for each in result.answers]
    return " ".join(parts or map(_of_confusion, result.confusions))


def _shares_in_short(counts: Counts, result: CountsResult) -> str:
    pairs = [pair for each in result.shares for pair in each.against]
    always, possible, never = (_those(pairs, can) for can in ("always", "possible", "never"))
    where = [each.title for each in result.shares if _those(each.against, "possible")]
    told = [f"{_amount(always)} shows a difference for certain"]
    if possible:
        few = max((pair.most_parted or 0) / pair.items for pair in possible)
        told.append(
            f"{len(possible)} (on {listing(sorted(set(where)))}) could, if the two models parted "
            f"on few items ({percent(few)} at the very most)"
        )
    if never:
        told.append(f"{len(never)} cannot, whichever items these were")
    largest = max(abs(pair.difference.value) for pair in pairs)
    near = [away for each in result.shares if isfinite(away := reach(each, counts.control))]
    found = f" The largest difference that was published is {number(largest)}"
    if near:
        found += (
            f"; to be told apart four times in five, separate samples of these sizes have to lie "
            f"{number(min(near))} apart or more"
        )
    return (
        f"Of {plural(len(pairs), 'comparison')} with {counts.control} on the same items, "
        f"{'; '.join(told)}.{found}."
    )


def _answers_in_short(counts: Counts, answers: AnswersResult) -> str:
    refused, right = (
        [pair.a for pair in pairs if pair.shown]
        for pairs in (answers.refused_against, answers.right_against)
    )
    return (
        f"On {answers.title}, the share of items left without an answer differs from "
        f"{counts.control}'s for {_how_many(refused, counts)}, the share of right among the "
        f"answers given for {_how_many(right, counts)}."
    )


def _how_many(names: list[str], counts: Counts) -> str:
    total = len(counts.others)
    if not names:
        return "none"
    return f"all {plural(total, 'model')}" if len(names) == total else listing(names)


def _amount(found: list[PairedResult]) -> str:
    return str(len(found)) if found else "none"


def _those(pairs: Iterable[PairedResult], can: str) -> list[PairedResult]:
    return [pair for pair in pairs if pair.can == can]


def reach(shares: SharesResult, control: str) -> float:
    """Return how near to the control's share a separate sample may lie and be told from it."""
    own = shares.shares[control].value
    away = [abs(own - end) for end in (shares.below, shares.above) if isfinite(end)]
    return min(away, default=NAN)


def _of_shares(shares: SharesResult, counts: Counts) -> str:
    always, possible, never = (
        _those(shares.against, can) for can in ("always", "possible", "never")
    )
    told = [f"{_lead(pair)} differs whichever items these were" for pair in always]
    if possible:
        told.append(
            "some could differ significantly only if they parted from "
            f"{counts.control} on few items, where the counts allow up to "
            f"{count(max(pair.bounds.most for pair in possible))}: "
            f"{', '.join(map(_condition, possible))}"
        )
    if never:
        told.append(
            f"{listing([_lead(pair) for pair in never])} cannot differ significantly, "
            "whichever items these were"
        )
    own = shares.shares[counts.control]
    sentence = (
        f"{shares.title}, {shares.metric} ({counts.control}: {_right(own)} of "
        f"{count(own.n)}): {'; '.join(told)}."
    )
    nearest = min(never, key=lambda pair: pair.bounds.lowest_p, default=None)
    if nearest and nearest.bounds.lowest_p < 1:
        sentence += (
            f" The nearest of these is {nearest.a}: had all {nearest.bounds.fewest} items gone one "
            f"way and the two models agreed on all others, p would be "
            f"{p_value(nearest.bounds.lowest_p)}, and {p_value(nearest.best_p)} after correction."
        )
    return sentence


def _right(share: Estimate) -> str:
    return count(round(share.value * share.n))


def _lead(pair: PairedResult) -> str:
    return f"{pair.a} ({signed(pair.lead, 0)})"


def _condition(pair: PairedResult) -> str:
    most = pair.most_parted or 0
    one_way = count((most + pair.bounds.fewest) // 2)
    return f"{_lead(pair)} on at most {count(most)} with {one_way} of them one way"


def _of_values(counts: Counts) -> list[str]:
    """Name values that are one number for every model, and whether a share comes up to it."""
    said = []
    for values in counts.values:
        if len(set(values.value.values())) > 1:
            continue
        value = values.value[counts.control]
        sentence = (
            f"{values.title}, {values.metric} is {number(value, 4)} for all {len(counts.models)} "
            "models, as if each gave one answer to everything: no finding."
        )
        for shares in counts.shares:
            highest = max(shares.right.values()) / shares.items
            if shares.benchmark == values.benchmark and highest < value:
                sentence += (
                    f" No model's {shares.metric} reaches it ({number(highest, 4)} at most)."
                )
        said.append(sentence)
    return said


def _of_answers(answers: AnswersResult, counts: Counts) -> tuple[str, ...]:
    refused = [share.value for share in answers.refused.values()]
    totals = [share.n for share in answers.refused.values()]
    sizes = (
        f"{count(min(totals))} to {count(max(totals))}" if len(set(totals)) > 1 else str(totals[0])
    )
    control = answers.right[counts.control]
    widest, narrowest = (
        choose(counts.others, key=lambda model: answers.right[model].n) for choose in (min, max)
    )
    return (
        f"{answers.title}: of {sizes} items, {percent(min(refused))} to {percent(max(refused))} "
        f"were left without an answer. "
        f"{_compared(answers.refused_against, 'the share left without an answer', counts)}",
        f"{answers.title}: {_compared(answers.right_against, 'the share of right answers', counts)}"
        f" To be told from {counts.control} ({number(control.value)} of {count(control.n)} "
        f"answers) four times in five, a share had to lie outside {_range(answers, narrowest)} "
        f"with the most answers and outside {_range(answers, widest)} with the fewest.",
    )


def _range(answers: AnswersResult, model: str) -> str:
    low, high = number(answers.below[model]), number(answers.above[model])
    return f"{low} to {high} ({model}, {count(answers.right[model].n)})"


def _compared(pairs: tuple[UnpairedResult, ...], what: str, counts: Counts) -> str:
    shown = [_difference(pair) for pair in pairs if pair.shown]
    if shown:
        return f"Against {counts.control}, {what} differs for {listing(shown)}."
    nearest = min(
        (pair for pair in pairs if isfinite(pair.p)), key=lambda pair: pair.p, default=None
    )
    near = f"; nearest comes {_difference(nearest)}" if nearest else ""
    return f"against {counts.control}, {what} is not shown to differ for any model{near}."


def _difference(pair: UnpairedResult) -> str:
    return (
        f"{pair.a} ({signed(pair.difference.value)} {interval(pair.difference)}, adjusted p "
        f"{p_value(pair.adjusted_p)})"
    )


def _of_confusion(each: ConfusionResult) -> str:
    shown = "is shown" if each.p < ALPHA else "is not shown"
    return (
        f"{each.title}, {each.model}: Matthews correlation {signed(each.correlation.value)} "
        f"{interval(each.correlation)} on {plural(each.correlation.n, 'answer')} {shown} to differ "
        f"from 0 (p {p_value(each.p)})."
    )


def _of_statement(statement: Statement, result: CountsResult) -> str:
    quoted = f"“{statement.said}”"
    if statement.about == "nothing":
        return f"{quoted} None of the published counts bears on it."
    told = [
        *(_paired_told(result, can) for can in ("always", "possible", "never")),
        *(_answers_told(each) for each in result.answers),
    ]
    return (
        f"{quoted} {' '.join(filter(None, told))} Where no difference is shown, equality is not "
        "shown either."
    )


def _paired_told(result: CountsResult, can: Can) -> str:
    """Say where a statement that no arm is better falls, is open, or stands; "" if nowhere."""
    found = [each for each in result.shares if each.between and _most(each.between) == can]
    where = listing([each.title for each in found])
    if not found:
        return ""
    if can == "never":
        return f"It stands on {where}: no two arms can differ significantly there."
    pairs = [f"{pair.a} and {pair.b}" for each in found for pair in _those(each.between, can)]
    if can == "always":
        return f"It does not stand on {where}: {listing(pairs)} differ."
    return (
        f"It cannot be told on {where}: {listing(pairs)} could differ significantly, if they "
        "parted on few items."
    )


def _most(pairs: tuple[PairedResult, ...]) -> Can:
    """Return the most that any of the pairs can be."""
    order: tuple[Can, ...] = ("always", "possible", "never")
    return next(can for can in order if _those(pairs, can))


def _answers_told(answers: AnswersResult) -> str:
    shown = [f"{pair.a} and {pair.b}" for pair in answers.right_between if pair.shown]
    if shown:
        return f"It does not stand on {answers.title}: {listing(shown)} differ in right answers."
    return (
        f"On {answers.title} no two arms are shown to differ in the share of right among the "
        "answers they gave."
    )

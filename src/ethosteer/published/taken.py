"""What it would have taken for published counts to give an answer."""

from __future__ import annotations

from math import isfinite

from ethosteer.published.analysis import (
    NEEDED_PARTED,
    PARTED,
    AnswersResult,
    CountsResult,
    SharesResult,
)
from ethosteer.published.answer import reach
from ethosteer.published.counts import Counts
from ethosteer.report.blocks import Block, Bullets, Cell, Column, Table
from ethosteer.report.numbers import count, listing, number, percent, signed


def taken_blocks(counts: Counts, result: CountsResult) -> tuple[Block, ...]:
    """Say what to do next time, and how many items the published differences would need."""
    sentences = Bullets("For an answer next time", _sentences(counts, result))
    rows = tuple(
        (
            Cell(f"{each.title}, {each.metric}"),
            Cell(pair.a),
            Cell(signed(pair.difference.value, 4)),
            Cell(count(each.items)),
            Cell(_amount(pair.needed_unpaired)),
            Cell(_amount(pair.needed_paired)),
        )
        for each in result.shares
        for pair in each.against
    )
    if not rows:
        return (sentences,)
    heads = ("difference", "items", "needed as separate samples",
             f"needed with {percent(NEEDED_PARTED)} parted on")  # fmt: skip
    table = Table(
        title="Items that the published differences would need",
        columns=(
            Column("benchmark"),
            Column("model"),
            *(Column(head, "number") for head in heads),
        ),
        rows=rows,
        note="Of each model, to find such a difference from the control four times in five at the "
        "first step of Holm's correction; ∞: there is none to find.",
        folded=True,
    )
    return sentences, table


def _amount(items: float) -> str:
    return count(int(items)) if isfinite(items) else number(items)


def _sentences(counts: Counts, result: CountsResult) -> tuple[str, ...]:
    """Say what a study would have to do for counts like these to give an answer."""
    return (
        *((_kept(result),) if result.shares else ()),
        *(sentence for each in result.shares if (sentence := _more_items(each))),
        *(_same_answers(each, counts) for each in result.answers),
        "Train every arm with several seeds, so that a difference is one between ways to train.",
        "Say beforehand which difference matters and how small a one counts as none: only then can "
        "models be shown to be equivalent.",
    )


def _kept(result: CountsResult) -> str:
    place = PARTED.index(NEEDED_PARTED)
    told = []
    for each in result.shares:
        away = reach(each, each.against[0].b)
        if isfinite(each.paired[place]) and isfinite(away):
            told.append(f"{number(each.paired[place])} rather than {number(away)} on {each.title}")
    shown = (
        f": {listing(told)}, if two models part on {percent(NEEDED_PARTED)} of items"
        if told
        else ""
    )
    return (
        "Keep what every model answered to every item: pairs of answers to the same items show "
        f"smaller differences{shown}."
    )


def _more_items(shares: SharesResult) -> str:
    """Say how many items the largest published lead of a benchmark would need; "" without one."""
    largest = max(shares.against, key=lambda pair: pair.bounds.fewest)
    if not largest.lead:
        return ""
    paired = (
        f", or {count(int(largest.needed_paired))} with the items kept and "
        f"{percent(NEEDED_PARTED)} of them parted on"
        if isfinite(largest.needed_paired)
        else ""
    )
    return (
        f"{shares.title}: the largest lead over or behind {largest.b}, {largest.a}'s "
        f"{signed(largest.difference.value, 4)}, needs {count(int(largest.needed_unpaired))} items "
        f"of each model as separate samples{paired}; there were {count(shares.items)}."
    )


def _same_answers(answers: AnswersResult, counts: Counts) -> str:
    given = [share.n for share in answers.right.values()]
    return (
        f"{answers.title}: give all models the same items, and a forced choice beside the free "
        f"answer, so that no item is lost; {count(min(given))} to {count(max(given))} answers were "
        "left to compare."
    )

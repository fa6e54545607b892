"""Published counts with their intervals and tests, as tables."""

from __future__ import annotations

from math import isnan

from ethosteer.published.analysis import (
    PARTED,
    AnswersResult,
    CountsResult,
    PairedResult,
    SharesResult,
    UnpairedResult,
)
from ethosteer.published.counts import Counts
from ethosteer.report.blocks import Block, Cell, Column, Table, Text
from ethosteer.report.numbers import (
    NONE,
    count,
    interval,
    number,
    p_value,
    percent,
    plural,
    signed,
)
from ethosteer.results import Estimate

BLANK = Cell(NONE)
READING = (
    "Shares with Wilson's 95 % intervals. McNemar's exact p against the control, at best: the two "
    "models part on as few items as their counts allow, all one way; at worst: on as many. "
    "Adjusted by Holm over all models of a benchmark; the last column takes the others at their "
    "best."
)


def share_tables(counts: Counts, result: CountsResult) -> tuple[Block, ...]:
    """Return the shares of the same items, and what these numbers of items could have shown."""
    if not result.shares:
        return ()
    return (
        Text(READING),
        *(_share_table(counts, each) for each in result.shares),
        _detectable(counts, result),
    )


def _share_table(counts: Counts, shares: SharesResult) -> Table:
    against = {pair.a: pair for pair in shares.against}
    heads = (
        "counted", "share", "difference", "items parted on",
        "p at best", "adjusted", "p at worst", "significant if parted on",
    )  # fmt: skip
    return Table(
        title=f"{shares.title}, {shares.metric}",
        columns=(Column("model"), *(Column(head, "number") for head in heads)),
        rows=tuple(
            (
                _model(counts, model),
                Cell(f"{count(round(own.value * own.n))} of {count(own.n)}"),
                Cell(number(own.value, 4), (interval(own),)),
                *(_bounds(against[model]) if model in against else (BLANK,) * 6),
            )
            for model, own in shares.shares.items()
        ),
    )


def _bounds(pair: PairedResult) -> tuple[Cell, ...]:
    return (
        Cell(signed(pair.difference.value, 4)),
        Cell(f"{count(pair.bounds.fewest)} to {count(pair.bounds.most)}"),
        Cell(p_value(pair.bounds.lowest_p)),
        Cell(p_value(pair.best_p)),
        Cell(p_value(pair.bounds.highest_p)),
        Cell("never" if pair.most_parted is None else f"{count(pair.most_parted)} at most"),
    )


def _model(counts: Counts, model: str) -> Cell:
    return Cell(model, ("control",) if model == counts.control else ())


def _detectable(counts: Counts, result: CountsResult) -> Table:
    return Table(
        title="The smallest difference from the control that would have been found",
        columns=(
            Column("benchmark"),
            Column("items", "number"),
            Column("separate samples", "number"),
            *(Column(f"same items, {percent(share)} parted on", "number") for share in PARTED),
        ),
        rows=tuple(
            (
                Cell(f"{each.title}, {each.metric}"),
                Cell(count(each.items)),
                Cell(
                    _from(each.above, each.shares[counts.control].value),
                    (_from(each.below, each.shares[counts.control].value),),
                ),
                *(Cell("none" if isnan(lead) else f"±{number(lead)}") for lead in each.paired),
            )
            for each in result.shares
        ),
        note=f"Four times in five, at the first step of Holm's correction for "
        f"{plural(len(counts.others), 'model')}. Separate samples: upwards and downwards. Same "
        "items: by McNemar's test without its exactness, had it been kept which items each model "
        "had right; none: on so few items no difference would do.",
    )


def _from(share: float, own: float) -> str:
    return "none" if isnan(share) else signed(share - own)


def free_tables(counts: Counts, result: CountsResult) -> tuple[Table, ...]:
    """Return free answers, counted and compared, and correlations with the labels."""
    tables = [
        table for each in result.answers for table in (_given(counts, each), _right(counts, each))
    ]
    return (*tables, _confusion_table(result)) if result.confusions else tuple(tables)


def _given(counts: Counts, answers: AnswersResult) -> Table:
    against = {pair.a: pair for pair in answers.refused_against}
    heads = ("items", "right", "wrong", "no answer", "share without", "difference", "adjusted p")
    return Table(
        title=f"{answers.title}: who answered",
        columns=(Column("model"), *(Column(head, "number") for head in heads)),
        rows=tuple(
            (
                _model(counts, model),
                *(Cell(count(amount)) for amount in (sum(amounts), *amounts)),
                _share(answers.refused[model]),
                *_less(against.get(model)),
            )
            for model, amounts in answers.counts.items()
        ),
        note="Wilson's intervals for shares, Newcombe's for differences from the control, Fisher's "
        "exact p, adjusted by Holm over the models.",
    )


def _right(counts: Counts, answers: AnswersResult) -> Table:
    against = {pair.a: pair for pair in answers.right_against}
    heads = ("answers", "share right", "difference", "adjusted p", "told apart outside")
    return Table(
        title=f"{answers.title}: right among the answers given",
        columns=(Column("model"), *(Column(head, "number") for head in heads)),
        rows=tuple(
            (
                _model(counts, model),
                Cell(count(own.n)),
                _share(own),
                *_less(against.get(model)),
                Cell(_range(answers, model)) if model in against else BLANK,
            )
            for model, own in answers.right.items()
        ),
        note="As above, of answers to different items: whoever answers only what is easy leads. "
        "The last column: what a share had to be below or above to be told from the control's "
        "four times in five.",
    )


def _share(own: Estimate) -> Cell:
    return Cell(number(own.value), (interval(own),))


def _less(pair: UnpairedResult | None) -> tuple[Cell, Cell]:
    if pair is None:
        return BLANK, BLANK
    difference = Cell(signed(pair.difference.value), (interval(pair.difference),))
    return difference, Cell(p_value(pair.adjusted_p))


def _range(answers: AnswersResult, model: str) -> str:
    return f"{number(answers.below[model])} to {number(answers.above[model])}"


def _confusion_table(result: CountsResult) -> Table:
    heads = (*result.confusions[0].table, "Matthews correlation", "p")
    return Table(
        title="Answers by label",
        columns=(
            Column("benchmark"),
            Column("model"),
            *(Column(head, "number") for head in heads),
        ),
        rows=tuple(
            (
                Cell(each.title),
                Cell(each.model),
                *(Cell(count(amount)) for amount in each.table.values()),
                Cell(signed(each.correlation.value), (interval(each.correlation),)),
                Cell(p_value(each.p)),
            )
            for each in result.confusions
        ),
        note="Fisher's exact p that answers and labels are unrelated.",
    )

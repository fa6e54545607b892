"""Published counts with their intervals and tests, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from ethosteer.published.analysis import (
    ASSUMED_DISCORDANT,
    DISCORDANT,
    AnswersResult,
    ConfusionResult,
    CountsResult,
    SharesResult,
    UnpairedResult,
)
from ethosteer.published.counts import Counts, Shares
from ethosteer.report.blocks import Cell, Table
from ethosteer.report.numbers import THIN, count, number, p_value, percent, plural, signed
from ethosteer.report.table import Numbers, Value, cell, table
from ethosteer.statistics.paired import POWER

AT_POWER = f"{100 * POWER:.0f}{THIN}% power"
TESTED = (Numbers("difference", signed), Numbers("adjusted p", p_value))


def shares(counts: Counts, counted: Shares, result: SharesResult) -> Table:
    """One benchmark's shares, and the bounds of their paired tests against the control."""
    bounds: dict[str, tuple[Value, ...]] = {counts.control: (None,) * 6}
    for pair in result.against:
        bounds[pair.a] = (
            pair.difference.value,
            f"{count(pair.bounds.fewest)} to {count(pair.bounds.most)}",
            pair.bounds.lowest_p,
            pair.best_p,
            pair.bounds.highest_p,
            "none" if pair.most_discordant is None else pair.most_discordant,
        )
    heads = (
        "model", Numbers("right"), Numbers("share", number, 4), Numbers("difference", signed, 4),
        Numbers("discordant items"), Numbers("lowest p", p_value), Numbers("adjusted", p_value),
        Numbers("highest p", p_value), Numbers("most discordant if significant"),
    )  # fmt: skip
    rows = []
    for model, share in result.shares.items():
        right = f"{count(counted.right[model])} of {count(result.items)}"
        rows.append((_model(counts, model), right, share, *bounds[model]))
    return table(result.label, heads, rows)


def detectable(counts: Counts, result: CountsResult) -> Table:
    """The differences from the control that each benchmark's items could have shown."""
    rows: list[tuple[Value, ...]] = []
    for benchmark in result.shares:
        control = benchmark.shares[counts.control].value
        above, below = (
            "none" if isnan(rate) else signed(rate - control)
            for rate in (benchmark.above, benchmark.below)
        )
        paired = ["none" if isnan(lead) else f"±{number(lead)}" for lead in benchmark.paired]
        rows.append((benchmark.label, benchmark.items, cell(above, small=(below,)), *paired))
    return table(
        f"Minimum detectable difference from the control at {AT_POWER}",
        (
            "benchmark",
            "items",
            Numbers("separate samples"),
            *(Numbers(f"same items, {percent(level)} discordant") for level in DISCORDANT),
        ),
        rows,
        note=f"At the first step of Holm's correction for {plural(len(counts.others), 'model')}. "
        "Separate samples: above and below the control. Same items: by the normal approximation "
        "to McNemar's test, had every model's answers been kept; none: not even a difference on "
        "all discordant items is detected.",
    )


def sample_sizes(result: CountsResult) -> Table:
    """The numbers of items that the published differences require."""
    heads = (
        "benchmark", "model", Numbers("difference", signed, 4), "items",
        Numbers("required as separate samples", number, 0),
        Numbers(f"required with {percent(ASSUMED_DISCORDANT)} discordant", number, 0),
    )  # fmt: skip
    rows = [
        (benchmark.label, pair.a, pair.difference.value, benchmark.items,
         pair.needed_unpaired, pair.needed_paired)
        for benchmark in result.shares
        for pair in benchmark.against
    ]  # fmt: skip
    return table(
        "Sample sizes that the published differences require",
        heads,
        rows,
        note=f"Items per model, to detect such a difference from the control with {AT_POWER} at "
        "the first step of Holm's correction; ∞: there is no difference.",
        folded=True,
    )


def refusals(counts: Counts, answers: AnswersResult) -> Table:
    """How many items each model answered, and its refusal rate against the control's."""
    tests = _tests(counts, answers.refused_against)
    return table(
        f"{answers.title}: refusals",
        ("model", "items", "right", "wrong", "refused", "refusal rate", *TESTED),
        [
            (_model(counts, model), sum(amounts), *amounts, answers.refused[model], *tests[model])
            for model, amounts in answers.counts.items()
        ],
        note="Wilson's intervals for rates, Newcombe's for differences from the control; Fisher's "
        "exact p, adjusted by Holm's method over the models.",
    )


def accuracies(counts: Counts, answers: AnswersResult) -> Table:
    """Accuracy among the answers given, against the control's."""
    tests = _tests(counts, answers.right_against)
    rows: list[tuple[Value, ...]] = []
    for model, share in answers.right.items():
        undetected = None
        if model in answers.below:
            undetected = f"{number(answers.below[model])} to {number(answers.above[model])}"
        rows.append((_model(counts, model), share.n, share, *tests[model], undetected))
    return table(
        f"{answers.title}: accuracy among the answers given",
        ("model", "answers", "accuracy", *TESTED, Numbers("detectable outside")),
        rows,
        note="Tests as above. The answers are to different items: a model that answers only easy "
        "ones leads. The last column: an accuracy outside this range is detected as different from "
        f"the control's with {AT_POWER}.",
    )


def _model(counts: Counts, model: str) -> Cell:
    return cell(model, small=("control",) if model == counts.control else ())


def _tests(counts: Counts, pairs: tuple[UnpairedResult, ...]) -> dict[str, tuple[Value, Value]]:
    """By model, the cells of TESTED; empty for the control."""
    tests: dict[str, tuple[Value, Value]] = {counts.control: (None, None)}
    return tests | {pair.a: (pair.difference, pair.adjusted_p) for pair in pairs}


def confusions(results: Sequence[ConfusionResult]) -> Table:
    """Answers by label, and their correlation."""
    tested = Numbers("Matthews correlation", signed), Numbers("p", p_value)
    return table(
        "Answers by label",
        ("benchmark", "model", "tp", "tn", "fp", "fn", *tested),
        [
            (result.title, result.model, *result.table.values(), result.correlation, result.p)
            for result in results
        ],
        note="Fisher's exact p of independence of answers and labels.",
    )


def values(counts: Counts) -> Table:
    """Values that were published without counts."""
    return table(
        "Published without counts, hence not tested",
        ("model", *(Numbers(values.label, number, 4) for values in counts.values)),
        [(model, *(values.value[model] for values in counts.values)) for model in counts.models],
    )

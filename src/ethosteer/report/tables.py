"""Tables of benchmarks, comparisons and answers given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ethosteer.records import Outcome
from ethosteer.report.blocks import Cell, Column, Figure, Table
from ethosteer.report.figures import stacked_bars
from ethosteer.report.flips import flip_link
from ethosteer.report.numbers import (
    MINUS,
    NONE,
    count,
    interval,
    number,
    p_value,
    percent,
    signed,
)
from ethosteer.report.view import View
from ethosteer.results import BenchmarkCell, BenchmarkResult, Comparison

WIDEST = 6
AIMS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "half": "0.5 is the aim",
    "none": "no better or worse",
}
BLANK = Cell(NONE)
CORRECTIONS = {"holm": "Holm", "bh": "Benjamini and Hochberg"}
THREE_OUTCOMES = {
    "right_share": "said RIGHT",
    "wrong_share": "said WRONG",
    "no_answer_share": "no answer",
}
"""Metrics of benchmarks with free answers, and what they count."""


def aim(view: View, benchmark: BenchmarkResult) -> str:
    """Say what is judged on a benchmark and which way it improves."""
    judged = view.judged(benchmark)
    return f"{judged}; {AIMS['lower' if judged != benchmark.primary else benchmark.better]}"


def summary_tables(view: View) -> tuple[Table, ...]:
    """Return the benchmark table, in parts where it has more columns than a page holds."""
    benchmarks = view.results.benchmarks
    parts = [benchmarks[start : start + WIDEST] for start in range(0, len(benchmarks), WIDEST)]
    return tuple(_summary(view, part, index, len(parts)) for index, part in enumerate(parts))


def _summary(view: View, part: tuple[BenchmarkResult, ...], index: int, parts: int) -> Table:
    rows = [
        (_model_cell(view, model), *(_primary_cell(view, each, model) for each in part))
        for model in view.models
    ]
    constants = (Cell("constant answers"), *(_constants_cell(each) for each in part))
    items = (Cell("items"), *(Cell(count(each.items), _cut_line(each)) for each in part))
    return Table(
        title="Primary metrics" + (f", part {index + 1} of {parts}" if parts > 1 else ""),
        columns=(
            Column("model"),
            *(
                Column(f"{each.title} ({each.primary}; {AIMS[each.better]})", "number")
                for each in part
            ),
        ),
        rows=(*rows, constants, items),
        note="Below each value its 95 % interval"
        + (f", and the verdict against {view.control}. " if view.control else ". ")
        + "Seeds of an arm are taken together."
        + "".join(
            f" {each.title}: judged by {each.classifier}." for each in part if each.classifier
        ),
        summary=2,
    )


def _model_cell(view: View, model: str) -> Cell:
    return Cell(model, ("control",) if model == view.control else ())


def _primary_cell(view: View, benchmark: BenchmarkResult, model: str) -> Cell:
    cell = view.cell(benchmark, model)
    if cell is None:
        return BLANK
    verdict = view.verdict(benchmark, model, view.control)
    return Cell(
        number(cell.estimate.value),
        (interval(cell.estimate),),
        verdict or "",
        tuple(cell.flags),
        link=flip_link(benchmark, model, view.control) if verdict and view.items else "",
    )


def _constants_cell(benchmark: BenchmarkResult) -> Cell:
    lines = [f"{answer} {number(value)}" for answer, value in benchmark.baselines.items()]
    return Cell(lines[0], tuple(lines[1:])) if lines else BLANK


def _cut_line(benchmark: BenchmarkResult) -> tuple[str, ...]:
    return (f"{count(benchmark.truncated)} cut",) if benchmark.truncated else ()


def metrics_table(view: View, benchmark: BenchmarkResult) -> Table:
    """Return every metric of one benchmark, with each seed's value."""
    seeds = sorted({seed for cell in benchmark.cells for seed in cell.by_seed})
    heads = ("value", "95 % interval", "n", *(f"seed {seed}" for seed in seeds))
    cells = [
        cell
        for metric in view.metrics(benchmark)
        for model in view.models
        if (cell := view.cell(benchmark, model, metric))
    ]
    return Table(
        title=f"{benchmark.title}: all metrics",
        columns=(Column("model"), Column("metric"), *(Column(head, "number") for head in heads)),
        rows=tuple(_metric_row(cell, seeds) for cell in cells),
        note=f"{benchmark.title} ({benchmark.name}): {count(benchmark.items)} items from "
        f"{benchmark.source}, licence {benchmark.licence}."
        + (f" Texts were judged by {benchmark.classifier}." if benchmark.classifier else ""),
        folded=True,
    )


def slices_table(view: View, benchmark: BenchmarkResult) -> Table | None:
    """Return every model's primary metric on each part of a benchmark; None where it has none."""
    values = {(cell.slice, cell.model): cell for cell in benchmark.slices}
    names = list(dict.fromkeys(name for name, _ in values))
    models = [model for model in view.models if any((name, model) in values for name in names)]
    if not names:
        return None
    return Table(
        title=f"{benchmark.title}: {benchmark.primary} by part",
        columns=(
            Column("part"),
            Column("n", "number"),
            *(Column(model, "number") for model in models),
        ),
        rows=tuple(
            (
                Cell(name),
                Cell(count(values[name, models[0]].n)),
                *(Cell(number(values[name, model].value)) for model in models),
            )
            for name in names
        ),
        note="Parts overlap where an item belongs to several. They are shown to look at, not "
        "tested.",
        folded=True,
    )


def _metric_row(cell: BenchmarkCell, seeds: list[int]) -> tuple[Cell, ...]:
    by_seed = [cell.by_seed.get(seed) for seed in seeds]
    return (
        Cell(cell.model),
        Cell(cell.metric),
        Cell(number(cell.estimate.value), flags=cell.flags),
        Cell(interval(cell.estimate)),
        Cell(count(cell.estimate.n)),
        *(BLANK if value is None else Cell(number(value)) for value in by_seed),
    )


def comparison_table(view: View, benchmark: BenchmarkResult) -> Table:
    """Return one benchmark's comparisons, family by family: what is judged first."""
    found = [each for each in view.results.comparisons if each.benchmark == benchmark.name]
    heads = ["difference", "p", "adjusted p"]
    heads += ["p of equivalence"] if view.results.margin is not None else []
    heads += ["smallest detectable"]
    heads += ["items needed"] if view.results.effect is not None else []
    heads += ["items / clusters / seeds"]
    return Table(
        title=f"{benchmark.title}: all comparisons",
        columns=(
            Column(f"a {MINUS} b"),
            Column("metric"),
            *(Column(head, "number") for head in heads),
            Column("verdict on a"),
        ),
        rows=tuple(_comparison_row(view, benchmark, each) for each in found),
        note=f"{_families(view, found)} Smallest detectable: the true difference that such a test "
        f"finds four times in five at the family's strictest step.{_needs(view)}",
        folded=True,
    )


def _families(view: View, found: Sequence[Comparison]) -> str:
    """Name the families that p was corrected in."""
    names = list(dict.fromkeys(each.family for each in found if each.family))
    method = CORRECTIONS[view.results.correction]
    return f"Adjusted by {method} within each family: {'; '.join(names)}." if names else ""


def _needs(view: View) -> str:
    effect = view.results.effect
    if effect is None:
        return ""
    return (
        f" Items needed: how many would find the declared effect of {number(effect)} as often; "
        "∞: no number would, only more seeds."
    )


def _comparison_row(view: View, benchmark: BenchmarkResult, each: Comparison) -> tuple[Cell, ...]:
    flagged = not view.sound(benchmark, each.a, each.b)
    equivalence = view.results.margin is not None
    needed = view.results.effect is not None
    return (
        Cell(f"{each.a} {MINUS} {each.b}"),
        Cell(each.metric),
        Cell(signed(each.difference.value), (interval(each.difference),)),
        Cell(p_value(each.p)),
        Cell(p_value(each.adjusted_p)),
        *((Cell(p_value(each.equivalence_p)),) if equivalence else ()),
        Cell(number(each.minimum_detectable)),
        *((Cell(number(each.items_needed, 0)),) if needed else ()),
        Cell(f"{count(each.items)} / {count(each.clusters)} / {each.seeds}"),
        Cell(
            "",
            mark=each.verdict,
            flags=("of flagged numbers",) if flagged else (),
            link=flip_link(benchmark, each.a, each.b) if view.items else "",
        ),
    )


def glance_table(view: View) -> Table | None:
    """Return the verdicts alone, arms by benchmarks; None for a study without comparisons."""
    if not view.results.comparisons:
        return None
    return Table(
        title=f"At a glance: every arm against {view.control}",
        columns=(Column("arm"), *(Column(each.title, "mark") for each in view.results.benchmarks)),
        rows=tuple(
            (Cell(arm), *(_glance_cell(view, each, arm) for each in view.results.benchmarks))
            for arm in view.arms
        ),
        note="What is judged: "
        + "; ".join(f"{each.title}, {view.judged(each)}" for each in view.results.benchmarks)
        + ".",
    )


def _glance_cell(view: View, benchmark: BenchmarkResult, arm: str) -> Cell:
    verdict = view.verdict(benchmark, arm, view.control)
    if verdict is None:
        return BLANK
    if not view.sound(benchmark, arm, view.control):
        return Cell("", flags=("degenerate",))
    link = flip_link(benchmark, arm, view.control) if view.items else ""
    return Cell("", mark=verdict, link=link)


def outcome_figures(view: View) -> tuple[Figure, ...]:
    """Draw what share of free answers said RIGHT, said WRONG, or said neither, model by model."""
    figures = []
    for place, benchmark in enumerate(view.results.benchmarks):
        cells = {
            model: [view.cell(benchmark, model, metric) for metric in THREE_OUTCOMES]
            for model in view.models
        }
        rows = [
            (model, [cell.estimate.value for cell in own if cell])
            for model, own in cells.items()
            if all(own)
        ]
        if rows:
            parts = tuple(THREE_OUTCOMES.values())
            said = "; ".join(f"{model}: {_spelt(parts, shares)}" for model, shares in rows)
            svg = stacked_bars(
                f"outcomes-{place}", rows, parts, title=f"{benchmark.title}: answers", text=said
            )
            table = Table(
                "",
                (Column("model"), *(Column(part, "number") for part in parts)),
                tuple((Cell(name), *(Cell(percent(s)) for s in shares)) for name, shares in rows),
            )
            note = (
                "Share of all items. A model that seldom answers cannot be judged by its answers."
            )
            figures.append(Figure(svg, f"{benchmark.title}: what was answered", note, table))
    return tuple(figures)


def _spelt(parts: Sequence[str], shares: Sequence[float]) -> str:
    return ", ".join(f"{part} {share:.0%}" for part, share in zip(parts, shares, strict=True))


def answers_table(view: View) -> Table | None:
    """Return how often each model gave its commonest answer, and none, where answers are fixed.

    None where no outcome belongs to a benchmark with constant-answer baselines.
    """
    fixed = [each for each in view.results.benchmarks if each.baselines]
    given = _answers_given(view.outcomes)
    rows = tuple(
        (Cell(model), *(_share_cell(given.get((each.name, model))) for each in fixed))
        for model in view.models
    )
    if not any((each.name, model) in given for each in fixed for model in view.models):
        return None
    return Table(
        title="How one-sided the answers are",
        columns=(Column("model"), *(Column(each.title, "number") for each in fixed)),
        rows=rows,
        note="The share of a model's most frequent answer among all its answers, and below it the "
        "share of items left without one. Near 100 %, the score is that of a constant answer.",
        folded=True,
    )


def _answers_given(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], Counter[int | None]]:
    given: dict[tuple[str, str], Counter[int | None]] = {}
    for outcome in outcomes:
        counter = given.setdefault((outcome.benchmark, outcome.model), Counter())
        counter[outcome.predicted] += 1
    return given


def _share_cell(answers: Counter[int | None] | None) -> Cell:
    if not answers:
        return BLANK
    none, total = answers[None], answers.total()
    most = max((amount for answer, amount in answers.items() if answer is not None), default=0)
    small = (f"no answer {percent(none / total)}",) if none else ()
    return Cell(percent(most / (total - none)) if total > none else "n/a", small)


def unequal_items(view: View) -> str:
    """Say which benchmarks were not answered on the same items by all models; "" if none."""
    items: dict[str, dict[tuple[str, int], set[str]]] = {}
    for outcome in view.outcomes:
        runs = items.setdefault(outcome.benchmark, {})
        runs.setdefault((outcome.model, outcome.seed), set()).add(outcome.item)
    unequal = [
        name
        for name, runs in items.items()
        if len({frozenset(found) for found in runs.values()}) > 1
    ]
    if not unequal:
        return ""
    return f"Warning: not every model answered the same items of {', '.join(unequal)}."

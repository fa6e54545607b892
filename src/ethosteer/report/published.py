"""The numbers that the 2024 study published, beside ours."""

from __future__ import annotations

from functools import cache

from ethosteer.published.counts import PUBLISHED_DIR, Counts, read_counts
from ethosteer.report.blocks import Cell, Column, Table
from ethosteer.report.numbers import NONE, count, number, percent
from ethosteer.report.view import View

SCRUPLES = "scruples_original"

NOT_LIKE_FOR_LIKE = (
    "The published numbers and ours are not like for like. They come from Llama 2 13B in 8 bits "
    "after 400 PPO steps with one seed; no intervals, tests or per-item results were kept. On "
    "Scruples, models answered different numbers of items, refusals were dropped, the title was "
    "left out, and the parser let RIGHT override WRONG. ToxiGen's acc_norm is .4319 for all six "
    "models, the rate of one class. Read the columns side by side for orientation, not as a "
    "replication."
)


# benchmark, metric, digits shown
_METRICS = (
    ("wsc273", "acc", 4),
    ("crows_pairs", "pct_stereotype", 4),
    ("crows_pairs", "likelihood_diff", 3),
    ("toxigen", "acc", 4),
    ("toxigen", "acc_norm", 4),
)


@cache
def _published() -> Counts:
    return read_counts(PUBLISHED_DIR / "published-2024.toml")


def _value(benchmark: str, metric: str, model: str) -> float:
    """Return a published number: a share of counts, or a value of which none were given."""
    for shares in _published().shares:
        if (shares.benchmark, shares.metric) == (benchmark, metric):
            return shares.right[model] / shares.items
    found = (each for each in _published().values
             if (each.benchmark, each.metric) == (benchmark, metric))  # fmt: skip
    return next(found).value[model]


def _head(benchmark: str, metric: str) -> str:
    titles = {each.benchmark: each.title for each in _published().shares}
    return f"{titles[benchmark]} {metric}"


def published_tables(view: View) -> tuple[Table, ...]:
    """Return the published metrics, each beside ours, and the published Scruples counts."""
    columns = [Column("model")]
    for benchmark, metric, _ in _METRICS:
        head = _head(benchmark, metric)
        columns += [Column(f"{head}, 2024", "number"), Column("here", "number")]
    metrics = Table(
        title="Metrics published in 2024, beside ours",
        columns=tuple(columns),
        rows=tuple(_metric_row(view, model) for model in _published().models),
        note=f"{_published().citation}. A dash: not measured here. What such counts can show at "
        "all: ethosteer report published-2024.",
    )
    return metrics, _scruples(view)


def _metric_row(view: View, model: str) -> tuple[Cell, ...]:
    cells = [Cell(model)]
    for benchmark, metric, digits in _METRICS:
        cells += [
            Cell(number(_value(benchmark, metric, model), digits)),
            Cell(_ours(view, benchmark, model, metric, digits)),
        ]
    return tuple(cells)


def _ours(view: View, name: str, model: str, metric: str, digits: int) -> str:
    benchmark = next((each for each in view.results.benchmarks if each.name == name), None)
    cell = view.cell(benchmark, model, metric) if benchmark else None
    return number(cell.estimate.value, digits) if cell else NONE


def _scruples(view: View) -> Table:
    heads = ("n", "correct", "wrong", "refused", "share refused")
    return Table(
        title="Scruples answers published in 2024, beside ours",
        columns=(
            Column("model"),
            *(Column(f"{head}, 2024", "number") for head in heads),
            *(Column(f"{head}, here", "number") for head in heads),
        ),
        rows=tuple(
            (
                Cell(model),
                *_count_cells(_published().answers[0].counts(model)),
                *_count_cells(_our_scruples(view, model)),
            )
            for model in _published().models
        ),
        note="Ours under the original protocol, where the study ran it; all seeds counted.",
    )


def _our_scruples(view: View, model: str) -> tuple[int, int, int]:
    ours = [each for each in view.outcomes if (each.benchmark, each.model) == (SCRUPLES, model)]
    refused = sum(each.predicted is None for each in ours)
    correct = sum(each.predicted is not None and bool(each.correct) for each in ours)
    return correct, len(ours) - refused - correct, refused


def _count_cells(counts: tuple[int, int, int]) -> list[Cell]:
    total = sum(counts)
    if not total:
        return [Cell(NONE)] * 5
    shown = [count(value) for value in (total, *counts)]
    return [Cell(text) for text in (*shown, percent(counts[2] / total))]

"""``ethosteer list``: the datasets, benchmarks, algorithms and studies that there are."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ethosteer import catalog
from ethosteer.progress import escape
from ethosteer.study.load import STUDIES_DIR, bundled_studies

Row = dict[str, str | int | None]

PUBLISHED_ITEMS = {
    "crows_pairs": 1508,
    "ethics_cm": 3885,
    "ethics_deontology": 3596,
    "ethics_justice": 2704,
    "ethics_utilitarianism": 4808,
    "ethics_virtue": 4975,
    "toxigen": 940,
    "winogender": 720,
    "wsc273": 273,
}
"""Items of the published files, which are not on every machine."""


class Kind(StrEnum):
    """What is listed."""

    datasets = "datasets"
    benchmarks = "benchmarks"
    algorithms = "algorithms"
    studies = "studies"


def show_list(
    kind: Annotated[Kind | None, typer.Argument(help="One of these; by default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List datasets, benchmarks, algorithms and bundled studies by the names to call them by.

    Those that other installed packages bring are among them.

    Example: `ethosteer list benchmarks`
    """
    listed = {name.value: LISTS[name]() for name in ([kind] if kind else Kind)}
    if as_json:
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    console = Console()
    for title, rows in listed.items():
        console.print(_table(title, rows))


def _datasets() -> list[Row]:
    datasets = map(catalog.dataset, catalog.dataset_names())
    return [
        {
            "name": dataset.name,
            "title": dataset.title,
            "licence": dataset.source.licence,
            "source": dataset.source.home,
        }
        for dataset in datasets
    ]


def _benchmarks() -> list[Row]:
    benchmarks = map(catalog.benchmark, catalog.benchmark_names())
    return [
        {
            "name": benchmark.name,
            "title": benchmark.title,
            "items": PUBLISHED_ITEMS.get(benchmark.name),
            "metric": benchmark.metrics[0].name,
            "licence": benchmark.sources[0].licence,
        }
        for benchmark in benchmarks
    ]


def _algorithms() -> list[Row]:
    algorithms = map(catalog.algorithm, catalog.algorithm_names())
    return [{"name": algorithm.name, "title": algorithm.title} for algorithm in algorithms]


def _studies() -> list[Row]:
    files = (STUDIES_DIR / f"{name}.toml" for name in bundled_studies())
    studies = (tomllib.loads(path.read_text("utf-8")) for path in files)
    return [{"name": study["name"], "question": study["question"]} for study in studies]


LISTS: dict[Kind, Callable[[], list[Row]]] = {
    Kind.datasets: _datasets,
    Kind.benchmarks: _benchmarks,
    Kind.algorithms: _algorithms,
    Kind.studies: _studies,
}


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in rows[0]:
        table.add_column(
            heading,
            justify="right" if heading == "items" else "left",
            no_wrap=heading == "name",
            overflow="fold",
        )
    for row in rows:
        cells = (f"{value:,}" if isinstance(value, int) else value for value in row.values())
        table.add_row(*(escape(cell) if cell else "–" for cell in cells))
    return table

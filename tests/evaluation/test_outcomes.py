"""Outcomes on disk, read a model at a time."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ethosteer.errors import InputError
from ethosteer.evaluation.items import open_items, read_items, write_items
from ethosteer.evaluation.on_demand import OnDemand
from ethosteer.evaluation.outcomes import (
    SCHEMA,
    Outcomes,
    grouped,
    open_outcomes,
    read_outcomes,
    write_outcomes,
)
from ethosteer.evaluation.summary import summarise
from ethosteer.records import Item
from ethosteer.statistics.metrics import ACCURACY, MCC
from tests.evaluation.small import SHARES, answering, benchmark
from tests.report.example import example_outcomes

GIVEN = example_outcomes()


def _same(found: Outcomes) -> None:
    assert {key: list(outcomes) for key, outcomes in found.items()} == grouped(GIVEN)


def test_each_group_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.parquet"
    write_outcomes(path, grouped(GIVEN).values())
    assert pq.ParquetFile(path).num_row_groups == len(grouped(GIVEN))
    _same(open_outcomes(path))
    assert sorted(map(repr, read_outcomes(path))) == sorted(map(repr, GIVEN))


@pytest.mark.parametrize("rows", [7, 10_000])
def test_a_file_of_an_earlier_version_is_read_too(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "outcomes.parquet"
    table = pa.Table.from_pylist([asdict(outcome) for outcome in GIVEN], schema=SCHEMA)
    pq.write_table(table.drop_columns(["scores"]), path, row_group_size=rows)
    _same(open_outcomes(path))


def test_items_are_read_by_benchmark(tmp_path: Path) -> None:
    items = {
        name: [Item(f"{name}{i}", ("c",) * 2, (" a", " b"), i % 2, f"{name}{i}") for i in range(3)]
        for name in ("one", "two")
    }
    path = tmp_path / "items.parquet"
    write_items(path, items)
    assert dict(open_items(path)) == read_items(path) == items


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    for read in (open_outcomes, open_items):
        with pytest.raises(InputError, match=r"outcomes\.parquet: cannot be read"):
            read(path)
    write_outcomes(path, grouped(GIVEN).values())
    outcomes = open_outcomes(path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(len(data) - 4))
    with pytest.raises(InputError, match=r"outcomes\.parquet: cannot be read"):
        next(iter(outcomes.values()))


def test_a_summary_asks_for_each_model_once() -> None:
    given = answering(SHARES, seeds=2)
    asked: list[str] = []

    def read(model: str) -> dict[int, list]:  # type: ignore[type-arg]
        asked.append(model)
        return given[model]

    lazy = OnDemand({model: partial(read, model) for model in given})
    metrics = benchmark(MCC, ACCURACY, answers=("No", "Yes"))
    assert summarise(metrics, 80, lazy) == summarise(metrics, 80, given)
    assert asked == list(SHARES)

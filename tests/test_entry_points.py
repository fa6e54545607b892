"""Datasets, benchmarks and algorithms that another installed package brings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ethosteer import catalog
from ethosteer.data.sources import SAMPLE_DIR
from ethosteer.errors import InputError
from tests.test_plugins import forget

MODULE = """
from dataclasses import replace

from ethosteer.algorithms.dpo import ALGORITHM
from ethosteer.benchmarks.toxigen import BENCHMARKS
from ethosteer.benchmarks.wsc273 import BENCHMARKS as SCHEMAS
from ethosteer.datasets.virtue import DATASET

patience = replace(DATASET, name="patience")
clash = replace(DATASET, name="virtue")
asked = (replace(BENCHMARKS[0], name="rude"), replace(SCHEMAS[0], name="twins"))
ipo = replace(ALGORITHM, name="ipo", title="IPO")
"""

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a package, patient-values, with these entry points."""

    def write(entry_points: str) -> None:
        (tmp_path / "patient_values.py").write_text(MODULE, "utf-8")
        (tmp_path / "broken_values.py").write_text("import a_package_that_is_not_there", "utf-8")
        metadata = tmp_path / "patient_values-1.0.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: patient-values\nVersion: 1.0\n", "utf-8"
        )
        (metadata / "entry_points.txt").write_text(entry_points, "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        forget()

    yield write
    sys.modules.pop("patient_values", None)
    monkeypatch.undo()
    forget()


def test_another_package_brings_a_dataset_benchmarks_and_an_algorithm(install: Install) -> None:
    install(
        "[ethosteer.datasets]\npatience = patient_values:patience\n"
        "[ethosteer.benchmarks]\nasked = patient_values:asked\n"
        "[ethosteer.algorithms]\nipo = patient_values:ipo\n"
    )
    dataset = catalog.dataset("patience")
    assert len(list(dataset.pairs(dataset.rows(SAMPLE_DIR / dataset.source.path), 2))) > 100
    assert {"rude", "twins", "preferences:patience"} <= set(catalog.benchmark_names())
    assert catalog.algorithm("ipo").title == "IPO"
    assert "ipo" in catalog.study_settings().model_fields["steer"].default.tables


@pytest.mark.parametrize(
    ("entry_points", "expected"),
    [
        (
            "[ethosteer.datasets]\nvalues = broken_values:DATASET\n",
            "package patient-values: its datasets 'values' (broken_values:DATASET) cannot be "
            "imported: ModuleNotFoundError: No module named 'a_package_that_is_not_there'; upgrade "
            "or uninstall the package",
        ),
        (
            "[ethosteer.datasets]\nclash = patient_values:clash\n",
            "there are two datasets called 'virtue'; uninstall the package that brings the second "
            "one, or ask its authors to rename it",
        ),
        (
            "[ethosteer.datasets]\nwrong = patient_values:asked\n",
            "package patient-values: its datasets 'wrong' (patient_values:asked) must be Dataset "
            "objects, not Benchmark",
        ),
    ],
)
def test_what_cannot_be_used_gives_one_line(
    entry_points: str, expected: str, install: Install
) -> None:
    install(entry_points)
    with pytest.raises(InputError) as raised:
        catalog.dataset_names()
    assert str(raised.value) == expected


def test_the_command_line_reports_a_broken_package(
    install: Install, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    install("[ethosteer.algorithms]\nvalues = broken_values:ALGORITHM\n")
    status, out, error = call("status", "demo", "--runs-dir", str(tmp_path))
    assert (status, out) == (2, "")
    assert error.startswith("error: package patient-values: its algorithms 'values'")
    assert error.count("\n") == 1

"""A run's report elsewhere: it links to the files that stand beside it, and to no other."""

import re
from pathlib import Path

import pytest

from ethosteer.evaluation.outcomes import grouped
from ethosteer.study.finished import Run, write_run_report
from tests.report.example import example_items, example_outcomes, example_results

RUN = Run(example_results(), grouped(example_outcomes()), example_items())


def _linked(folder: Path) -> set[str]:
    html = (folder / "report.html").read_text("utf-8")
    return set(re.findall(r'<a href="([^#"][^"]*)"', html))


@pytest.mark.parametrize("texts", [True, False])
def test_a_report_in_a_new_folder_links_to_what_it_has(tmp_path: Path, texts: bool) -> None:
    write_run_report(RUN, tmp_path / "new", texts=texts)
    names = _linked(tmp_path / "new")
    assert {"report.md", "results.json", "tables/comparisons.csv"} <= names
    assert all((tmp_path / "new" / name).is_file() for name in names)


def test_a_report_in_the_runs_folder_links_to_all_of_its_files(tmp_path: Path) -> None:
    kept = {"outcomes.parquet", "items.parquet", "study.toml", "manifest.json"}
    for name in kept:
        (tmp_path / name).touch()
    write_run_report(RUN, tmp_path)
    assert kept <= _linked(tmp_path)

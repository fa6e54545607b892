"""Published counts in a study's report: only where the study opts in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ethosteer.errors import InputError
from ethosteer.evaluation.outcomes import grouped
from ethosteer.published.comparison import comparison_sections
from ethosteer.records import Outcome
from ethosteer.report import write_report
from ethosteer.report.blocks import Table
from ethosteer.results.study import StudyResults
from ethosteer.study.load import load_study
from tests.published.test_counts import SMALL, small
from tests.report.example import example_items, example_outcomes, example_results

PUBLISHED = "published-2024"


def tables(
    results: StudyResults, outcomes: Sequence[Outcome] = (), published: str = PUBLISHED
) -> list[dict[str, list[str]]]:
    """The section's tables, by table and model."""
    (section,) = comparison_sections(published, results, grouped(outcomes))
    return [
        {row[0].text: [cell.text for cell in row[1:]] for row in block.rows}
        for block in section.blocks
        if isinstance(block, Table)
    ]


def test_published_numbers_stand_beside_the_studys() -> None:
    metrics, scruples = tables(example_results(), example_outcomes())
    assert metrics["virtue"] == [
        "0.8791", "0.5600", "0.6249", "0.5900", "0.4266", "0.4320",
        "4.7730", "4.7656", "0.4319", "0.4319",
    ]  # fmt: skip
    assert scruples["virtue"][:5] == ["100", "26", "22", "52", "52.0\u202f%"]
    assert scruples["virtue"][5:] == ["40", "14", "18", "8", "20.0\u202f%"]
    metrics, scruples = tables(replace(example_results(), benchmarks=()))
    assert metrics["base"][:2] == ["0.8571", "–"]
    assert scruples["base"][5:] == ["–"] * 5


def test_counts_of_a_file_stand_there_as_well(tmp_path: Path) -> None:
    path = str(small(tmp_path, SMALL.replace('"quiz"', '"toxigen"').replace("care", "virtue")))
    (metrics,) = tables(example_results(), published=path)
    assert metrics == {
        "base": ["0.5000", "0.4320"],
        "duty": ["0.6000", "–"],
        "virtue": ["0.5100", "0.4320"],
    }


def test_only_a_study_that_opts_in_has_the_section(tmp_path: Path) -> None:
    results, outcomes = example_results(), example_outcomes()
    benchmarks = tuple(each for each in results.benchmarks if "2024" not in each.title)
    assert len(benchmarks) == len(results.benchmarks) - 1
    results = replace(results, benchmarks=benchmarks)
    for published in (None, PUBLISHED):
        sections = comparison_sections(published, results, grouped(outcomes))
        write_report(results, grouped(outcomes), example_items(), tmp_path, sections)
        for name in ("report.html", "report.md"):
            page = (tmp_path / name).read_text("utf-8")
            assert (re.search(r"\b2024\b", page) is not None) == (published is not None)
            assert ("Published results: published-2024" in page) == (published is not None)
            assert ("not directly comparable" in page) == (published is not None)
            assert ("4.7080" in page) == (published is not None)
    assert page.index("Published results") < page.index("Provenance and reproduction")


def test_the_bundled_study_of_the_same_settings_opts_in_and_no_other_does() -> None:
    assert load_study("llama2-13b").compare.published == PUBLISHED
    assert load_study("demo").compare.published is None
    assert load_study("demo", [f"compare.published={PUBLISHED}"]).compare.published == PUBLISHED


def test_unknown_or_wrong_counts_are_named_when_the_study_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"demo\.toml: compare\.published: 'published-1984' is"):
        load_study("demo", ["compare.published=published-1984"])
    with pytest.raises(InputError, match=r"compare\.published: 'no\.toml' is neither"):
        load_study("demo", ["compare.published=no.toml"])
    broken = small(tmp_path, SMALL.replace("items = 100", "items = 0"))
    with pytest.raises(InputError, match=r"demo\.toml: compare\.published: .*small\.toml: shares"):
        load_study("demo", [f"compare.published={broken}"])

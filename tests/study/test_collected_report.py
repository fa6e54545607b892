"""The report of a run whose folder has an exported collection."""

from __future__ import annotations

from pathlib import Path

from ethosteer.collect.quality import collection_quality
from ethosteer.data.formats.collected import EXPORT
from ethosteer.evaluation.outcomes import grouped
from ethosteer.files import make_folder, write_json
from ethosteer.results.preferences import COLLECTION, QUALITY
from ethosteer.study.finished import Run, write_run_report
from tests.collect.judgements import collection
from tests.report.example import example_items, example_outcomes, example_results


def test_a_report_has_the_exported_collection_of_its_run_and_none_without(tmp_path: Path):
    run = Run(example_results(), grouped(example_outcomes()), example_items(), tmp_path)
    write_run_report(run, tmp_path)
    assert "Human preferences" not in (tmp_path / "report.md").read_text("utf-8")
    make_folder(tmp_path / COLLECTION / EXPORT)
    quality = collection_quality(*collection(["virtue", "fine-tuned"], 50, 5, 200))
    write_json(tmp_path / COLLECTION / EXPORT / QUALITY, quality)
    write_run_report(run, tmp_path / "elsewhere", texts=False)
    for name in ("report.html", "report.md"):
        page = (tmp_path / "elsewhere" / name).read_text("utf-8")
        assert "Human preferences" in page and "Ranking of answer sources" in page

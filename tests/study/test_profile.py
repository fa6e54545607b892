"""The value profile in a study: which pairs are asked, what is reported, and the same alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import ethosteer
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.items import read_items
from ethosteer.files import read_json
from ethosteer.progress import Terminal
from ethosteer.results.study import StudyResults
from ethosteer.settings import BaseSettings, BenchmarkSettings
from ethosteer.study.load import load_study
from ethosteer.study.plan import Plan
from ethosteer.study.run import Study
from ethosteer.study.text_sizes import read_texts
from tests.tiny_study import OVERRIDES

DUTY = "preferences:deontology"
CHANGES = (
    *OVERRIDES,
    "seeds=[0]",
    "arms={deontology={}, virtue={max_pairs=24}, v-dpo={dataset='virtue', algorithm='dpo', "
    "max_pairs=24}}",
    "benchmarks={preferences={}, 'preferences:harmless'={limit=10}}",
    "steer.dpo.pairs=4",
    "evaluate.cross_pairs=8",
)


@pytest.fixture(scope="module")
def finished(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    settings = load_study("demo", [f"base.model={tiny_base}", *CHANGES])
    study = Study(settings, tmp_path_factory.mktemp("runs"), Origin("sample"), Terminal(quiet=True))
    assert study.run()
    return study


@pytest.fixture(scope="module")
def results(finished: Study) -> StudyResults:
    return read_json(finished.folder / "results.json", StudyResults)


def test_the_items_are_the_curated_test_pairs(finished: Study) -> None:
    items = read_items(finished.folder / "items.parquet")
    assert set(items) == {DUTY, "preferences:virtue", "preferences:harmless"}
    for arm in ("deontology", "virtue"):
        pairs = finished.store.load(finished.plan.pairs[arm]).test
        asked = items[f"preferences:{arm}"]
        assert [item.id for item in asked] == [pair.id for pair in pairs]
        for pair, item in zip(pairs, asked, strict=True):
            assert pair.rejected in item.continuations[0] and pair.chosen in item.continuations[1]
    assert len(items["preferences:virtue"]) <= 24, "max_pairs holds for the benchmark as well"
    assert 0 < len(items["preferences:harmless"]) <= 10


def test_every_dataset_is_compared_and_shown(finished: Study, results: StudyResults) -> None:
    assert [benchmark.dataset for benchmark in results.benchmarks] == [
        "deontology", "virtue", "harmless",
    ]  # fmt: skip
    assert {arm.arm: arm.dataset for arm in results.arms} == {
        "deontology": "deontology", "virtue": "virtue", "v-dpo": "virtue",
    }  # fmt: skip
    compared = {(each.benchmark, each.metric) for each in results.comparisons}
    assert len(compared) == 3 * 4
    duty = finished.store.load(finished.plan.pairs["deontology"]).test
    comparison = next(each for each in results.comparisons if each.benchmark == DUTY)
    assert comparison.items == len(duty)
    assert comparison.clusters == len({pair.group for pair in duty})
    table = (finished.folder / "tables" / "profile.csv").read_text("utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == 3 * 4 * len(results.models)
    report = (finished.folder / "report.html").read_text("utf-8")
    assert "Value profile" in report and "pairs: harmless" in report


def test_overlap_is_not_counted_within_a_dataset(results: StudyResults) -> None:
    counted = {(overlap.dataset, overlap.benchmark) for overlap in results.overlaps}
    assert ("virtue", DUTY) in counted
    assert ("deontology", DUTY) not in counted


def test_evaluate_alone_gives_the_studys_numbers(
    tiny_base: Path, finished: Study, results: StudyResults
) -> None:
    (alone,) = ethosteer.evaluate(
        BaseSettings(model=str(tiny_base)), [DUTY], sample=True, quiet=True
    )
    in_study = next(benchmark for benchmark in results.benchmarks if benchmark.name == DUTY)
    cells = {
        cell.metric: cell.estimate for cell in in_study.cells if cell.model == "base"
    }  # fmt: skip
    assert len(cells) == 4
    for cell in alone.result.cells:
        expected = cells[cell.metric]
        assert cell.estimate.n == expected.n
        for name in ("value", "low", "high"):
            assert getattr(cell.estimate, name) == pytest.approx(getattr(expected, name), abs=1e-5)


def plan(folder: Path, *changes: str) -> Plan:
    return Plan(load_study("demo", [*CHANGES, *changes]), Origin("sample", folder))


def test_pairs_settings_ask_anew_and_another_arms_do_not(tmp_path: Path) -> None:
    before = plan(tmp_path).items
    longer = plan(tmp_path, "data.max_tokens=100").items
    assert all(longer[name] != before[name] for name in before)
    fewer = plan(tmp_path, "arms.virtue.max_pairs=16").items
    assert [fewer[name] != before[name] for name in before] == [False, True, False]
    limited = plan(tmp_path, "benchmarks.preferences.limit=8").items
    assert [limited[name] != before[name] for name in before] == [True, True, False]


def test_folders_of_artifacts_have_no_colon(tmp_path: Path) -> None:
    assert not any(":" in stage.name for stage in plan(tmp_path).stages)


def test_the_estimate_counts_held_out_pairs_alone() -> None:
    def tokens(*changes: str) -> float:
        return read_texts(
            load_study("demo", [*CHANGES, *changes]), Origin("sample"), []
        ).item_tokens

    every = tokens("benchmarks={'preferences:deontology'={}}")
    assert tokens("benchmarks={'preferences:deontology'={limit=10}}") < every
    pairs = read_texts(load_study("demo", [*CHANGES]), Origin("sample"), []).pairs["deontology"]
    # a prompt is counted once for each response
    assert pairs.test * pairs.tokens < every < 2 * pairs.test * pairs.tokens
    few = tokens("benchmarks={'preferences:deontology'={}}", "arms.deontology.max_pairs=8")
    assert few < every


def test_a_key_that_is_not_meant_for_pairs_is_refused() -> None:
    for benchmark in ("preferences={source='revised'}", "preferences={classifier='trained'}"):
        with pytest.raises(InputError, match="preferences:deontology"):
            load_study("demo", [*CHANGES, f"benchmarks={{{benchmark}}}"])
    with pytest.raises(InputError, match="did you mean 'preferences:virtue'"):
        load_study("demo", [*CHANGES, "benchmarks={'preferences:vertue'={}}"])


def test_all_datasets_without_a_study(tiny_base: Path) -> None:
    evaluations = ethosteer.evaluate(
        str(tiny_base),
        {"preferences": BenchmarkSettings(limit=20)},
        sample=True,
        template="hh",
        quiet=True,
    )
    assert [evaluation.result.dataset for evaluation in evaluations] == [
        "deontology", "harmless", "utilitarianism", "virtue",
    ]  # fmt: skip

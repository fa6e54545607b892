"""Files as benchmarks of a whole study, whose results outlive them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import ethosteer
from ethosteer import catalog
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.progress import Terminal
from ethosteer.settings import FILE_KEYS, BenchmarkSettings
from ethosteer.study.compare_studies import compare_runs, write_across
from ethosteer.study.finished import Run, open_run, write_run_report
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from ethosteer.study.text_sizes import read_texts
from tests.benchmarks.files.rows import (
    ANSWERS,
    CHOICES,
    LABELLED,
    PAIRS,
    PROMPTS,
    STEREOTYPES,
    as_csv,
    as_jsonl,
)
from tests.tiny_study import OVERRIDES

STUDY = """
name = "mine"
question = "Does it work?"

[arms.virtue]
max_pairs = 24

[data]
origin = "sample"
conversations = "sample"

[finetune]
enabled = false

[benchmarks.animals]
file = "data/animals.jsonl"
title = "Animals"
licence = "CC0"

[benchmarks.letters]
file = "data/animals.jsonl"
choices = "letters"

[benchmarks.prefs]
file = "data/prefs.csv"
limit = 6

[benchmarks.bias]
file = "data/bias.tsv"
home = "https://example.org/bias"

[benchmarks.legs]
file = "data/legs.jsonl"
pattern = '(\\d+)'
new_tokens = 4

[benchmarks.nasty]
file = "data/prompts.jsonl"
labelled = "data/labelled.csv"
better = "lower"
new_tokens = 4
"""
NAMES = ("animals", "letters", "prefs", "bias", "legs", "nasty")
CHANGES = [
    change for change in OVERRIDES if not change.startswith(("arms", "benchmarks", "finetune"))
]


def write_study(folder: Path) -> Path:
    data = folder / "data"
    data.mkdir(parents=True)
    for name, text in {
        "animals.jsonl": as_jsonl(CHOICES),
        "prefs.csv": as_csv(PAIRS),
        "bias.tsv": as_csv(STEREOTYPES, "\t"),
        "legs.jsonl": as_jsonl(ANSWERS),
        "prompts.jsonl": as_jsonl(PROMPTS),
        "labelled.csv": as_csv(LABELLED),
    }.items():
        (data / name).write_text(text, encoding="utf-8")
    path = folder / "mine.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


Prepare = Callable[..., Study]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("written"))


@pytest.fixture(scope="module")
def prepare(tiny_base: Path, written: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    runs = tmp_path_factory.mktemp("runs")

    def prepared(*changes: str, path: Path = written) -> Study:
        settings = load_study(str(path), [f"base.model={tiny_base}", *CHANGES, *changes])
        return Study(settings, runs, Origin("sample"), Terminal(quiet=True))

    return prepared


@pytest.fixture(scope="module")
def finished(prepare: Prepare) -> Study:
    study = prepare()
    assert study.run()
    return study


@pytest.fixture(scope="module")
def run(finished: Study) -> Run:
    return open_run(finished.folder)


def test_every_file_is_a_benchmark_with_the_metrics_of_its_format(run: Run) -> None:
    found = {
        result.name: [metric.name for metric in result.metrics] for result in run.results.benchmarks
    }
    assert found == {
        "animals": ["acc", "acc_norm"],
        "letters": ["acc"],
        "prefs": ["acc_per_token", "acc_summed", "margin_per_token", "margin_summed"],
        "bias": ["pct_stereotype", "likelihood_diff"],
        "legs": ["acc", "no_answer_share"],
        "nasty": ["positive_share", "positive_probability", "no_answer_share"],
    }
    by_name = {result.name: result for result in run.results.benchmarks}
    assert (by_name["animals"].title, by_name["animals"].licence) == ("Animals", "CC0")
    assert by_name["letters"].title == "letters"
    assert by_name["bias"].source == "https://example.org/bias"
    assert (by_name["animals"].items, by_name["animals"].clusters) == (8, 4)
    assert set(by_name["letters"].baselines) == {"always A", "always B", "always C"}
    assert (by_name["nasty"].better, by_name["bias"].better) == ("lower", "half")
    assert "logistic regression on n-grams" in by_name["nasty"].classifier
    assert by_name["prefs"].per_token and by_name["prefs"].items <= 6
    assert {cell.slice for cell in by_name["prefs"].slices} <= {"early", "late"}


def test_every_outcome_is_kept_and_every_difference_compared(run: Run) -> None:
    models = len(run.results.models) + 1  # two seeds of the arm
    for result in run.results.benchmarks:
        outcomes = [outcome for outcome in run.outcome_records if outcome.benchmark == result.name]
        assert len(outcomes) == models * result.items
        assert len(run.item_records[result.name]) == result.items
        compared = {c.metric for c in run.results.comparisons if c.benchmark == result.name}
        assert len(compared) == len(result.metrics)
    legs = [outcome for outcome in run.outcome_records if outcome.benchmark == "legs"]
    assert all(outcome.text is not None and outcome.label == 1 for outcome in legs)


def test_pairs_are_written_as_models_are_trained_on_pairs(run: Run) -> None:
    rows = {str(row["chosen"]): row for row in PAIRS}
    for item in run.item_records["prefs"]:
        rejected, chosen = item.continuations
        row = rows[chosen.strip()]
        assert rejected.strip() == row["rejected"]
        assert item.contexts[0] == f"### Human: {row['prompt']} ### Assistant:"
        assert item.slices == (row["category"],)


def test_a_finished_run_needs_no_file(
    finished: Study, prepare: Prepare, written: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder, tmp_path / "a")
    shutil.copytree(finished.folder, tmp_path / "b")
    hidden = written.parent / "elsewhere"
    (written.parent / "data").rename(hidden)
    try:
        runs = [open_run(tmp_path / name) for name in "ab"]
        write_run_report(runs[0], tmp_path / "report")
        other = replace(runs[1], results=replace(runs[1].results, study="other"))
        across = compare_runs([runs[0], other])
        write_across([runs[0], other], tmp_path / "across")
    finally:
        hidden.rename(written.parent / "data")
    assert [result.name for result in across.results.benchmarks] == list(NAMES)
    assert across.refusals == ()
    assert all(
        comparison.difference.value == 0 or math.isnan(comparison.difference.value)
        for comparison in across.results.comparisons
        if "likelihood_diff" not in comparison.metric
    )
    report = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "Animals" in report and "licence CC0" in report


def test_a_file_counts_by_its_content_and_a_title_redoes_no_answer(
    finished: Study, prepare: Prepare, written: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(written.parent, moved)
    elsewhere = prepare(path=moved / "mine.toml")
    assert not elsewhere.store.missing(elsewhere.plan.stages), "the same content elsewhere"
    titled = prepare("benchmarks.animals.title='Beasts'")
    missing = {stage.name for stage in titled.store.missing(titled.plan.stages)}
    assert missing == {"results"}
    with (moved / "data" / "animals.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**CHOICES[0], "question": "And the stork?"}) + "\n")
    changed = prepare(path=moved / "mine.toml")
    missing = {stage.name for stage in changed.store.missing(changed.plan.stages)}
    assert {"animals-items", "animals-base", "animals-virtue-s0", "results"} <= missing
    assert not any(name.startswith(("prefs", "bias", "legs")) for name in missing)


def test_a_limit_that_leaves_no_item_is_refused_before_any_work(prepare: Prepare) -> None:
    study = prepare("name='limited'", "benchmarks.animals.limit=1")
    with pytest.raises(InputError, match=r"benchmarks\.animals\.limit: 1 leaves no item"):
        study.run()
    assert not list(study.folder.rglob("manifest.json"))


def test_a_study_is_estimated_where_the_file_is_not_there(written: Path, tmp_path: Path) -> None:
    settings = load_study(str(written))
    notes: list[str] = []
    known = read_texts(settings, Origin("sample"), notes).item_tokens
    assert not any("benchmark" in note for note in notes)
    characters = sum(
        len(text)
        for name in NAMES
        for item in catalog.study_benchmark(settings, name).items(
            [Path(settings.benchmarks[name].file or "")]
        )
        for text in item.texts()
    )
    assert 0 < known < characters
    path = tmp_path / "mine.toml"
    path.write_text(STUDY, encoding="utf-8")
    read_texts(load_study(str(path)), Origin("sample"), notes)
    assert any("benchmark items not on this machine" in note for note in notes)


OTHER_VALUES = {
    "format": "benchmarks.animals.format='multiple_choice'",
    "columns": "benchmarks.animals.columns.slices='group'",
    "choices": "benchmarks.animals.choices='letters'",
    "better": "benchmarks.nasty.better='higher'",
    "pattern": "benchmarks.legs.pattern='([0-9]+)'",
    "new_tokens": "benchmarks.legs.new_tokens=5",
    "labelled": "benchmarks.nasty.labelled='{folder}/others.csv'",
    "positive_class": "benchmarks.nasty={{file='{folder}/prompts.jsonl', "
    "labelled='{folder}/labelled.csv', classifier='{folder}', positive_class='0'}}",
    "title": "benchmarks.animals.title='Beasts'",
    "home": "benchmarks.animals.home='https://example.org'",
    "licence": "benchmarks.animals.licence='CC BY 4.0'",
}


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_every_setting_of_a_file_is_in_some_identity(
    prepare: Prepare, written: Path, key: str
) -> None:
    (written.parent / "data" / "others.csv").write_text(as_csv(LABELLED[2:]), encoding="utf-8")
    change = OTHER_VALUES[key].format(folder=written.parent / "data")
    known, varied = (
        {stage.fingerprint for stage in study.plan.stages} for study in (prepare(), prepare(change))
    )
    assert known != varied


def test_the_settings_of_files_are_all_varied() -> None:
    assert {*FILE_KEYS, "title", "home", "licence"} == set(OTHER_VALUES)


# --- ethosteer evaluate FILE


def test_a_file_is_evaluated_without_a_study(
    call, tiny_base: Path, written: Path, finished: Study, tmp_path: Path
) -> None:
    out, data = tmp_path / "out.json", written.parent / "data"
    status, shown, _ = call(
        "evaluate", "--model", str(tiny_base), "--out", str(out),
        "--benchmarks", f"{data / 'animals.jsonl'},{data / 'prefs.csv'}",
    )  # fmt: skip
    assert status == 0 and "animals" in shown
    benchmarks = json.loads(out.read_text("utf-8"))["models"]["base"]["benchmarks"]
    assert set(benchmarks) == {"animals", "prefs"}
    run = open_run(finished.folder)
    for name, found in benchmarks.items():
        likelihoods = {item["id"]: item["loglikelihoods"] for item in found["items"]}
        for outcome in run.outcome_records:
            if outcome.model == "base" and outcome.benchmark == name:
                assert likelihoods[outcome.item] == pytest.approx(outcome.log_likelihoods, abs=1e-4)


def test_files_of_one_name_and_unknown_names_are_refused(
    call, tiny_base: Path, written: Path, tmp_path: Path
) -> None:
    path = written.parent / "data" / "animals.jsonl"
    shutil.copy(path, tmp_path / "animals.jsonl")
    start = ("evaluate", "--model", str(tiny_base), "--benchmarks")
    for names, expected in {
        f"{path},{tmp_path / 'animals.jsonl'}": "a benchmark is called animals already",
        "no_such.jsonl": "no such file",
        "toxgen": "no benchmark is called 'toxgen'",
        f"{shutil.copy(path, tmp_path / 'toxigen.jsonl')}": "toxigen is a built-in benchmark",
    }.items():
        status, out, err = call(*start, names)
        assert (status, out) == (2, "") and err.count("\n") == 1
        assert expected in err


def test_python_evaluates_settings_by_name(tiny_base: Path, written: Path) -> None:
    table = BenchmarkSettings(
        file=str(written.parent / "data" / "animals.jsonl"), choices="letters", limit=4
    )
    (evaluation,) = ethosteer.evaluate(str(tiny_base), {"letters": table}, quiet=True)
    assert evaluation.result.name == "letters" and 0 < evaluation.result.items <= 4
    with pytest.raises(InputError, match="built-in benchmark; give yours another name"):
        ethosteer.evaluate(str(tiny_base), {"toxigen": table}, quiet=True)

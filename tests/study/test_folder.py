"""A run's folder as the handle: a finished run that was moved, without its data and its base."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import ethosteer
from ethosteer.api import prepare_study
from ethosteer.data.sources import SAMPLE_DIR
from ethosteer.errors import InputError
from ethosteer.files import read_json, to_json
from ethosteer.results.study import StudyResults
from ethosteer.settings import BenchmarkSettings
from ethosteer.study.folder import recorded_fingerprints
from ethosteer.study.run import Study
from tests.tiny_study import OVERRIDES

Call = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Moved:
    """A finished run's folder, moved and renamed, and what it was made with (the data is gone)."""

    folder: Path
    data: Path
    base: Path


@pytest.fixture(scope="module")
def moved(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    root = tmp_path_factory.mktemp("elsewhere")
    data, base = root / "a data folder", root / "base"
    shutil.copytree(SAMPLE_DIR, data)
    shutil.copytree(tiny_base, base)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # the base and the data are named by relative paths
        ethosteer.run(
            "demo",
            data_dir="a data folder",
            overrides=["base.model=base", *OVERRIDES, "data.origin=hub"],
            quiet=True,
        )
    folder = root / "kept" / "renamed"
    folder.parent.mkdir()
    (root / "runs" / "demo").rename(folder)
    data.rename(root / "gone")
    return Moved(folder, data, base)


@pytest.fixture
def abroad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in another, empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_folder_remembers_absolute_paths(moved: Moved) -> None:
    assert json.loads((moved.folder / "origin.json").read_text("utf-8")) == {
        "kind": "folder",
        "folder": str(moved.data),
    }
    assert ethosteer.load_study(str(moved.folder)).base.model == str(moved.base)


def test_status_needs_no_data(moved: Moved, abroad: Path, call: Call) -> None:
    status, out, error = call("status", str(moved.folder))
    assert (status, error) == (0, "")
    assert "nothing is missing" in out
    done = re.findall(r"(\d+)/(\d+)", out)
    assert len(done) == 6
    assert all(count == total for count, total in done)
    assert list(abroad.iterdir()) == []


def test_status_within_the_folder(
    moved: Moved, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(moved.folder)
    assert "nothing is missing" in call("status", ".")[1]


def test_questions_are_read_from_a_pipe(
    moved: Moved, abroad: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("May I lie?\n\nWhat is duty?\n"))
    status, out, _ = call("chat", str(moved.folder))
    assert status == 0
    assert out.count("fine-tuned") == 2
    assert "virtue" in out
    assert "you (empty line ends)" not in out
    first = call("chat", str(moved.folder), "--prompt", "May I lie?")[1]
    assert out.startswith(first)
    assert len(out) > len(first)


def test_an_arm_is_exported(moved: Moved, abroad: Path, call: Call) -> None:
    assert call("export", str(moved.folder), "virtue", "out", "--seed", "1")[0] == 0
    base = AutoModelForCausalLM.from_pretrained(abroad / "out" / "base")
    exported = PeftModel.from_pretrained(base, str(abroad / "out"))
    opened = ethosteer.open_run(moved.folder).model("virtue", seed=1)
    ids = torch.arange(20, 50)[None]
    with torch.no_grad():
        logits = opened(ids).logits
        torch.testing.assert_close(logits, exported(ids).logits, rtol=0, atol=0)
        with opened.disable_adapter():
            assert (opened(ids).logits - logits).abs().max() > 0


def test_a_model_likes_what_the_study_says_it_likes(moved: Moved, abroad: Path) -> None:
    run = ethosteer.open_run(moved.folder)
    base = ethosteer.load_study(str(moved.folder)).base.model
    tokenizer = AutoTokenizer.from_pretrained(base)
    items = run.items.query("benchmark == 'toxigen'").head(3)
    stored = run.outcomes.query("benchmark == 'toxigen' and model == 'virtue' and seed == 0")
    model = run.model("virtue", seed=0)
    for item in items.itertuples():
        (expected,) = stored.loc[stored["item"] == item.item, "log_likelihoods"]
        for context, continuation, value in zip(
            item.contexts, item.continuations, expected, strict=True
        ):
            whole = tokenizer(context + continuation).input_ids
            start = len(tokenizer(context).input_ids)
            with torch.no_grad():
                log_probabilities = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            chosen = [log_probabilities[i - 1, whole[i]] for i in range(start, len(whole))]
            assert float(sum(chosen)) == pytest.approx(value, abs=1e-4)


def test_an_arms_artifact_is_evaluated_with_fine_tuning_below_it(moved: Moved) -> None:
    run = ethosteer.open_run(moved.folder)
    base = ethosteer.load_study(str(moved.folder)).base.model
    (artifact,) = (moved.folder / "artifacts" / "steer").glob("virtue-s0-*")
    table = {"toxigen": BenchmarkSettings(limit=12)}
    (evaluation,) = ethosteer.evaluate(
        base, table, adapters={"virtue": artifact}, sample=True, quiet=True
    )
    toxigen = run.outcomes.query("benchmark == 'toxigen' and seed == 0")
    toxigen = toxigen.set_index(["model", "item"])
    for model, outcomes in evaluation.outcomes.items():
        for outcome in outcomes:
            expected = toxigen.loc[(model, outcome.item), "log_likelihoods"]
            assert outcome.log_likelihoods == pytest.approx(expected, abs=1e-4)


def test_the_report_is_written_again(moved: Moved, abroad: Path, call: Call) -> None:
    before = (moved.folder / "report.md").read_text("utf-8")
    (moved.folder / "report.md").unlink()
    status, out, _ = call("report", str(moved.folder))
    assert (status, out) == (0, f"done: {moved.folder / 'report.html'}\n")
    assert (moved.folder / "report.md").read_text("utf-8") == before
    assert call("report", str(moved.folder), "--out", "copy")[0] == 0
    assert ethosteer.open_run(moved.folder).report("again") == Path("again/report.html")
    again = (abroad / "again" / "report.html").read_bytes()
    assert (abroad / "copy" / "report.html").read_bytes() == again


def test_the_plan_needs_no_data(moved: Moved, abroad: Path, call: Call) -> None:
    status, out, _ = call("plan", str(moved.folder))
    assert status == 0
    assert "not on this machine" in out


@pytest.mark.parametrize(
    "arguments",
    [("run",), ("status", "--set", "steer.steps=9"), ("status", "--data-dir", "empty")],
)
def test_work_that_needs_the_data_names_the_file(
    arguments: tuple[str, ...],
    moved: Moved,
    abroad: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the files could be fetched: with a network they are
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(abroad / "hub"))
    (abroad / "empty").mkdir()
    command, *options = arguments
    status, out, error = call(command, str(moved.folder), *options)
    assert (status, out) == (2, "")
    folder = "empty" if "empty" in arguments else moved.data
    assert error.startswith(f"error: {folder}")
    assert "no such file, and " in error
    assert "unset HF_HUB_OFFLINE, or fill a folder with `ethosteer fetch" in error
    assert error.count("\n") == 1


def test_a_run_goes_on_in_its_folder_where_the_data_are_now(
    moved: Moved, abroad: Path, call: Call
) -> None:
    folder, data = abroad / "another name", moved.data.with_name("gone")
    shutil.copytree(moved.folder, folder)
    status, out, _ = call("run", str(folder), "--data-dir", str(data))
    assert (status, out.splitlines()[-1]) == (0, f"done: {folder / 'report.html'}")
    assert not (abroad / "runs").exists()
    assert json.loads((folder / "origin.json").read_text("utf-8"))["folder"] == str(data)
    # only the origin has changed, so the work is the old one
    old = json.loads((moved.folder / "manifest.json").read_text("utf-8"))["steps"]
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["steps"] == old
    assert call("run", str(folder))[1].startswith("nothing to do")
    shutil.rmtree(next((folder / "artifacts" / "compare").glob("results-*")))
    status, out, _ = call("status", str(folder))
    assert (status, "about" in out, "results" in out) == (0, True, True)


def test_a_study_file_of_the_folder_that_is_edited_is_what_counts(
    moved: Moved, abroad: Path
) -> None:
    folder = abroad / "edited"
    shutil.copytree(moved.folder, folder)
    recorded = recorded_fingerprints(folder)
    assert recorded
    assert prepare_study(folder, stored=True).is_recorded
    text = (folder / "study.toml").read_text("utf-8")
    (folder / "study.toml").write_text(text.replace("steps = 2", "steps = 3"), "utf-8")
    assert recorded_fingerprints(folder) == {}
    with pytest.raises(InputError, match="no such file"):
        prepare_study(folder, stored=True).check_finished()


def test_recorded_fingerprints_are_those_that_are_derived(moved: Moved, abroad: Path) -> None:
    data = moved.data.with_name("gone")
    stored = prepare_study(moved.folder, stored=True)
    derived = prepare_study(moved.folder, data_dir=data)
    assert (stored.is_recorded, derived.is_recorded) == (True, False)
    assert [stage.fingerprint for stage in stored.plan.stages] == [
        stage.fingerprint for stage in derived.plan.stages
    ]


def test_a_run_without_an_origin_file_is_read_as_its_study_says(
    moved: Moved, abroad: Path, call: Call
) -> None:
    """Folders of earlier versions have none."""
    folder = abroad / "old"
    shutil.copytree(moved.folder, folder)
    (folder / "origin.json").unlink()
    study = prepare_study(folder, stored=True)
    assert (study.plan.origin.kind, study.is_recorded) == ("hub", False)
    assert call("report", str(folder))[0] == 0


def test_a_folder_that_is_no_run_is_refused(abroad: Path, call: Call) -> None:
    (abroad / "empty").mkdir()
    for command in ("status", "run", "plan", "chat", "report"):
        assert call(command, "empty") == (
            2,
            "",
            "error: empty: no run's folder, since it has no study.toml; a study's run is in "
            "runs/NAME\n",
        )


def test_a_bundled_study_is_not_hidden_by_a_folder_of_its_name(abroad: Path) -> None:
    (abroad / "demo").mkdir()
    assert prepare_study("demo").folder == Path("runs/demo")


def test_the_report_prints_commands_that_work_where_it_stands(
    moved: Moved, abroad: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = abroad / "kept"
    shutil.copytree(moved.folder, folder)
    text = (folder / "report.md").read_text("utf-8")
    repeat, rebuild = re.findall(r"^\s*ethosteer (.*)$", text, re.MULTILINE)
    assert repeat == f"run study.toml --runs-dir repeated --data-dir '{moved.data}'"
    assert rebuild == "report ."
    monkeypatch.chdir(folder)
    (folder / "report.md").unlink()
    assert call(*rebuild.split())[0] == 0
    assert (folder / "report.md").read_text("utf-8") == text
    moved.data.symlink_to(moved.data.with_name("gone"))
    try:
        words = [*repeat.partition(" '")[0].split(), str(moved.data)]
        assert call(*words)[0] == 0
    finally:
        moved.data.unlink()
    first, second = (
        read_json(path / "results.json", StudyResults)
        for path in (folder, folder / "repeated" / "demo")
    )
    assert to_json(second.comparisons) == to_json(first.comparisons)
    assert to_json(second.benchmarks) == to_json(first.benchmarks)


def test_a_report_without_texts_names_no_folder(moved: Moved, abroad: Path) -> None:
    ethosteer.open_run(moved.folder).report("public", texts=False)
    for path in filter(Path.is_file, (abroad / "public").rglob("*")):
        assert str(moved.data) not in path.read_text("utf-8")
    text = (abroad / "public" / "report.md").read_text("utf-8")
    assert "ethosteer run study.toml --runs-dir repeated --data-dir DATA\n" in text
    assert "Save the study file above as study.toml." in text
    with pytest.raises(InputError, match="is the run's own folder"):
        ethosteer.open_run(moved.folder).report(texts=False)


def test_the_frames_are_those_of_the_files(moved: Moved) -> None:
    run = ethosteer.open_run(moved.folder)
    stored = pd.read_parquet(moved.folder / "outcomes.parquet")
    assert list(run.outcomes.columns) == list(stored.columns)
    for name in ("model", "seed", "benchmark", "item", "group", "truncated"):
        assert run.outcomes[name].tolist() == stored[name].tolist()
    assert run.outcomes["correct"].dtype == "boolean"
    assert run.outcomes["predicted"].dtype == "Int64"
    toxigen = run.outcomes.query("benchmark == 'toxigen'")
    (benchmark,) = (each for each in run.results.benchmarks if each.name == "toxigen")
    means = toxigen.groupby("model")["correct"].mean()
    for cell in benchmark.cells:
        if cell.metric == "acc":
            assert means[cell.model] == pytest.approx(cell.estimate.value)
    asked = run.outcomes.merge(run.items, on=["benchmark", "item"], validate="many_to_one")
    assert len(asked) == len(run.outcomes)
    assert run.items.groupby("benchmark").size().to_dict() == {
        "toxigen": 12, "wsc273": 8, "scruples_three": 6,
    }  # fmt: skip
    assert all(isinstance(texts, tuple) for texts in run.items["contexts"])


def test_comparisons_are_those_of_the_table(moved: Moved) -> None:
    run = ethosteer.open_run(moved.folder)
    table = pd.read_csv(moved.folder / "tables" / "comparisons.csv", keep_default_na=False)
    assert list(run.comparisons.columns) == list(table.columns)
    assert len(run.comparisons) == len(run.results.comparisons) > 0
    for name in ("benchmark", "metric", "family", "role", "a", "b", "verdict", "clusters"):
        assert run.comparisons[name].tolist() == table[name].tolist()
    for name in ("difference", "low", "high", "adjusted_p", "minimum_detectable", "room"):
        np.testing.assert_array_equal(run.comparisons[name], table[name].astype(float))


def test_pairs_are_the_curated_ones(moved: Moved, abroad: Path) -> None:
    run = ethosteer.open_run(moved.folder)
    assert list(run.pairs["arm"].unique()) == ["deontology", "virtue"]
    for card in run.results.cards:
        sizes = run.pairs.query("dataset == @card.name").groupby("split").size()
        assert sizes.to_dict() == card.pairs
    assert run.pairs["row"].dtype == "int64"
    assert (run.pairs["chosen"] != run.pairs["rejected"]).all()


def test_errors_of_a_run(moved: Moved, abroad: Path) -> None:
    run = ethosteer.open_run(moved.folder)
    with pytest.raises(InputError, match=r"no arm 'duty' with seed 0; arms: deontology, virtue"):
        run.model("duty")
    with pytest.raises(InputError, match=r"no arm 'virtue' with seed 7; .*seeds: 0, 1"):
        run.model("virtue", seed=7)
    loose = ethosteer.Run(run.results, run.stored_outcomes, run.item_records)
    for ask in (lambda: loose.pairs, loose.report, lambda: loose.model("virtue")):
        with pytest.raises(InputError, match="run demo: was not opened from a folder"):
            ask()


def test_settings_given_to_run_keep_absolute_paths(
    tiny_base: Path, abroad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (abroad / "model").symlink_to(tiny_base)
    (abroad / "pocket").mkdir()
    settings = ethosteer.load_study("demo", ["base.model=model"])
    study: Study = prepare_study(settings)
    assert study.settings.base.model == str(abroad / "model")
    assert prepare_study("demo").settings.base.model == "pocket"


def test_the_python_of_the_readme_runs(
    moved: Moved, abroad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    started = 'ethosteer.run("mine.toml", data_dir="DATA")'
    assert started in code
    variables: dict[str, object] = {}
    exec(code.replace(started, f"ethosteer.open_run({str(moved.folder)!r})"), variables)
    assert "undecided" in capsys.readouterr().out
    assert variables["path"] == Path("public/report.html")
    wrong, accuracy = variables["wrong"], variables["accuracy"]
    assert isinstance(wrong, pd.DataFrame) and isinstance(accuracy, pd.Series)
    assert set(wrong["correct"]) == {False}
    assert ("toxigen", "virtue", 1) in accuracy.index

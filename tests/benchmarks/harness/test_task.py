"""Tasks of lm-evaluation-harness as benchmarks: what is refused, identity, and a whole study."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ethosteer.benchmarks.harness import loading
from ethosteer.benchmarks.harness.task import HarnessTask
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.items import task_items
from ethosteer.progress import Terminal
from ethosteer.settings import BenchmarkSettings
from ethosteer.study.compare_studies import compare_runs
from ethosteer.study.finished import open_run, write_run_report
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests.benchmarks.harness.tasks import ROWS, TASKS, write_task, write_tasks
from tests.tiny_study import OVERRIDES

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # the harness's and its libraries'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def task(name: str, folder: Path) -> HarnessTask:
    return HarnessTask(f"local_{name}", (str(folder),))


UNSUPPORTED = {
    "rolling": (
        "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: sentence\n",
        "its output_type loglikelihood_rolling is not supported",
    ),
    "repeated": (
        "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: number\nrepeats: 4\n"
        "metric_list: [{metric: exact_match}]\n",
        "asking each document 4 times",
    ),
    "sampled": (
        "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: number\n"
        "generation_kwargs: {until: ['.'], do_sample: true, temperature: 0.7}\n"
        "metric_list: [{metric: exact_match}]\n",
        "sampling \\(do_sample or temperature\\) is not supported",
    ),
    "mutual": (
        "doc_to_text: question\ndoc_to_choice: '{{choices}}'\ndoc_to_target: answer\n"
        "metric_list: [{metric: acc_mutual_info}]\n",
        "the metric acc_mutual_info is not supported",
    ),
    "unsafe": (
        "unsafe_code: true\ndoc_to_text: question\ndoc_to_choice: '{{choices}}'\n"
        "doc_to_target: answer\nmetric_list: [{metric: acc}]\n",
        "running the code that models write",
    ),
    "no_mean": (
        "output_type: loglikelihood\ndoc_to_text: question\ndoc_to_target: ' {{number}}'\n"
        "metric_list: [{metric: perplexity}]\n",
        "none of its metrics is a mean over items, which can be compared \\(perplexity\\)",
    ),
    "faulty": (
        "doc_to_text: '{{no_such_column.x}}'\ndoc_to_choice: '{{choices}}'\n"
        "doc_to_target: answer\nmetric_list: [{metric: acc}]\n",
        "the harness cannot load this task",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, name: str) -> None:
    definition, expected = UNSUPPORTED[name]
    write_task(tmp_path, name, definition, ROWS)
    with pytest.raises(InputError, match=rf"lm-eval:local_{name}: {expected}") as refused:
        task(name, tmp_path).benchmark(BenchmarkSettings())
    assert "\n" not in str(refused.value)


def test_names_groups_and_folders_are_checked(folder: Path, tmp_path: Path) -> None:
    group = "group: animals\ntask: [local_texts, local_letters]\n"
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "group.yaml").write_text(group, encoding="utf-8")
    for name, expected in {
        "local_text": "no such task; did you mean lm-eval:local_texts",
        "animals": "this is a group of tasks \\(local_letters, local_texts\\); name its tasks",
    }.items():
        with pytest.raises(InputError, match=expected):
            HarnessTask(name, (str(tmp_path),)).identity()
    with pytest.raises(InputError, match=r"evaluate\.include_path: .*: no such folder"):
        HarnessTask("local_texts", (str(tmp_path / "none"),)).identity()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only Unix has named pipes")
def test_a_folder_that_the_harness_would_read_for_ever_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "tasks")
    assert task("texts", tmp_path / "tasks").identity()
    os.mkfifo(tmp_path / "tasks" / "pipe.yaml")
    with pytest.raises(InputError, match=r"include_path: .*pipe\.yaml: is not a regular file"):
        task("texts", tmp_path / "tasks").identity()
    for limit in ("LARGEST_FOLDER", "LARGEST_YAML"):
        with monkeypatch.context() as patch:
            patch.setattr(loading, limit, 3)
            with pytest.raises(InputError, match=r"has more than .* tasks alone"):
                task("texts", folder).identity()


def test_a_task_is_identified_by_its_content_and_not_by_its_place(
    folder: Path, tmp_path: Path
) -> None:
    known = task("few_shot", folder).identity()
    assert known[0].startswith("lm_eval 0.4.")
    write_task(tmp_path / "same", "few_shot", TASKS["few_shot"], ROWS)
    assert task("few_shot", tmp_path / "same").identity() == known
    other_shots = TASKS["few_shot"].replace("num_fewshot: 2", "num_fewshot: 1")
    other_rows = [*ROWS[:-1], {**ROWS[-1], "answer": 2, "question": "Where?"}]
    for name, definition, rows in (
        ("shots", other_shots, ROWS),
        ("rows", TASKS["few_shot"], other_rows),
        ("metric", TASKS["few_shot"].replace("acc_norm", "acc_bytes"), ROWS),
    ):
        write_task(tmp_path / name, "few_shot", definition, rows)
        assert task("few_shot", tmp_path / name).identity() != known, name


def test_few_shot_examples_join_no_items(folder: Path) -> None:
    """Nearly all of a few-shot request is examples, which items may share."""
    plain, shots = (
        task_items(task(name, folder), BenchmarkSettings(), None) for name in ("texts", "few_shot")
    )
    assert [item.group.rpartition("-")[2] for item in plain] == [
        item.group.rpartition("-")[2] for item in shots
    ]
    assert max(Counter(item.group for item in shots).values()) < len(shots) / 2
    assert shots == task_items(task("few_shot", folder), BenchmarkSettings(), None)
    limited = task_items(task("few_shot", folder), BenchmarkSettings(limit=5), None)
    assert 0 < len(limited) <= 5 and all(item in shots for item in limited)


def test_a_study_with_tasks(tiny_base: Path, folder: Path, tmp_path: Path) -> None:
    changes = [
        *OVERRIDES, "seeds=[0]", "finetune.enabled=false", "compare.control='base'",
        "arms={virtue={max_pairs=24}}", f"evaluate.include_path=['{folder}']",
        "benchmarks={'lm-eval:local_texts'={title='Animals', licence='CC0'}, "
        "'lm-eval:local_yes_no'={limit=8}, 'lm-eval:local_generated'={}}",
    ]  # fmt: skip
    settings = load_study("demo", [f"base.model={tiny_base}", *changes])
    study = Study(settings, tmp_path, Origin("sample"), Terminal(quiet=True))
    assert study.run()
    again = Study(settings, tmp_path, Origin("sample"), Terminal(quiet=True))
    assert not again.store.missing(again.plan.stages)
    run = open_run(study.folder)
    by_name = {result.name: result for result in run.results.benchmarks}
    assert by_name["lm-eval:local_texts"].title == "Animals"
    assert by_name["lm-eval:local_generated"].primary == "exact_match (digits)"
    assert by_name["lm-eval:local_yes_no"].items <= 8
    assert {c.metric for c in run.results.comparisons} >= {"acc", "acc_bytes", "auc"}
    hidden = folder.with_name("hidden")
    folder.rename(hidden)  # a finished run needs no task
    try:
        write_run_report(run, tmp_path / "report")
        other = replace(run, results=replace(run.results, study="other"))
        across = compare_runs([run, other])
    finally:
        hidden.rename(folder)
    assert len(across.results.benchmarks) == 3 and across.refusals == ()
    report = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "Left out, since no mean over items: f1." in report


def test_evaluate_finds_tasks_in_the_include_path(
    call, tiny_base: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    status, _, err = call(
        "evaluate", "--model", str(tiny_base), "--include-path", str(folder), "--out", str(out),
        "--benchmarks", "lm-eval:local_cloze", "--limit", "4",
    )  # fmt: skip
    assert status == 0, err
    found = json.loads(out.read_text("utf-8"))["models"]["base"]["benchmarks"]
    items = found["lm-eval:local_cloze"]["items"]
    assert all(len(item["loglikelihoods"]) == 1 and len(item["scores"]) == 1 for item in items)
    status, _, err = call("evaluate", "--benchmarks", "lm-eval:local_cloze")
    assert status == 2 and "lm-eval:local_cloze: lm-evaluation-harness has no such task" in err


def test_importing_ethosteer_imports_no_harness() -> None:
    code = (
        "import sys, ethosteer; from ethosteer import catalog; catalog.benchmark_names(); "
        "print('lm_eval' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"

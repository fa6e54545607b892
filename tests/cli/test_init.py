"""``ethosteer init``: what it writes is valid, explained, and never over an older file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from ethosteer import catalog
from ethosteer.study.load import load_study
from ethosteer.study.starter import Starter, study_file

Call = Callable[..., tuple[int, str, str]]

CHOICES = list(
    product(
        ("pocket", "smollm2", "org/a-model"),
        (False, True),
        (False, True),
        catalog.algorithm_names(),
        (1, 3),
        (None, 0.05),
    )
)


BENCHMARKS = ("preferences", *catalog.benchmark_names())


def test_every_combination_is_a_valid_study(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert len(CHOICES) > len(BENCHMARKS)
    for index, (model, chat, sample, algorithm, seeds, margin) in enumerate(CHOICES):
        benchmark = BENCHMARKS[index % len(BENCHMARKS)]
        datasets = catalog.dataset_names()[: 1 + index % 4]
        starter = Starter(
            "mine", model, chat, sample, dict.fromkeys(datasets, ""), algorithm, seeds,
            (benchmark,), margin, bfloat16=chat,
        )  # fmt: skip
        path.write_text(study_file(starter, "mine.toml"), "utf-8")
        settings = load_study(str(path))
        assert settings.base.model == model
        assert settings.finetune.enabled != chat
        assert settings.base.dtype == ("bfloat16" if chat else "float32")
        assert settings.compare.control == ("base" if chat else "fine-tuned")
        assert settings.evaluate.chat == chat
        assert settings.data.origin == ("sample" if sample else "hub")
        assert tuple(settings.arms) == datasets
        assert {settings.algorithm_of(arm) for arm in settings.arms} == {algorithm}
        assert len(settings.seeds) == seeds
        assert tuple(settings.benchmarks) == (benchmark,)
        assert settings.compare.margin == margin


def test_every_line_is_explained(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "mine.toml"
    assert call("init", str(path), "--yes")[0] == 0
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) > 40
    assert [line for line in lines if line and not re.search(r"^#|  # \S{2,}", line)] == []
    text = path.read_text("utf-8")
    assert '# file = "mine.jsonl"' in text
    assert '# mine = { file = "questions.jsonl" }' in text


def test_without_questions_it_is_a_study_that_needs_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, error = call("init", "--yes")
    assert (status, error) == (0, "")
    assert out.splitlines() == [
        "done: study.toml, a study of 6 trained models",
        "next: ethosteer plan study.toml; ethosteer run study.toml",
    ]
    settings = load_study("study.toml")
    assert (settings.name, settings.base.model) == ("study", "pocket")
    assert (settings.data.origin, settings.data.conversations) == ("sample", "sample")
    assert "about" in call("status", "study.toml")[1]
    assert call("plan", "study.toml")[0] == 0


def test_answers_and_options_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    # base, chat (refused once), sample, data sets (refused once), algorithm, seeds, margin
    answers = ["smollm2", "maybe", "yes", "no", "vertue", "virtue, deontology", "rloo", "2", "none"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(answers) + "\n"))
    status, _, error = call("init", "a study.toml", "--benchmarks", "wsc273,preferences:virtue")
    assert status == 0
    assert error.splitlines() == [
        "  'maybe': answer yes or no",
        "  no dataset is called 'vertue' (did you mean 'virtue'?); there are deontology, harmless, "
        "utilitarianism, virtue",
    ]
    settings = load_study("a study.toml")
    assert settings.name == "a-study"
    assert (settings.base.model, settings.base.dtype) == ("smollm2", "bfloat16")
    assert settings.data.template == "chat"
    assert settings.data.origin == "hub"
    assert tuple(settings.arms) == ("virtue", "deontology")
    assert settings.steer.algorithm == "rloo"
    assert settings.seeds == (0, 1)
    assert tuple(settings.benchmarks) == ("wsc273", "preferences:virtue")
    assert settings.compare.margin is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["there.toml", "--yes"], "there.toml: exists already; name a new file"),
        (["mine.txt", "--yes"], "mine.txt: a study file's name ends in .toml"),
        (["no/mine.toml", "--yes"], "no/mine.toml: its folder does not exist"),
        (["mine.toml", "--yes", "--datasets", "duty"], "no dataset is called 'duty'"),
        (["mine.toml", "--yes", "--benchmarks", "toxgen"], "did you mean 'toxigen'?"),
        (["mine.toml", "--yes", "--algorithm", "grpo"], "no algorithm is called 'grpo'"),
        (["mine.toml", "--yes", "--margin", "2"], "'2': must be a number between 0 and 1, or none"),
        (["mine.toml", "--yes", "--datasets", " , "], "name at least one"),
        (["mine.toml", "--yes", "--datasets", "no.jsonl"], "no.jsonl: no such file"),
        (["mine.toml"], "the questions end; --yes takes the defaults"),
    ],
)
def test_what_cannot_be_written_gives_one_line(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.toml").write_text("# mine\n", "utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, _, error = call("init", *arguments)
    assert status == 2
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1
    assert (tmp_path / "there.toml").read_text("utf-8") == "# mine\n"
    assert not (tmp_path / "mine.toml").exists()


def test_names_are_written_as_toml(tmp_path: Path) -> None:
    starter = Starter(
        'a"b', 'models\\it\'s "1"', False, True, {"virtue": ""}, "ppo", 1,
        ("preferences:virtue",), None,
    )  # fmt: skip
    path = tmp_path / "mine.toml"
    path.write_text(study_file(starter, "mine.toml").replace('a\\"b', "ab"), "utf-8")
    assert load_study(str(path)).base.model == 'models\\it\'s "1"'


def test_files_of_your_own_are_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    for name in ("careful pairs.jsonl", "virtue.csv"):
        (tmp_path / name).touch()
    files = "careful pairs.jsonl, ./virtue.csv, deontology"
    assert call("init", "studies/mine.toml", "--yes", "--datasets", files)[0] == 0
    arms = load_study("studies/mine.toml").arms
    assert {name: arm.file for name, arm in arms.items()} == {
        "careful-pairs": str(tmp_path / "careful pairs.jsonl"),
        "my-virtue": str(tmp_path / "virtue.csv"),
        "deontology": None,
    }
    status, _, error = call("init", "b.toml", "--yes", "--datasets", "virtue.csv,./virtue.csv")
    assert (status, "another file gives its arm the name 'my-virtue'" in error) == (2, True)


def test_the_study_runs_in_a_new_folder(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--sample", "--no-chat", "--datasets", "virtue", "--seeds", "1")
    asked = ("--benchmarks", "wsc273", "--margin", "none")
    assert call("init", "mine.toml", "--yes", "--model", str(tiny_base), *options, *asked)[0] == 0
    small = (
        "base.dtype=float32", "arms.virtue.max_pairs=24", "finetune.max_steps=2",
        "reward.normalisation_samples=16", "steer.steps=2", "steer.max_new_tokens=8",
        "steer.held_out_prompts=8", "benchmarks.wsc273.limit=8", "evaluate.sample_prompts=1",
    )  # fmt: skip
    changes = [word for change in small for word in ("--set", change)]
    status, out, _ = call("run", "mine.toml", *changes)
    assert (status, out.splitlines()[-1]) == (0, "done: runs/mine/report.html")
    assert "nothing is missing" in call("status", "runs/mine")[1]
    assert call("run", "runs/mine")[1].startswith("nothing to do")
    assert "virtue" in call("chat", "runs/mine", "--prompt", "Why?")[1]
    assert call("export", "runs/mine", "virtue", "arm")[0] == 0
    assert call("report", "runs/mine", "--no-texts", "--out", "public")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mine.toml", "runs", "arm", "public"}

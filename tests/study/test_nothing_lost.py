"""A study whose process ends, whose disk is full or whose files are damaged loses nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import ethosteer
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.data.pair_sets import read_set, write_set
from ethosteer.data.sources import SAMPLE_DIR, Origin
from ethosteer.errors import InputError
from ethosteer.progress import Terminal
from ethosteer.records import DatasetCard, PreferencePair, PreferenceSet
from ethosteer.results.steering import CurvePoint
from ethosteer.stages.manifest import MANIFEST, DamagedArtifactError
from ethosteer.stages.store import AnyWork, Store
from ethosteer.study.batches import batches
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests.tiny_study import OVERRIDES

Call = Callable[..., tuple[int, str, str]]
KINDS = ("curate", "finetune", "reward", "steer", "evaluate", "compare")
NO_FINETUNING = ("finetune.enabled=false", "compare.control=base", "data.prompts=arms")
SMALL = ("seeds=[0]", "benchmarks={toxigen = {limit = 6}}", "steer.steps=3")


def open_study(base: Path, runs: Path, *changes: str, data: Path | None = None) -> Study:
    settings = load_study("demo", [f"base.model={base}", *OVERRIDES, *SMALL, *changes])
    origin = Origin("folder", data) if data else Origin("sample")
    return Study(settings, runs, origin, Terminal(quiet=True))


def numbers(study: Study) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    results = json.loads((study.folder / "results.json").read_text("utf-8"))
    kept = {key: value for key, value in results.items() if key not in ("provenance", "times")}
    return kept, pq.read_table(study.folder / "outcomes.parquet").to_pylist()


@pytest.fixture(scope="module")
def finished(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = open_study(tiny_base, tmp_path_factory.mktemp("runs"))
    assert study.run()
    return study


@pytest.fixture
def copied(finished: Study, tiny_base: Path, tmp_path: Path) -> Callable[..., Study]:
    """Return a function that opens a copy of the finished study, the same at each call."""
    shutil.copytree(finished.folder, tmp_path / "runs" / "demo")
    return lambda *changes: open_study(tiny_base, tmp_path / "runs", *changes)


def forget(study: Study, *kinds: str) -> None:
    for kind in kinds:
        shutil.rmtree(study.store.root / kind)


def left_over(study: Study) -> list[str]:
    return [path.name for path in study.folder.rglob(".*") if path.name != ".lock"]


def test_nothing_is_left_over(finished: Study) -> None:
    assert left_over(finished) == []


# --- a process that dies between two of the arms that were trained together


@contextmanager
def dying_after(count: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Raise KeyboardInterrupt in place of storing, after ``count`` artifacts of a kind."""
    stored: list[str] = []
    write = Store.write

    def dying(self: Store, stage: AnyWork, *rest: Any, **options: Any) -> Any:
        if stage.kind == kind:
            if len(stored) == count:
                raise KeyboardInterrupt
            stored.append(stage.name)
        return write(self, stage, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("kind", ["reward", "steer"])
def test_arms_that_are_not_stored_yet_keep_their_checkpoint(
    kind: str, finished: Study, copied: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ethosteer.models.reward_training.CHECKPOINT_EVERY", 1)
    study = copied()
    forget(study, kind, "compare")
    with dying_after(1, kind, monkeypatch):
        study.run()
    resumed = copied()
    missing = [stage for stage in resumed.store.missing(resumed.plan.stages) if stage.kind == kind]
    assert len(missing) == 1
    (whole,) = batches(resumed.plan, resumed.store, missing)
    assert len(whole) == 2 and missing[0] in whole
    before = stored_times(resumed, kind)
    steps: list[int] = []
    step = Steering.step

    def counted(run: Steering, index: int) -> dict[int, CurvePoint]:
        steps.append(index)
        return step(run, index)

    monkeypatch.setattr(Steering, "step", counted)
    assert resumed.run()
    assert steps == ([2] if kind == "steer" else []), "the last checkpoint is before the last step"
    after = stored_times(resumed, kind)
    assert {path: after[path] for path in before} == before, "what was stored stays as it is"
    assert numbers(resumed) == numbers(finished)
    assert left_over(resumed) == []


def stored_times(study: Study, kind: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (study.store.root / kind).rglob("[!.]*/*")}


def test_models_that_answer_together_answer_together_again(
    finished: Study, copied: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied()
    arm = study.plan.evaluation["toxigen", study.plan.models[-1]]
    shutil.rmtree(study.store.path(arm))
    forget(study, "compare")
    again = copied()
    (whole,) = batches(again.plan, again.store, [arm])
    assert [stage.name for stage in whole] == [
        "toxigen-fine-tuned", "toxigen-deontology-s0", "toxigen-virtue-s0",
    ]  # fmt: skip
    assert again.run()
    assert numbers(again) == numbers(finished)


def test_arms_of_another_study_do_not_join_a_batch(copied: Callable[..., Study]) -> None:
    study = copied("arms={virtue = {max_pairs = 24}}")
    missing = study.store.missing(study.plan.stages)
    for batch in batches(study.plan, study.store, missing):
        assert set(batch) <= set(missing)
    assert sum(map(len, batches(study.plan, study.store, missing))) == len(missing)


def test_a_stage_that_does_not_fit_in_memory_ends_with_one_line(
    copied: Callable[..., Study], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied()
    forget(study, "steer", "compare")

    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(Steering, "step", run_out)
    status, _, error = call("run", str(study.folder))
    assert (status, "error: the device is out of memory for the base, the ad" in error) == (2, True)
    assert "Traceback" not in error


# --- a signal after the last step


def test_a_signal_while_the_files_are_written_lets_a_study_end(
    finished: Study, copied: Callable[..., Study], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(copied(), "compare")
    write_files = Study.write_files

    def signalled(self: Study) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        write_files(self)

    monkeypatch.setattr(Study, "write_files", signalled)
    folder = copied().folder
    status, out, _ = call("run", str(folder))
    assert status == 0 and f"done: {folder / 'report.html'}" in " ".join(out.split())
    monkeypatch.undo()
    assert "nothing to do" in call("run", str(folder))[1]
    assert numbers(copied()) == numbers(finished)
    assert left_over(copied()) == []


def test_a_signal_in_the_last_stage_is_told_and_the_next_run_writes_the_files(
    finished: Study, copied: Callable[..., Study], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied()
    forget(study, "compare")
    (study.folder / "results.json").unlink()
    write = Store.write

    @contextmanager
    def signalled(self: Store, stage: AnyWork, *rest: Any, **options: Any) -> Iterator[Path]:
        with write(self, stage, *rest, **options) as folder:
            if stage == study.plan.comparison:
                os.kill(os.getpid(), signal.SIGTERM)
            yield folder

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", signalled)
        status, _, error = call("run", str(study.folder))
    assert (status, "resume with `ethosteer run" in error) == (143, True)
    assert not (study.folder / "results.json").exists()
    assert copied().store.missing(study.plan.stages) == []
    assert call("run", str(study.folder))[0] == 0
    assert numbers(study) == numbers(finished)


# --- settings that change between the end of a process and the next run


def test_a_checkpoint_of_other_settings_is_kept_and_told_until_they_are_set_back(
    finished: Study, copied: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    study = copied()
    forget(study, "steer", "compare")
    with dying_after(0, "steer", monkeypatch):
        study.run()
    (checkpoint,) = (study.store.root / "steer").glob(".*.checkpoint")
    unfinished = study.store.root / "steer" / ".virtue-s0-0123456789ab.part"
    unfinished.mkdir()
    assert copied().other_work() == []
    changed, said = copied("steer.steps=1"), list[str]()
    monkeypatch.setattr(changed.workspace.terminal, "say", said.append)
    assert changed.run()
    assert left_over(changed) == [checkpoint.name], "what nobody can continue is removed"
    assert said[-1].startswith(f"{checkpoint}: has a checkpoint of other settings")
    assert " ".join(said).count("other settings") == 1
    told = "".join(call("status", str(study.folder))[1].split())
    assert "hasacheckpointofothersettings" in told and "nothingismissing" in told
    steps: list[int] = []
    step = Steering.step

    def counted(run: Steering, index: int) -> dict[int, CurvePoint]:
        steps.append(index)
        return step(run, index)

    monkeypatch.setattr(Steering, "step", counted)
    again = copied()
    assert again.run()
    assert steps == [2], "the last checkpoint is before the last step"
    assert numbers(again) == numbers(finished)
    assert left_over(again) == []


# --- damage


@pytest.mark.parametrize("kind", KINDS)
def test_damage_that_is_met_while_reading_is_mended(
    kind: str, finished: Study, copied: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied()
    of_kind = [stage for stage in study.plan.stages if stage.kind == kind]
    stage = of_kind[0 if kind == "curate" else -1]  # the last of curate, prompts, is read by none
    path = max(
        (path for path in study.store.folder(stage).rglob("*") if path.name != MANIFEST),
        key=lambda path: path.stat().st_size * path.is_file(),
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if kind != "compare":
        forget(study, "compare")
    (study.folder / "report.md").unlink()
    said: list[str] = []
    again = copied()
    monkeypatch.setattr(again.workspace.terminal, "say", said.append)
    assert again.run()
    assert numbers(again) == numbers(finished)
    assert len([line for line in said if f"{path.name} is not what was written" in line]) == 1


def test_damaged_files_of_a_run_are_named_and_written_again(
    finished: Study, copied: Callable[..., Study], call: Call
) -> None:
    study = copied()
    for name in ("results.json", "outcomes.parquet", "items.parquet"):
        path = study.folder / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: is damaged.*`ethosteer run "):
            ethosteer.open_run(study.folder)
        assert call("report", str(study.folder))[0] == 2
        assert copied().run()
        assert numbers(study) == numbers(finished)
        assert not copied().run()
    for name in (MANIFEST, "origin.json", "study.toml"):
        (study.folder / name).write_bytes(b'{"\xff')
        assert copied().run()
        assert not copied().run()


def test_a_damaged_preregistration_is_told_and_is_no_deviation(
    copied: Callable[..., Study], call: Call
) -> None:
    study = copied()
    path = study.store.root / "preregistered.json"
    written = path.read_text("utf-8")
    path.write_text(written.replace("0.05", "0.15"), "utf-8")
    forget(study, "compare")
    status, _, error = call("run", str(study.folder))
    assert status == 2
    assert f"error: {path}: is damaged: it is not what was written; restore the file" in error
    plain = json.loads(written)
    del plain["checksum"]  # as earlier versions wrote it
    path.write_text(json.dumps(plain | {"alpha": 0.01}), "utf-8")
    copied().write_files()
    deviations = json.loads((study.folder / "results.json").read_text("utf-8"))["deviations"]
    assert deviations == ["compare.alpha (preregistered 0.01, now 0.05)"]


def test_a_command_that_meets_damage_ends_with_one_line(
    copied: Callable[..., Study], call: Call
) -> None:
    study = copied()
    path = next((study.store.root / "steer").glob("virtue-*/adapter_model.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    status, out, error = call("export", str(study.folder), "virtue", str(study.folder / "out"))
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert "adapter_model.safetensors is not what was written; `ethosteer run` of" in error
    path.write_bytes(content[:-1])
    assert "steer" in call("status", str(study.folder))[1]
    status, _, error = call("chat", str(study.folder), "--prompt", "Hello?")
    assert status == 2 and "1 steps are missing, first steer virtue-s0" in error


# --- full disks


def test_a_full_disk_at_any_stage_is_one_line_and_damages_nothing(
    finished: Study, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync
    for kind in KINDS:

        def full(descriptor: int, kind: str = kind) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if f"/artifacts/{kind}/" in str(path):
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(descriptor)

        study = open_study(tiny_base, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(InputError, match="cannot be written: No space left on device"):
                study.run()
        assert not list((study.store.root / kind).glob("[!.]*")), "no artifact is damaged"
    study = open_study(tiny_base, tmp_path)
    assert study.run()
    assert numbers(study) == numbers(finished)
    assert left_over(study) == []


@pytest.mark.parametrize("command", ["run", "report"])
def test_a_runs_folder_that_is_a_file_is_one_line(command: str, tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("not a folder")
    status, out, error = call(command, "demo", "--runs-dir", str(tmp_path / "file"))
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("error: ")


def test_status_and_report_write_nothing_where_they_may_only_read(
    copied: Callable[..., Study], tiny_base: Path, tmp_path: Path, call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    study = copied()

    def refusing(operation: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Any, *rest: Any, **options: Any) -> Any:
            if str(study.folder) in str(path):
                raise OSError(errno.EROFS, "Read-only file system", str(path))
            return operation(path, *rest, **options)

        return refuse

    with monkeypatch.context() as patch:
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
            patch.setattr(os, name, refusing(getattr(os, name)))
        assert "nothing is missing" in call("status", str(study.folder))[1]
        assert call("report", str(study.folder), "--out", str(tmp_path / "out"))[0] == 0
        assert call("report", "demo", "--runs-dir", str(study.folder.parent), "--out",
                    str(tmp_path / "again"), *settings_of(tiny_base))[0] == 0  # fmt: skip
        status, out, error = call("report", str(study.folder))
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert "cannot be written: Read-only file system" in error


def settings_of(base: Path) -> list[str]:
    settings = (f"base.model={base}", *OVERRIDES, *SMALL)
    return [word for setting in settings for word in ("--set", setting)]


# --- files that change while the study runs


def test_conversations_that_change_while_the_study_runs_are_not_learned_from(
    tiny_base: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(SAMPLE_DIR, data)
    study = open_study(tiny_base, tmp_path / "runs", data=data)
    assert study.store.missing(study.plan.stages)
    (source,) = study.plan.conversations.paths()
    text = source.read_text("utf-8")
    source.write_text(text.replace("the", "teh", 1), "utf-8")
    with pytest.raises(InputError, match="changed while the study ran; run it again"):
        study.run()
    assert not list((study.folder / "artifacts" / "finetune").glob("[!.]*"))
    source.write_text(text, "utf-8")
    assert open_study(tiny_base, tmp_path / "runs", data=data).run()


def test_a_benchmark_that_changes_between_its_items_and_its_answers_is_not_answered(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shutil.copytree(SAMPLE_DIR, data)
    study = open_study(tiny_base, tmp_path / "runs", data=data)
    run_stages = study._run_stages

    def replaced(missing: Sequence[Any]) -> None:
        run_stages([stage for stage in missing if not stage.name.startswith("toxigen-base")][:-3])
        table = data / "toxigen" / "annotated_test.csv"
        table.write_text(table.read_text("utf-8") + "\n", "utf-8")
        run_stages(study.store.missing(study.plan.stages))

    monkeypatch.setattr(study, "_run_stages", replaced)
    with pytest.raises(InputError, match=r"annotated_test.csv: changed while the study ran"):
        study.run()
    assert not list((study.folder / "artifacts" / "evaluate").glob("toxigen-base*"))


def test_a_base_that_changes_before_it_is_read_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    study = open_study(base, tmp_path / "runs", *NO_FINETUNING)
    assert study.store.missing(study.plan.stages)
    config = base / "generation_config.json"
    config.write_text(config.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(InputError, match="changed while the study ran; run it again"):
        study.run()
    assert not list((study.folder / "artifacts").glob("*/[!.]*"))


# --- separators of lines in texts


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\r"])
def test_any_separator_of_lines_in_a_pair_is_kept(separator: str, tmp_path: Path) -> None:
    text = f"one{separator}two"
    pair = PreferencePair("id", text, text, f"{text}!", text, 3)
    card = DatasetCard("a", "b", "c", "d", 1, {}, {}, 0, "", 1.0, 1.0)
    write_set(PreferenceSet("a", (pair,), (), (), card), tmp_path)
    assert read_set(tmp_path).train == (pair,)


def test_a_store_that_is_read_after_damage_says_what_to_run(finished: Study) -> None:
    stage = finished.plan.prompts
    store = Store(finished.store.root)
    path = store.path(stage)
    kept = path.with_name("kept")
    shutil.copytree(path, kept)
    try:
        (path / "prompts.json").unlink()
        with pytest.raises(DamagedArtifactError, match=r"prompts.json is missing; `ethosteer run`"):
            Store(finished.store.root).load(stage)
    finally:
        shutil.rmtree(path)
        kept.rename(path)

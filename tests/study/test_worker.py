"""One worker alone makes what one process makes; several, one of them killed, do too."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from ethosteer import interruption
from ethosteer.errors import InputError
from ethosteer.interruption import Interrupted
from ethosteer.stages.manifest import MANIFEST
from ethosteer.stages.reward import Reward
from ethosteer.stages.stage import Stage
from ethosteer.stages.steer import Steer
from ethosteer.study import claims, worker
from ethosteer.study.batches import ready
from ethosteer.study.claims import WORKERS, LostClaim, read_states
from ethosteer.study.folder import with_inputs
from ethosteer.study.run import Study
from ethosteer.study.worker import Worker, work
from tests.study.test_nothing_lost import Call, left_over, numbers, open_study, settings_of

TWO_SEEDS = ("seeds=[0, 1]",)


@pytest.fixture(scope="module")
def finished(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = open_study(tiny_base, tmp_path_factory.mktemp("runs"), *TWO_SEEDS)
    assert study.run()
    return study


@pytest.fixture
def copied(finished: Study, tiny_base: Path, tmp_path: Path) -> Callable[..., Study]:
    """Return a function that opens a copy of the finished study, the same at each call."""
    shutil.copytree(finished.folder, tmp_path / "runs" / "demo")
    return lambda *changes: open_study(tiny_base, tmp_path / "runs", *TWO_SEEDS, *changes)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(worker, "PROBE_SECONDS", 0.1)


def forget(study: Study, *kinds: str) -> None:
    for kind in kinds:
        shutil.rmtree(study.store.root / kind)


def test_one_worker_makes_what_one_process_makes(
    finished: Study, tiny_base: Path, tmp_path: Path
) -> None:
    study = open_study(tiny_base, tmp_path, *TWO_SEEDS)
    work(study)
    assert numbers(study) == numbers(finished)
    assert left_over(study) == [] and study.is_finished()
    assert not open_study(tiny_base, tmp_path, *TWO_SEEDS).run(), "nothing is missing for a run"
    work(open_study(tiny_base, tmp_path, *TWO_SEEDS))
    assert left_over(study) == []


def test_adapters_that_a_killed_worker_served_are_removed(copied: Callable[..., Study]) -> None:
    study = copied()
    rollout = study.folder / "rollout" / "0123456789ab"
    for finish in (work, Study.run):
        (rollout / "adapters" / "ethosteer-0-0").mkdir(parents=True)
        (rollout / "vllm.log").write_text("what vLLM said")
        finish(copied())
        assert [path.name for path in rollout.iterdir()] == ["vllm.log"]


def test_ready_batches_follow_what_they_read_and_make_everything_once(
    tiny_base: Path, tmp_path: Path
) -> None:
    study = open_study(tiny_base, tmp_path, *TWO_SEEDS)
    plan, store = study.plan, study.store
    made: list[Stage[Any]] = []
    names = set[str]()
    while missing := store.missing(plan.stages):
        found = list(ready(plan, store, missing))
        assert found
        for name, batch in found:
            assert {stage for member in batch for stage in with_inputs(member)} <= {*made, *batch}
            assert name not in names
            names.add(name)
            if isinstance(batch[0], Reward):
                assert len(batch) == 1, "reward models do not depend on each other"
            if isinstance(batch[0], Steer):
                assert [stage.name[-2:] for stage in batch] in (["s0", "s0"], ["s1", "s1"])
        for _, batch in found:
            for stage in batch:
                with store.write(stage, together=batch if len(batch) > 1 else ()):
                    pass
            made += batch
    assert len(made) == len(set(made)) == len(plan.stages)


def test_a_batch_has_one_name_while_its_stages_are_stored(tiny_base: Path, tmp_path: Path) -> None:
    study = open_study(tiny_base, tmp_path)
    plan, store = study.plan, study.store
    for stage in plan.stages[: plan.stages.index(plan.samples) - 3]:
        with store.write(stage):
            pass
    batch = next(batch for _, batch in ready(plan, store, store.missing(plan.stages))
                 if len(batch) == 3)  # fmt: skip
    (before,) = [name for name, it in ready(plan, store, store.missing(plan.stages)) if it == batch]
    for stage in batch[:2]:
        with store.write(stage, together=batch):
            pass
        other = open_study(tiny_base, tmp_path)
        seen = dict(ready(other.plan, other.store, other.store.missing(other.plan.stages)))
        assert seen[before] == batch


def test_a_step_that_was_lost_is_left_to_its_new_worker(
    finished: Study, copied: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the worker steers, another takes the step over and stores it: this one stops."""
    study = copied()
    kept = study.folder / "kept"
    shutil.copytree(study.store.root / "steer", kept)
    forget(study, "steer", "compare")
    run, said, lost = Steer.run.__func__, list[str](), list[int]()  # type: ignore[attr-defined]

    def steering(cls: type[Steer], stages: Sequence[Steer], workspace: Any) -> None:
        if lost:
            run(cls, stages, workspace)
            return
        (state,) = read_states(study.store.root)
        assert state.position == Steer.title(stages) and state.pid == os.getpid()
        other = claims.Claims(study.store.root, "other")
        (name,) = [path.stem for path in other.folder.iterdir() if path.read_text() == state.worker]
        lost.append(other.latest(name)[0])
        assert other.make(name, lost[0] + 1)
        for stage in stages:
            folder = workspace.store.folder(stage)
            shutil.copytree(kept / folder.name, folder)
        while not interruption.is_requested():
            time.sleep(0.01)
        other.release(name, lost[0] + 1)
        interruption.stop_if_requested()

    monkeypatch.setattr(Steer, "run", classmethod(steering))
    monkeypatch.setattr(study.workspace.terminal, "say", said.append)
    work(study)
    shutil.rmtree(kept)
    assert [line for line in said if "took this step over" in line] == [
        "steer deontology-s0, virtue-s0 by ppo: another worker took this step over, as this one "
        "gave no sign of life"
    ]
    assert not interruption.is_requested()
    assert numbers(study) == numbers(finished) and left_over(study) == []


def test_an_error_is_told_where_another_worker_takes_the_step_once_it_is_released(
    copied: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied()
    forget(study, "steer", "compare")
    other = claims.Claims(study.store.root, "other")
    release = claims.Claim.release

    def released(claim: claims.Claim) -> None:
        release(claim)
        if claim.name.startswith("steer"):
            assert other.take(claim.name)

    def fail(cls: type[Steer], stages: Sequence[Steer], workspace: Any) -> None:
        raise InputError("rows.csv:3: no answer")

    def say(line: str) -> None:
        assert "took this step over" not in line

    monkeypatch.setattr(study.workspace.terminal, "say", say)
    monkeypatch.setattr(claims.Claim, "release", released)
    monkeypatch.setattr(Steer, "run", classmethod(fail))
    with pytest.raises(InputError, match=r"rows\.csv:3"):
        work(study)


def test_an_error_of_a_step_that_was_lost_is_none_of_this_worker(tmp_path: Path) -> None:
    worker = Worker(tmp_path, "study", lambda: "")
    with worker.alive():
        claim = worker.claims.take("work")
        assert claim is not None
        with pytest.raises(LostClaim) as lost, worker.holding(claim, "work"):  # noqa: PT012
            assert claims.Claims(tmp_path, "other").make("work", 2)
            raise FileNotFoundError("what it was writing was moved away")
    assert isinstance(lost.value.__cause__, FileNotFoundError)
    assert not interruption.is_requested()


def test_a_folder_that_cannot_be_read_for_a_while_ends_no_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(tmp_path, "study", lambda: "")
    tried: list[int] = []

    def unreadable(claim: claims.Claim) -> bool:
        tried.append(1)
        raise OSError(errno.ESTALE, "Stale file handle")

    def beats() -> int:
        (state,) = read_states(tmp_path)
        return state.beat

    with worker.alive():
        claim = worker.claims.take("work")
        assert claim is not None
        with worker.holding(claim, "work"):
            with monkeypatch.context() as patch:
                patch.setattr(claims.Claim, "is_lost", unreadable)
                while not tried:
                    time.sleep(0.01)
            before = beats()
            for _ in range(3000):
                if beats() > before + 1:
                    break
                time.sleep(0.01)
            assert beats() > before + 1


def test_a_disk_that_a_library_finds_full_is_one_line(
    copied: Callable[..., Study], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied()
    forget(study, "steer", "compare")

    def fill(cls: type[Steer], stages: Sequence[Steer], workspace: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(Steer, "run", classmethod(fill))
    status, _, error = call("work", str(study.folder))
    assert status == 2
    line = f"error: {study.folder}: cannot be written: No space left on device; free space there"
    assert line in error and "Traceback" not in error


def test_damage_that_a_worker_meets_is_mended(
    finished: Study, copied: Callable[..., Study]
) -> None:
    study = copied()
    path = max((study.store.root / "reward").glob("virtue-s1-*/*.safetensors"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    forget(study, "steer", "compare")
    work(copied())
    assert numbers(study) == numbers(finished) and left_over(study) == []


def test_a_signal_ends_a_worker_and_frees_its_step(
    finished: Study, copied: Callable[..., Study], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied()
    forget(study, "steer", "compare")
    run = Steer.run.__func__  # type: ignore[attr-defined]

    def signalled(cls: type[Steer], stages: Sequence[Steer], workspace: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        run(cls, stages, workspace)

    with monkeypatch.context() as patch:
        patch.setattr(Steer, "run", classmethod(signalled))
        status, _, error = call("work", str(study.folder))
    assert (status, "stopped by SIGTERM after a whole step" in error) == (143, True)
    assert not list((study.store.root / WORKERS).iterdir())
    status, out, _ = call("work", str(study.folder))
    assert status == 0 and "nothing is missing" in out
    assert numbers(study) == numbers(finished) and left_over(study) == []


def test_workers_and_a_single_process_keep_each_other_out(
    copied: Callable[..., Study], call: Call
) -> None:
    study = copied()
    forget(study, "compare")
    with study.store.lock():
        status, _, error = call("work", str(study.folder))
    assert (status, error.count("\n")) == (2, 1)
    assert "a single process is running this study; wait for it, or stop it" in error
    assert read_states(study.store.root) == []
    with Worker(study.store.root, "other settings", lambda: "").alive():
        status, _, error = call("run", str(study.folder))
        assert (status, error.count("\n")) == (2, 1)
        assert "is at work on this study; join it by `ethosteer work`" in error
        status, _, error = call("work", str(study.folder))
        assert (status, error.count("\n")) == (2, 1)
        assert "makes this study with other settings" in error
        shown = " ".join(call("status", str(study.folder))[1].split())
        assert f"(process {os.getpid()}): waits for other workers, for" in shown
    assert copied().run() and left_over(study) == []


def test_a_worker_is_told_by_the_end_of_its_parent(tmp_path: Path) -> None:
    watched = Worker(tmp_path, "study", lambda: "", parent=os.getppid() + 1)
    with interruption.deferred(), watched.alive():
        while not interruption.is_requested():
            time.sleep(0.01)
        with pytest.raises(Interrupted) as stop:
            interruption.stop_if_requested()
    assert stop.value.received == signal.SIGTERM


def test_a_lost_claim_is_no_error_that_a_library_catches() -> None:
    assert not issubclass(LostClaim, Exception)


# --- processes


def test_two_workers_of_which_one_is_killed_make_what_one_process_makes(
    finished: Study, tiny_base: Path, tmp_path: Path
) -> None:
    settings = [*settings_of(tiny_base), "--set", TWO_SEEDS[0]]
    root = tmp_path / "demo" / "artifacts"
    with subprocess.Popen(
        [sys.executable, "-m", "ethosteer", "run", "demo", "--runs-dir", str(tmp_path), *settings,
         "--workers", "2"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:  # fmt: skip
        victim = None
        while victim is None and process.poll() is None:
            time.sleep(0.02)
            victim = next((s for s in read_states(root) if s.position.startswith("steer")), None)
        assert victim is not None
        # the step that it has, or the next one: its state is up to a sign of life old
        os.kill(victim.pid, signal.SIGKILL)
        out, error = process.communicate(timeout=900)
    assert process.returncode == 0, error
    assert f"(process {victim.pid}) was killed by SIGKILL; its step is taken over" in error
    assert {line.split(":")[0] for line in error.splitlines() if ": " in line} >= {
        "worker 1", "worker 2",
    }  # fmt: skip
    assert "done: " in out
    study = open_study(tiny_base, tmp_path, *TWO_SEEDS)
    assert numbers(study) == numbers(finished) and left_over(study) == []
    assert (study.folder / MANIFEST).is_file() and not study.run()

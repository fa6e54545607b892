"""Workers as processes: their devices and threads, what they say, and how they end."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ethosteer.errors import WorkerFailedError
from ethosteer.files import write_json
from ethosteer.interruption import Interrupted, deferred
from ethosteer.settings import BaseSettings
from ethosteer.study import workers
from ethosteer.study.claims import WORKERS, WorkerState
from ethosteer.study.run import Study
from ethosteer.study.workers import environments, run_workers
from tests.study.test_nothing_lost import Call, open_study

SLEEP = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
"""A worker that ends as one does that a signal has asked to."""


@pytest.fixture
def study(tiny_base: Path, tmp_path: Path) -> Study:
    return open_study(tiny_base, tmp_path)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def first_of_two(folder: Path, first: str, second: str) -> list[str]:
    """A command that runs one code in the process that comes first, and another in the other."""
    return python(
        f"import os\ntry:\n    os.mkdir({str(folder / 'first')!r})\n    code = {first!r}\n"
        f"except FileExistsError:\n    code = {second!r}\nexec(code)"
    )


def test_each_worker_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def devices(count: int, device: str) -> list[str | None]:
        base = BaseSettings(device=device)
        return [found.get("CUDA_VISIBLE_DEVICES") for found in environments(count, base)]

    assert devices(2, "auto") == ["0", "1"]
    assert devices(3, "cuda") == ["0", "1", "0"]
    assert devices(2, "cpu") == [None, None]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-1f2e")
    assert devices(2, "auto") == ["5", "GPU-1f2e"]


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--workers", "2"),
        ("run", "--executor", "ray"),
        ("slurm", "--workers", "2"),
    ],
)
def test_workers_do_not_share_one_named_gpu(
    command: tuple[str, ...], call: Call, tmp_path: Path
) -> None:
    name, *options = command
    status, out, error = call(
        name, "demo", "--runs-dir", str(tmp_path), "--set", "base.device=cuda:1", *options
    )
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert "base.device: 'cuda:1' is one GPU" in error and "CUDA_VISIBLE_DEVICES" in error
    assert not list(tmp_path.iterdir())


def test_cores_are_divided_unless_threads_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def threads(count: int) -> list[str]:
        base = BaseSettings(device="cpu")
        return [found["OMP_NUM_THREADS"] for found in environments(count, base)]

    assert threads(3) == ["2", "2", "2"] and threads(16) == ["1"] * 16
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads(2) == ["3", "3"]


def test_a_failure_is_one_line_and_stops_the_others(
    study: Study, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = first_of_two(
        tmp_path,
        SLEEP + "print('waiting', file=sys.stderr, flush=True); time.sleep(100)",
        "import sys, time; time.sleep(1); print('error: rows.csv:3: no', file=sys.stderr); exit(2)",
    )
    with pytest.raises(WorkerFailedError, match=r"worker \d: rows.csv:3: no") as failed:
        run_workers(study, command, 2)
    assert failed.value.status == 2


def test_an_internal_error_shows_its_lines(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(study.workspace.terminal, "say", said.append)
    with pytest.raises(WorkerFailedError, match="worker 1: internal error") as failed:
        run_workers(study, python("raise ZeroDivisionError('oh')"), 1)
    assert failed.value.status == 1
    assert "worker 1: ZeroDivisionError: oh" in said


def test_others_go_on_where_one_is_killed(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(study.workspace.terminal, "say", said.append)
    command = first_of_two(
        tmp_path, "import os; os.kill(os.getpid(), 9)", "import time; time.sleep(1)"
    )
    monkeypatch.setattr(Study, "is_finished", lambda _: True)
    run_workers(study, command, 2)
    assert len(said) == 1 and "was killed by SIGKILL; its step is taken over" in said[0]
    monkeypatch.setattr(Study, "is_finished", lambda _: False)
    with pytest.raises(WorkerFailedError, match="no worker is left: worker 1 was killed by SIGK"):
        run_workers(study, python("import os; os.kill(os.getpid(), 9)"), 2)


def test_the_error_of_a_worker_that_is_then_killed_is_told(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(study.workspace.terminal, "say", said.append)
    monkeypatch.setattr(Study, "is_finished", lambda _: True)
    code = "import os, sys; print('error: no room', file=sys.stderr, flush=True)"
    run_workers(study, python(f"{code}; os.kill(os.getpid(), 9)"), 1)
    assert said[0] == "worker 1: no room" and "was killed by SIGKILL" in said[1]


def test_workers_end_where_a_later_one_cannot_be_started(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[workers.Process] = []
    start = workers._start

    def second_fails(*arguments: Any) -> workers.Process:
        if started:
            raise OSError("no more processes")
        started.append(start(*arguments))
        return started[0]

    monkeypatch.setattr(workers, "_start", second_fails)
    with pytest.raises(OSError, match="no more processes"):
        run_workers(study, python("import time; time.sleep(100)"), 2)
    assert started[0].popen.wait(10) == -signal.SIGKILL


def test_a_failure_is_told_where_a_signal_ends_the_run_too(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(study.workspace.terminal, "say", said.append)
    code = f"import pathlib, signal, sys, time; pathlib.Path({str(tmp_path / 'ready')!r}).touch()"
    fails = "signal.signal(signal.SIGTERM, lambda *_: sys.exit('error: it broke'))"
    command = python(f"import signal, sys; {fails}; {code}; time.sleep(100)")

    def send() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    with deferred(), pytest.raises(Interrupted):
        run_workers(study, command, 1)
    sender.join()
    assert "worker 1: it broke" in said


def test_a_signal_is_forwarded_once_and_all_end(study: Study, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = python(
        "import os, pathlib, signal, sys, time\n"
        "received = []\n"
        "signal.signal(signal.SIGUSR1, lambda *_: received.append(1))\n"
        f"pathlib.Path({str(ready)!r} + str(os.getpid())).touch()\n"
        "while not received: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "sys.exit(138 if len(received) == 1 else 3)\n"
    )

    def send() -> None:
        while len(list(tmp_path.glob("ready*"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    sender.start()
    with deferred(), pytest.raises(Interrupted) as stop:
        run_workers(study, command, 2)
    sender.join()
    assert stop.value.received == signal.SIGUSR1


def test_the_table_shows_what_each_worker_is_making(
    study: Study,
) -> None:
    process = subprocess.Popen(python("import time; time.sleep(100)"), text=True)
    running, ended = (workers.Process(number, process) for number in (1, 2))
    making = WorkerState("a", "host", "machine", process.pid, "s", "steer ppo: 3 of 9", 61.0, 7)
    (study.store.root / WORKERS).mkdir(parents=True)
    write_json(study.store.root / WORKERS / "a.json", making)
    console = Console(width=80, file=io.StringIO())
    for _ in range(2):
        console.print(workers._table(study, [running]))
        (study.store.root / WORKERS / "a.json").unlink(missing_ok=True)
    process.kill()
    process.wait()
    console.print(workers._table(study, [ended]))
    assert isinstance(console.file, io.StringIO)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    stages = len(study.plan.stages)
    assert lines == [
        "worker 1 steer ppo: 3 of 9 0:01:01", f"study 0 of {stages} steps are stored",
        "worker 1 ends", f"study 0 of {stages} steps are stored",
        "worker 2 has ended", f"study 0 of {stages} steps are stored",
    ]  # fmt: skip

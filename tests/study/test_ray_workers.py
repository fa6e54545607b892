"""Workers as tasks of Ray: the same numbers; one line without Ray."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ethosteer.cli.workers import work_as_task
from ethosteer.errors import InputError
from ethosteer.study import ray_workers
from ethosteer.study.run import Study
from tests.study.test_nothing_lost import Call, left_over, numbers, open_study, settings_of

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the extra ray"
)


def test_without_ray_one_line_says_what_to_install(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    status, out, error = call("run", "demo", "--runs-dir", str(tmp_path), "--executor", "ray")
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert "pip install 'ethosteer[ray]'" in error


def test_a_task_works_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    worked: list[Path] = []
    monkeypatch.setattr("ethosteer.study.worker.work", lambda _: worked.append(Path.cwd()))
    arguments = "demo", tmp_path / "runs", None, ["base.device=cpu"]
    assert work_as_task(*arguments, tmp_path / "here") == 0
    assert worked == [tmp_path / "here"]
    with pytest.raises(InputError, match=r"gone: cannot be entered on .*No such file"):
        work_as_task(*arguments, tmp_path / "gone")


@needs_ray
def test_tasks_of_ray_make_what_one_process_makes(tiny_base: Path, tmp_path: Path) -> None:
    single: Study = open_study(tiny_base, tmp_path / "single")
    assert single.run()
    ended = subprocess.run(
        [sys.executable, "-m", "ethosteer", "run", "demo", "--runs-dir", str(tmp_path / "ray"),
         *settings_of(tiny_base), "--executor", "ray", "--workers", "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    study = open_study(tiny_base, tmp_path / "ray")
    assert numbers(study) == numbers(single) and left_over(study) == []


def test_a_host_and_port_are_tried_before_ray_tries_for_minutes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        for free in (address, f"ray://{address}", "auto", "local", None):
            ray_workers._knock(free)
    with pytest.raises(OSError, match="refused"):
        ray_workers._knock(address)


@needs_ray
def test_a_cluster_that_is_not_there_is_one_line(tiny_base: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ethosteer", "run", "demo", "--runs-dir", str(tmp_path),
         *settings_of(tiny_base), "--executor", "ray"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: --executor ray: RAY_ADDRESS=127.0.0.1:1 cannot be joined: ")
    assert "Traceback" not in ended.stderr

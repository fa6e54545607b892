"""A server that a study starts: its environment, its end, and what is said where it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from ethosteer.errors import InputError
from ethosteer.models.engine.connection import Connection, Needs
from ethosteer.models.engine.server import smallest_rank
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings, RolloutSettings
from tests.models.engine.fake_vllm import make_environment

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="vLLM runs on Unix alone")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    (tmp_path / "environment").mkdir()
    return make_environment(tmp_path / "environment")


def connection(python: Path, folder: Path, rank: int = 12, **changes: Any) -> Connection:
    settings = RolloutSettings(
        **{"engine": "vllm", "version": "0.32.0", "python": str(python), **changes}
    )
    needs = Needs(rank=rank, together=3, kept=5, tokens=40)
    base = BaseSettings(model="pocket", dtype="bfloat16")
    return Connection(settings, base, folder, needs, Terminal(quiet=True))


def ended(pid: int) -> bool:
    """Wait for a process to end, of which this one need not be the parent."""
    for _ in range(300):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_it_is_started_once_and_stopped(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONPATH", "/of/this/process")
    held = connection(python, tmp_path / "rollout", max_length=48)
    held.check()
    assert not (tmp_path / "rollout").exists(), "nothing is started by a check"
    client = held.client(on_cpu=True)
    assert held.client(on_cpu=True) is client
    assert held.served_model().max_length == 64
    assert held._server is not None
    pid = held._server.process.pid
    environment = client.http.get("/environment").json()
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert environment["PYTHONPATH"] == str(python.parent / "packages")
    key = environment["VLLM_API_KEY"]
    assert len(key) > 30 and client.http.headers["Authorization"] == f"Bearer {key}"
    log = (tmp_path / "rollout" / "vllm.log").read_text()
    for option in (
        "'--dtype', 'bfloat16'", "'--max-lora-rank', '16'", "'--max-loras', '3'",
        "'--max-cpu-loras', '5'", "'--max-model-len', '48'", "'--enable-lora'",
        "'--host', '127.0.0.1'", "'--logprobs-mode', 'processed_logprobs'",
    ):  # fmt: skip
        assert option in log
    assert key not in log
    held.close()
    assert ended(pid)
    held.close()


def test_it_ends_with_the_process_that_started_it(python: Path, tmp_path: Path):
    code = f"""
import os, signal, sys
from pathlib import Path
from ethosteer.models.engine.server import Server
server = Server({str(python)!r}, [], Path({str(tmp_path / "log")!r}), on_cpu=True)
print(server.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert ended(int(killed.stdout))


def test_a_server_that_does_not_start_is_one_line(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FAKE_VLLM", "crash")
    held = connection(python, tmp_path / "rollout")
    with pytest.raises(InputError) as fault:
        held.client(on_cpu=True)
    log = tmp_path / "rollout" / "vllm.log"
    assert str(fault.value) == (
        "rollout.python: vLLM did not start: it ended with status 3: RuntimeError: no memory for "
        f"the cache ({log})"
    )
    held.close()


@pytest.mark.parametrize(
    ("fails", "cause"),
    [
        ("engine", "ValueError: Free memory on device (9.1/79.2 GiB) is too little ("),
        ("options", "Value error, max_model_len (999) is greater than 96. More."),
    ],
)
def test_of_a_server_that_does_not_start_the_first_cause_is_told(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, cause: str
):
    monkeypatch.setenv("FAKE_VLLM", fails)
    held = connection(python, tmp_path / "rollout")
    with pytest.raises(InputError) as fault:
        held.client(on_cpu=True)
    message = str(fault.value)
    start = "rollout.python: vLLM did not start: it ended with status 1: "
    assert message.startswith(start + cause)
    assert message.endswith(f"({tmp_path / 'rollout' / 'vllm.log'})") and len(message) < 700
    held.close()


def test_a_server_that_died_is_one_line_with_the_end_of_its_log(python: Path, tmp_path: Path):
    held = connection(python, tmp_path / "rollout")
    client = held.client(on_cpu=True)
    assert held._server is not None
    os.kill(held._server.process.pid, signal.SIGKILL)
    with pytest.raises(InputError, match=r"it ended with status -9: started with .*vllm\.log"):
        client.version()
    held.close()


def test_the_environment_is_checked_before_any_work(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(InputError, match=r"rollout.python: has vLLM 0.32.0, but .* '0.31.0'"):
        connection(python, tmp_path, version="0.31.0").check()
    with pytest.raises(InputError, match=r"rollout.python: .*nowhere cannot be run"):
        connection(tmp_path / "nowhere", tmp_path).check()
    with pytest.raises(InputError, match=r"rollout.python: .* has no vLLM; install it"):
        connection(Path(sys.executable), tmp_path).check()
    with pytest.raises(InputError, match=r"rollout.max_length: the server takes 39 tokens"):
        connection(python, tmp_path, max_length=39).check()
    with pytest.raises(InputError, match=r"steer.lora.r: .* rank 512 at most, not 600"):
        connection(python, tmp_path, rank=600).check()
    assert [smallest_rank(rank) for rank in (1, 2, 8, 9, 300)] == [1, 8, 8, 16, 320]
    monkeypatch.setenv("FAKE_VERSION", "0.33.0")
    held = connection(python, tmp_path)
    with pytest.raises(InputError, match=r"has vLLM 0.33.0"):
        held.client(on_cpu=True)
    held.close()

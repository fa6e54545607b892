"""A vLLM server that a study starts by the interpreter of vLLM's environment, and stops again.

It listens on this machine alone, with an API key that nobody else knows, since whoever reaches it
can have it read adapters from any folder. Importable without torch.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ethosteer.errors import InputError

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of vLLM's --max-lora-rank."""
STOP_SECONDS = 20.0
LOG_TAIL = 65_536
"""Bytes at the end of a log, in which its last line and its last error are looked for."""
ERROR = re.compile(r"\bValue error, \S.*|\b[\w.]*(?:Error|Exception): \S.*")
"""pydantic, which reads vLLM's options, puts the reason of its ValidationError on the next line."""
ELSEWHERE = "root cause"
"""In an error of vLLM's main process that points to another one, of its engine, above it."""
LONGEST_REASON = 400
"""Characters of an error that are repeated."""
SERVE = """
import os, runpy, signal, threading, time

def end_with_the_study():
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(20)
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_the_study, daemon=True).start()
runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
"""
"""Run by vLLM's interpreter. The pipe to its standard input breaks when the study's process dies.
"""
VERSION = """
from importlib.metadata import packages_distributions, version
print(version(packages_distributions()["vllm"][0]))
"""


def installed_version(python: str) -> str:
    """Return the version of vLLM in an interpreter's environment; InputError where it has none."""
    try:
        done = subprocess.run(
            [python, "-c", VERSION],
            env=clean_environment({}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise InputError(f"rollout.python: {python} cannot be run: {fault}") from fault
    if done.returncode:
        raise InputError(
            f"rollout.python: {python} has no vLLM; install it in an environment of its own, whose "
            "interpreter this names"
        )
    return done.stdout.strip().partition("+")[0]


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what leads to this process's packages, with ``variables``."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    return {key: value for key, value in os.environ.items() if key not in ours} | dict(variables)


def smallest_rank(rank: int) -> int:
    """Return the smallest rank that vLLM provides for adapters of ``rank``.

    Raises InputError where there is none.
    """
    for provided in RANKS:
        if provided >= rank:
            return provided
    raise InputError(f"steer.lora.r: vLLM serves adapters of rank {RANKS[-1]} at most, not {rank}")


class Server:
    """A process of vLLM's server; its output goes to ``log``."""

    def __init__(self, python: str, options: Sequence[str], log: Path, *, on_cpu: bool) -> None:
        self.log = log
        self.key = secrets.token_urlsafe(32)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        variables = {
            "VLLM_API_KEY": self.key,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_NO_USAGE_STATS": "1",
        }
        if on_cpu:
            variables["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1")
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("wb") as output:
                self.process = subprocess.Popen(
                    [python, "-c", SERVE, "--host", "127.0.0.1", "--port", str(port), *options],
                    cwd=log.parent,  # which is on the interpreter's path
                    env=clean_environment(variables),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C ends the study after its step, for which the server is needed
                    start_new_session=True,
                )
        except OSError as fault:
            raise InputError(f"rollout.python: {python} cannot be run: {fault}") from fault

    def has_ended(self) -> bool:
        """Return whether the process has ended by itself."""
        return self.process.poll() is not None

    def last_line(self) -> str:
        """Return the last line of the log that is not blank."""
        return next(self._last_lines(), "no output")

    def _last_lines(self) -> Iterator[str]:
        """Yield the lines at the end of the log that are not blank, the last first."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - LOG_TAIL))
            lines = log.read().decode("utf-8", "replace").splitlines()
        yield from (line.strip() for line in reversed(lines) if line.strip())

    def _last_error(self) -> str:
        """Return the last error of the log that points to no other; its last line without one."""
        errors = (
            error[0]
            for line in self._last_lines()
            if ELSEWHERE not in line and (error := ERROR.search(line))
        )
        return next(errors, self.last_line())[:LONGEST_REASON]

    def why_ended(self) -> str:
        """Return the status and last error of a server that has ended, "" while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)  # a connection breaks just before its process has ended
        if not self.has_ended():
            return ""
        status = self.process.returncode
        # what a signal has ended had no error
        reason = self._last_error() if status >= 0 else self.last_line()
        return f"it ended with status {status}: {reason} ({self.log})"

    def stop(self) -> None:
        """End the process and its children."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self._signal(signal.SIGKILL)  # its children too, of which some outlive a killed parent
        self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

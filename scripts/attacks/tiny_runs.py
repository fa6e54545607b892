"""Runs of a tiny study with every stage and every algorithm, in processes that may be killed.

Processes are forked from a server that has imported everything, so that one starts in an instant.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

SECONDS_ALLOWED = 600.0
SILENT, PAUSE = 2.0, 4.0
"""Seconds after which a worker is taken for dead, and for which one is paused."""
SETTINGS = "SETTINGS"
"""Stands for the settings of the tiny study in a command."""
RUN = ("run", "demo", "--runs-dir", "RUNS", SETTINGS)
FILLER = "filler"
LARGEST_FILE = 16_384
"""Bytes of a file where files may not grow."""
NOT_NUMBERS = ("provenance", "times")
"""Entries of results.json that differ between runs with equal numbers."""
WRITES = os.O_WRONLY | os.O_RDWR
FILE_OPERATIONS = {"os.rename": 2, "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1}
"""Audited operations that change a folder, and how many of their arguments are paths."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What befalls a run: a signal after some seconds, or at a file operation counted from 1.

    Without a signal its disk is full from that operation on.
    """

    signal: signal.Signals | None
    seconds: float | None = None
    operation: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit status, minus the signal's number if killed, and its output.

    ``operations`` are the paths below the runs folder of its file operations there, in their order,
    where it was not killed.
    """

    status: int
    text: str
    operations: tuple[str, ...] = ()


class TinyRuns:
    """Runs of the tiny study below ``scratch``, with one base for all."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.base = scratch / "base"
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            ["attacks.tiny_runs", "torch", "transformers", "peft", "ethosteer.cli.app",
             "ethosteer.study.run", "ethosteer.report", "sklearn.linear_model", "scipy.stats"]
        )  # fmt: skip
        if not self.base.is_dir():
            _save_base(self.base)

    def folder(self, name: str) -> Path:
        """Return the folder of the run called ``name``."""
        return self.scratch / name / "demo"

    def run(
        self,
        name: str,
        attack: Attack | None = None,
        command: Sequence[str] = RUN,
        worker: str = "",
    ) -> Ended:
        """Run the study, or resume it, in a process of its own; or another command on its runs.

        ``RUNS`` in an argument of ``command`` stands for the folder of its runs, ``worker`` tells
        apart processes that run at once. One that SIGSTOP pauses goes on after ``PAUSE``.
        """
        runs, log = self.scratch / name, self.scratch / f"{name}{worker}.log"
        runs.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        process = self._context.Process(target=_child, args=(self.base, runs, log, attack, command))
        process.start()
        if attack is not None and attack.seconds is not None:
            process.join(attack.seconds)
            if process.is_alive() and process.pid is not None and attack.signal is not None:
                os.kill(process.pid, attack.signal)
        if attack is not None and attack.signal == signal.SIGSTOP:
            _continue(process)
        process.join(SECONDS_ALLOWED)
        if process.is_alive():
            process.kill()
            process.join()
            return Ended(process.exitcode or 0, "it hung")
        text = log.read_text("utf-8", errors="replace") if log.is_file() else ""
        text, _, operations = text.partition("OPERATIONS ")
        return Ended(process.exitcode or 0, text, tuple(json.loads(operations or "[]")))

    def whole(self) -> tuple[float, tuple[str, ...]]:
        """Run the study called "whole" unless it is there; return its seconds and operations.

        Raises RuntimeError where it fails.
        """
        measured = self.scratch / "whole.json"
        if not measured.is_file():
            started = time.monotonic()
            ended = self.run("whole")
            if ended.status != 0:
                raise RuntimeError(f"a run that was left alone failed: {ended.text}")
            seconds = time.monotonic() - started
            measured.write_text(json.dumps([seconds, ended.operations]), "utf-8")
        seconds, operations = json.loads(measured.read_text("utf-8"))
        return seconds, tuple(operations)

    def numbers(self, name: str) -> dict[str, Any]:
        """Return all that a run found out: its results, and every outcome."""
        import pyarrow.parquet as pq

        folder = self.folder(name)
        results = json.loads((folder / "results.json").read_text("utf-8"))
        kept = {key: value for key, value in results.items() if key not in NOT_NUMBERS}
        return kept | {"outcomes": pq.read_table(folder / "outcomes.parquet").to_pylist()}


def signal_at_random(
    kind: signal.Signals, random_numbers: random.Random, duration: float, operations: int
) -> tuple[str, Attack]:
    """Return a signal at any second of a run, or at any of its file operations, and its name."""
    if random_numbers.random() < 0.5:
        seconds = random_numbers.uniform(0, duration)
        return f"{kind.name} after {seconds:.1f} s", Attack(kind, seconds=seconds)
    operation = random_numbers.randint(1, operations)
    name = f"{kind.name} at file operation {operation} of {operations}"
    return name, Attack(kind, operation=operation)


def is_one_line(text: str) -> bool:
    """Return whether a process that failed ended with an error line, and without a traceback."""
    return "Traceback" not in text and text.strip().rpartition("\n")[2].startswith("error: ")


def _save_base(folder: Path) -> None:
    from tests import tiny
    from transformers import AutoTokenizer

    from ethosteer.models.identity import POCKET

    tokenizer = AutoTokenizer.from_pretrained(POCKET)
    tiny.save_llama(folder, tokenizer, max_position_embeddings=256)


def _continue(process: BaseProcess) -> None:
    """Let a process go on that is paused, or will be, after ``PAUSE``."""
    assert process.pid is not None
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            process.join(0.05)
            if not process.is_alive():
                return
        time.sleep(PAUSE)
        os.kill(process.pid, signal.SIGCONT)


def _child(
    base: Path, runs: Path, log: Path, attack: Attack | None, command: Sequence[str]
) -> None:
    """Run a command as the command line does, with stdout and stderr in ``log``."""
    import torch
    from tests.tiny_study import ALGORITHMS

    from ethosteer.cli.app import main
    from ethosteer.models import finetuning, reward_training
    from ethosteer.study import claims

    claims.POLL_SECONDS, claims.BEAT_SECONDS, claims.SILENT_SECONDS = 0.05, 0.1, SILENT
    torch.set_num_threads(1)
    finetuning.CHECKPOINT_EVERY, reward_training.CHECKPOINT_EVERY = 1, 2
    output = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    settings = (f"base.model={base}", *ALGORITHMS)
    sys.argv = ["ethosteer", *(word.replace("RUNS", str(runs)) for word in command)]
    if SETTINGS in command:
        index = sys.argv.index(SETTINGS)
        sys.argv[index : index + 1] = [word for setting in settings for word in ("--set", setting)]
    operations = _list_operations(runs, attack)
    status = 1
    try:
        main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    print(f"OPERATIONS {json.dumps(operations)}", flush=True)
    sys.stderr.flush()
    os._exit(status)


def _list_operations(runs: Path, attack: Attack | None) -> list[str]:
    """List the paths of file operations below ``runs`` as they come, and attack at one of them.

    The attack comes before the operation.
    """
    operations: list[str] = []

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            opened, _, flags = arguments
            paths = [opened] if isinstance(flags, int) and flags & WRITES else []
        else:
            paths = list(arguments[: FILE_OPERATIONS.get(event, 0)])
        if not any(isinstance(path, str | os.PathLike) for path in paths):
            return
        below = [str(path) for path in paths if str(runs) in str(path)]
        if below:
            operations.append(below[0].removeprefix(f"{runs}/"))
            if attack is not None and attack.operation == len(operations):
                if attack.signal is None:
                    fill_disk(runs)
                else:
                    os.kill(os.getpid(), attack.signal)

    sys.addaudithook(audit)
    return operations


def fill_disk(folder: Path) -> None:
    """Fill the file system that is mounted on ``folder``.

    Where none is, the system lets no file of this process grow beyond ``LARGEST_FILE`` from now on.
    """
    if not folder.is_mount():
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, limit))
        return
    for size in (1 << 20, 4096):
        with suppress(OSError), (folder / FILLER).open("ab", buffering=0) as file:
            while True:
                file.write(bytes(size))

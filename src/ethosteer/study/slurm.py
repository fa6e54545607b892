"""A job of Slurm whose tasks are workers of one study: its script, and its requeueing."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ethosteer.errors import InputError

SCRIPT = "slurm.sh"
LOG = "slurm-%A_%a.log"
TIME = re.compile(r"\d+(-\d+(:\d+){0,2})?|\d+(:\d+){1,2}")
"""Minutes, minutes:seconds, hours:minutes:seconds, days-hours and so on, as sbatch reads them."""
MEMORY = re.compile(r"\d+[KMGT]?")
SETTLED = {
    "--array": "--workers (with --at-once)",
    "--cpus-per-task": "--cpus",
    "--signal": "--warning",
    "--time": "--time",
} | {"-a": "--workers (with --at-once)", "-c": "--cpus", "-t": "--time"}
"""Options of sbatch that the script depends on, with those of ``ethosteer slurm`` for them."""
EARLIEST_WARNING = 60
"""Seconds by which Slurm may send a signal before the time that it was asked for."""


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """What the tasks of an array job ask for; ``simultaneous`` bounds how many run at once.

    ``warning`` are the seconds before the end of ``time`` at which a task is to end its step, and
    ``options`` are further options of sbatch, such as ``--partition=a100``. Raises InputError for a
    value that sbatch would not take.
    """

    workers: int
    simultaneous: int | None = None
    gpus: int = 1
    cpus: int = 4
    memory: str | None = None
    time: str | None = None
    warning: int = 120
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.time is not None and not TIME.fullmatch(self.time):
            raise InputError(f"--time {self.time!r}: write hours:minutes:seconds, as in 24:00:00")
        if self.time is not None and 0 < _seconds(self.time) <= self.warning + EARLIEST_WARNING:
            raise InputError(
                f"--time {self.time}: a task is warned {self.warning} seconds before (--warning), "
                f"and Slurm may do so {EARLIEST_WARNING} seconds earlier, so that it would be "
                "requeued as soon as it starts; raise --time or lower --warning"
            )
        if self.memory is not None and not MEMORY.fullmatch(self.memory):
            raise InputError(f"--mem {self.memory!r}: write a number with its unit, as in 64G")
        for option in self.options:
            if not option.startswith("-") or not option.isprintable():
                raise InputError(f"--option {option!r}: write one of sbatch's, as --partition=a100")
            if mend := SETTLED.get(option.split("=")[0] if option[:2] == "--" else option[:2]):
                raise InputError(f"--option {option!r}: {mend} settles it here")

    def script(self, name: str, log: Path, arguments: Sequence[str]) -> str:
        """Return the batch script: each task is ``ethosteer work`` with ``arguments``.

        The worker takes the shell's place, so that Slurm's warning reaches it.
        """
        simultaneous = f"%{self.simultaneous}" if self.simultaneous else ""
        options = [
            f"--job-name=ethosteer-{re.sub(r'[^A-Za-z0-9._-]', '-', name)}",
            f"--array=0-{self.workers - 1}{simultaneous}",
            "--requeue",
            "--open-mode=append",
            f"--signal=B:USR1@{self.warning}",
            f'--output="{log}"',
            f'--chdir="{Path.cwd()}"',
            f"--cpus-per-task={self.cpus}",
            *([f"--gres=gpu:{self.gpus}"] if self.gpus else []),
            *([f"--mem={self.memory}"] if self.memory else []),
            *([f"--time={self.time}"] if self.time else []),
            *self.options,
        ]
        command = [sys.executable, "-P", "-m", "ethosteer", "work", *arguments, "--requeue"]
        lines = [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in options),
            "# SIGUSR1 comes before the end of the time: the worker ends its step, with a",
            "# checkpoint, and requeues this task, which then goes on.",
            f"export OMP_NUM_THREADS={self.cpus}",
            f"exec {shlex.join(command)}",
        ]
        return "\n".join(lines) + "\n"


def _seconds(time: str) -> int:
    """Return the seconds of a time limit; 0 is no limit."""
    days, is_with_days, clock = time.rpartition("-")
    fields = [int(field) for field in clock.split(":")]
    if is_with_days:
        hours, minutes, seconds = (*fields, 0, 0)[:3]
    else:  # minutes, minutes:seconds or hours:minutes:seconds
        hours, minutes, seconds = {1: (0, *fields, 0), 2: (0, *fields)}.get(len(fields), fields)
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def submit(script: Path) -> str:
    """Submit a batch script; return what sbatch says. InputError where it refuses."""
    return _run(["sbatch", str(script)], "submit it from a node that has Slurm")


def this_job() -> str:
    """Return what Slurm calls this task; InputError where it is none of Slurm's."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        raise InputError("--requeue: this is no job of Slurm's, as SLURM_JOB_ID is not set")
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    if array and task:  # the last task has the array's id, by which all tasks would be requeued
        job = f"{array}_{task}"
    return job


def requeue() -> None:
    """Put this task of Slurm's back into the queue; Slurm ends it meanwhile."""
    _run(["scontrol", "requeue", this_job()], "requeue the job by hand")


def _run(command: Sequence[str], mend: str) -> str:
    """Run a command of Slurm's and return its output."""
    if shutil.which(command[0]) is None:
        raise InputError(f"{command[0]}: no such command on this machine; {mend}")
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise InputError(f"{shlex.join(command)}: {ended.stderr.strip() or ended.stdout.strip()}")
    return ended.stdout.strip()

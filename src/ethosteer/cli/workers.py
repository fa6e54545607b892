"""Commands for many workers of one study: one worker, and an array job of them on Slurm."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethosteer.api import prepare_study
from ethosteer.cli.errors import print_error
from ethosteer.cli.options import DataDir, Overrides, RunsDir, StudyArgument
from ethosteer.errors import InputError, WorkerFailedError
from ethosteer.files import make_folder, usable_path, write_atomic
from ethosteer.interruption import Interrupted, deferred
from ethosteer.study.folder import is_run_folder
from ethosteer.study.slurm import LOG, SCRIPT, SlurmJob, requeue, submit, this_job

if TYPE_CHECKING:
    from ethosteer.settings import BaseSettings
    from ethosteer.study.run import Study

WORKERS_LIMIT = 1000


class Executor(StrEnum):
    """What runs the workers of ``ethosteer run --workers``."""

    local = "local"
    ray = "ray"


Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=WORKERS_LIMIT,
        help="Run the study by so many processes, one a GPU; on a processor the cores are divided.",
    ),
]
ExecutorOption = Annotated[
    Executor,
    typer.Option(
        "--executor",
        help="`local` starts the workers as processes here, `ray` as tasks of Ray (needs the extra "
        "`ray`), by default one a GPU.",
    ),
]


def work(
    study: StudyArgument,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
    requeues: Annotated[
        bool,
        typer.Option(
            "--requeue",
            help="Where SIGUSR1 ends the work, put this job of Slurm's back into the queue.",
        ),
    ] = False,
) -> None:
    """Make a study's missing steps beside other workers, on this host or on others.

    A worker takes whatever is ready and no other worker has, waits for what others have, and ends
    when nothing is missing; one of them writes the report. All need the same settings and one
    folder of runs that they share. The step of a worker that dies is taken over, from its
    checkpoint, a minute after its last sign of life. Signals are as for `run`.

    Example: `ethosteer work runs/demo`
    """
    from ethosteer.study.worker import PARENT
    from ethosteer.study.worker import work as work_on

    if requeues:
        this_job()  # what is no job is refused before the work
    prepared = prepare_study(study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides or ())
    try:
        with deferred():
            work_on(prepared)
    except Interrupted as stop:
        line = f"stopped by {stop.received.name} after a whole step, and what is done is stored"
        if PARENT not in os.environ:  # or else the parent says how all workers are resumed
            resumed = f"ethosteer work {shlex.quote(str(prepared.folder))}"
            line += f"; other workers go on, or `{resumed}` does"
        print_error(line)
        if requeues and stop.received == getattr(signal, "SIGUSR1", None):
            requeue()
        raise typer.Exit(stop.status) from None
    typer.echo(f"nothing is missing: {prepared.folder / 'report.html'}")


def work_as_task(
    study: str, runs_dir: Path, data_dir: Path | None, overrides: Sequence[str], folder: Path
) -> int:
    """Do what ``ethosteer work`` does in ``folder``, in a task of Ray's; return its exit status."""
    from ethosteer.study.worker import work as work_on

    try:
        os.chdir(folder)  # a cluster's tasks run elsewhere, and settings may name relative paths
    except OSError as fault:
        raise InputError(
            f"{folder}: cannot be entered on {socket.gethostname()}: {fault}"
        ) from fault
    prepared = prepare_study(study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides)
    try:
        with deferred():
            work_on(prepared)
    except Interrupted as stop:
        return stop.status
    return 0


def run_by_workers(
    prepared: Study,
    study: str,
    runs_dir: Path,
    data_dir: Path | None,
    overrides: Sequence[str],
    workers: int | None,
    executor: Executor,
) -> bool:
    """Run a prepared study by several workers; return False where nothing was missing.

    Each worker prepares ``study`` itself, from the other arguments. Raises WorkerFailedError.
    """
    base = prepared.settings.base
    if executor == Executor.ray or (workers or 1) > 1:
        refuse_one_gpu(base)
    prepared.prepare_base()
    if prepared.is_finished():
        return False
    if executor == Executor.ray:
        from ethosteer.study.ray_workers import run_on_ray

        named, *_ = work_arguments(study, runs_dir, data_dir, overrides)
        data = data_dir and data_dir.absolute()
        task = named, runs_dir.absolute(), data, overrides, Path.cwd()
        terminal = prepared.workspace.terminal
        run_on_ray(work_as_task, task, workers, base, terminal)
        if not prepared.is_finished():
            raise WorkerFailedError(1, "no worker on Ray is left: its tasks were stopped")
    else:
        from ethosteer.study.workers import run_workers

        arguments = work_arguments(study, runs_dir, data_dir, overrides)
        command = [sys.executable, "-P", "-m", "ethosteer", "work", *arguments]
        run_workers(prepared, command, workers or 1)
    return True


def refuse_one_gpu(base: BaseSettings) -> None:
    """Raise InputError where ``base.device`` names one GPU, which all workers would share."""
    if base.device.startswith("cuda:"):
        raise InputError(
            f"base.device: '{base.device}' is one GPU, which all workers would share; set 'cuda', "
            "so that each has one, and CUDA_VISIBLE_DEVICES to choose which"
        )


def work_arguments(
    study: str, runs_dir: Path, data_dir: Path | None, overrides: Sequence[str]
) -> list[str]:
    """Return the arguments of ``ethosteer work`` for a study; paths are absolute."""
    named = Path(study)
    if is_run_folder(study) or named.is_file():
        study = str(named.absolute())
    arguments = [study, "--runs-dir", str(runs_dir.absolute())]
    if data_dir is not None:
        arguments += ["--data-dir", str(data_dir.absolute())]
    return arguments + [word for setting in overrides for word in ("--set", setting)]


def slurm(
    study: StudyArgument,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
    workers: Annotated[
        int, typer.Option(min=1, max=WORKERS_LIMIT, help="Tasks of the array job.")
    ] = 4,
    simultaneous: Annotated[
        int | None,
        typer.Option("--at-once", min=1, help="How many tasks may run at once; by default all."),
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=0, max=1, help="GPUs of a task: 1, or 0 on a processor.")
    ] = 1,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of a task.")] = 4,
    memory: Annotated[
        str | None, typer.Option("--mem", help="Memory of a task, as in `64G`.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="Time limit of a task, as in `24:00:00`.")
    ] = None,
    warning: Annotated[
        int,
        typer.Option(
            "--warning",
            min=1,
            max=65535,
            help="Seconds before the time limit at which a task ends its step and is requeued.",
        ),
    ] = 120,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option", help="A further option of sbatch, as in `--option=--partition=a100`."
        ),
    ] = None,
    is_submitted: Annotated[bool, typer.Option("--submit", help="Submit the script.")] = False,
) -> None:
    """Write a Slurm script whose tasks are workers of a study: an array job of `ethosteer work`.

    Before its time limit a task ends its step, with a checkpoint, and is requeued. All nodes must
    see the folder of runs and the data under the same paths.

    Example: `ethosteer slurm demo --workers 2 --gpus 0 --time 1:00:00`
    """
    usable_path(runs_dir)
    job = SlurmJob(workers, simultaneous, gpus, cpus, memory, time, warning, tuple(options or ()))
    prepared = prepare_study(
        study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides or (), stored=True
    )
    refuse_one_gpu(prepared.settings.base)
    folder = prepared.folder.absolute()
    for path in (folder, Path.cwd()):
        if any(character in str(path) for character in '"%\\\n'):
            raise InputError(f"{path}: Slurm takes no folder with quotes, % or line breaks")
    arguments = work_arguments(study, runs_dir, data_dir, overrides or ())
    make_folder(folder)
    path = folder / SCRIPT
    write_atomic(path, job.script(prepared.settings.name, folder / LOG, arguments))
    if is_submitted:
        typer.echo(submit(path))
    else:
        typer.echo(f"written: {path}; submit it by `sbatch {shlex.quote(str(path))}`")

"""Commands for studies that are to run: the run, its status, and the plan before it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ethosteer import processes
from ethosteer.api import prepare_study, study_origin
from ethosteer.cli.completion import complete_devices
from ethosteer.cli.errors import print_error
from ethosteer.cli.options import DataDir, Overrides, RunsDir, StudyArgument
from ethosteer.cli.workers import Executor, ExecutorOption, Workers, run_by_workers
from ethosteer.errors import InputError, WorkerFailedError
from ethosteer.interruption import Interrupted, deferred
from ethosteer.progress import visible
from ethosteer.study.devices import DEVICES
from ethosteer.study.folder import is_run_folder
from ethosteer.study.load import load_study


def run(
    study: StudyArgument,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
    workers: Workers = None,
    executor: ExecutorOption = Executor.local,
) -> None:
    """Run a study from data to report; an interrupted run resumes.

    Finished work is stored and not repeated. Ctrl-C, SIGTERM and SIGUSR1 (by which a queue warns a
    job) end a run after the current step, with a checkpoint; a second signal ends it at once.
    After a setting is changed, only the work that depends on it runs again. The run's folder
    remembers its settings and data, so that `ethosteer run runs/demo` resumes it from there.
    With `--workers` several processes share the work; `ethosteer work` adds further ones.

    A base above one GPU is shared by several processes, started by torchrun or accelerate launch:
    `torchrun --nproc-per-node 2 -m ethosteer run study.toml`.

    Example: `ethosteer run demo --set steer.steps=20`
    """
    by_workers = workers is not None or executor != Executor.local
    if by_workers and processes.count() > 1:
        raise InputError(
            "--workers, --executor: each worker has a base to itself, and torchrun has started "
            "processes that share one; use either"
        )
    prepared = prepare_study(study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides or ())
    try:
        with deferred():
            if by_workers:
                has_run = run_by_workers(
                    prepared, study, runs_dir, data_dir, overrides or (), workers, executor
                )
            else:
                has_run = prepared.run()
    except WorkerFailedError as fault:
        print_error(f"error: {visible(str(fault))}")
        raise typer.Exit(fault.status) from None
    except Interrupted as stop:
        if processes.is_main():
            print_error(
                f"stopped by {stop.received.name} after a whole step, and what is done is stored; "
                f"resume with `{resuming(prepared.folder, workers, executor)}`"
            )
        raise typer.Exit(stop.status) from None
    if not processes.is_main():
        return
    if has_run:
        from ethosteer.cli.show import verdicts_table

        Console().print(verdicts_table(prepared.store.load(prepared.plan.comparison)))
        typer.echo(f"done: {prepared.folder / 'report.html'}")
    else:
        typer.echo(f"nothing to do: the study is finished ({prepared.folder})")


def resuming(folder: Path, workers: int | None, executor: Executor) -> str:
    """Return the command that goes on with a run in ``folder``, by as many workers."""
    command = ["ethosteer", "run", str(folder)]
    if executor != Executor.local:
        command += ["--executor", str(executor)]
    if workers is not None:
        command += ["--workers", str(workers)]
    return shlex.join(command)


def status(
    study: StudyArgument,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Show which work of a study is done, how long it took, what remains, and how long that takes.

    Example: `ethosteer status runs/demo`
    """
    prepared = prepare_study(
        study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides or (), stored=True
    )
    from ethosteer.cli.show import status_table

    Console().print(status_table(prepared))
    if not prepared.is_recorded:
        _print_note(prepared.settings.base.model)


def plan(
    study: StudyArgument,
    data_dir: DataDir = None,
    overrides: Overrides = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            help="Plan for this GPU instead of this machine: "
            f"{', '.join(f'`{name}`' for name in DEVICES)}.",
            autocompletion=complete_devices,
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="What an hour of the device costs.")
    ] = None,
) -> None:
    """Estimate a study's memory, time and disk space before it runs.

    On this machine, or by published figures on one that is not at hand; where the study does not
    fit in its memory, the settings are shown that make it fit.
    Neither model weights nor data are needed: where they are absent, `base.shape` and
    `arms.NAME.max_pairs` of the study file are used instead.

    Example: `ethosteer plan llama2-13b --on h100-80 --price 2.5`
    """
    settings = load_study(study, overrides or ())
    origin = study_origin(settings, data_dir, Path(study) if is_run_folder(study) else None)
    from ethosteer.cli.show import plan_table
    from ethosteer.study.estimate import estimate

    Console().print(plan_table(estimate(settings, origin, on, price)))
    _print_note(settings.base.model)


def _print_note(model: str) -> None:
    """Say so where a base is not fetched yet."""
    from ethosteer.models.cached import unfetched_note

    if note := unfetched_note(model):
        typer.echo(note)

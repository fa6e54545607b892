"""The command line: its commands, and how errors become exit statuses.

Commands check their input before torch and transformers are imported.
"""

from __future__ import annotations

import atexit
import gc
import io
import sys
import time
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from ethosteer import processes
from ethosteer.cli.bench import bench
from ethosteer.cli.collect import collect
from ethosteer.cli.collection import collection
from ethosteer.cli.curate import curate
from ethosteer.cli.doctor import doctor
from ethosteer.cli.errors import full_disk_named, print_error
from ethosteer.cli.evaluate import evaluate
from ethosteer.cli.fetch import fetch
from ethosteer.cli.init import init
from ethosteer.cli.listing import show_list
from ethosteer.cli.runs import chat, export, report
from ethosteer.cli.studies import plan, run, status
from ethosteer.cli.workers import slurm, work
from ethosteer.errors import InputError
from ethosteer.interruption import Interrupted, immediate
from ethosteer.progress import visible

PAUSE = 5.0
"""Seconds after which a process beside the main one tells of an error.

Most errors are the main one's too, which tells of it, and torchrun then ends the others.
"""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Exit status: 0 success; 2 invalid input (one line names the file, row or key); "
    "1 internal error; 130, 143 or 138 stopped by Ctrl-C, SIGTERM or SIGUSR1.",
)

app.add_typer(bench, name="bench")
app.command("collect")(collect)
app.add_typer(collection, name="collection")
app.command("init")(init)
app.command("doctor")(doctor)
app.command("list")(show_list)
app.command("run")(run)
app.command("work")(work)
app.command("slurm")(slurm)
app.command("status")(status)
app.command("plan")(plan)
app.command("fetch")(fetch)
app.command("curate")(curate)
app.command("evaluate")(evaluate)
app.command("report")(report)
app.command("export")(export)
app.command("chat")(chat)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"ethosteer {version('ethosteer')}")
        raise typer.Exit


@app.callback()
def ethosteer(
    context: typer.Context,
    version_requested: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Compare preference datasets as steering data for one language model.

    A study trains a reward model on each dataset, steers the same base model with each, evaluates
    all models on the same items and tests the differences. Start with `ethosteer run demo`.
    """
    command = context.invoked_subcommand
    if processes.count() > 1 and command != "run":
        raise InputError(
            f"ethosteer {command}: is for one process; torchrun and accelerate launch start "
            "`ethosteer run` alone"
        )


def main() -> None:
    """Run the command line; the only function that turns errors into exit statuses."""
    # A garbage collection during the import of torch costs a second, and one at exit another.
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        # A Windows console's encoding lacks characters that datasets and models write.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with immediate(), full_disk_named():
            app()
    except InputError as error:
        _wait_for_main()
        print_error(f"error: {visible(str(error))}")
        sys.exit(2)
    except Interrupted as stop:
        print_error("interrupted")
        sys.exit(stop.status)
    except Exception:
        _wait_for_main()
        print_error(traceback.format_exc().rstrip())
        print_error("internal error; please report it with the lines above")
        sys.exit(1)


def _wait_for_main() -> None:
    if not processes.is_main():
        time.sleep(PAUSE)

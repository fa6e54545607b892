"""``ethosteer doctor``: what a machine offers, and whether a run's files are undamaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ethosteer.errors import InputError
from ethosteer.progress import escape
from ethosteer.study.folder import STUDY_FILE, is_run_folder


def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run's folder, whose files are checked as well.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check the machine, the installed versions, disk, hub and caches, and a run's files.

    Nothing is changed. Exit status 2 where a run's files are damaged; each line says what mends it.

    Example: `ethosteer doctor runs/demo`
    """
    if run is not None and not is_run_folder(run):
        raise InputError(f"{run}: no run's folder, since it has no {STUDY_FILE}")
    from ethosteer.study.doctor import check_machine, run_files

    findings = check_machine(run or Path())
    if run is not None:
        findings += run_files(run)
    table = Table("", "", "what was found", "what to do")
    for finding in findings:
        table.add_row(
            finding.state,
            escape(finding.subject),
            escape(finding.text),
            escape(finding.mend),
        )
    Console().print(table)
    if any(finding.state == "damaged" for finding in findings):
        raise typer.Exit(2)

"""Commands for finished runs: the report, the export of an arm, and questions to all arms."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ethosteer.api import prepare_study
from ethosteer.cli.completion import complete_study
from ethosteer.cli.options import DataDir, Overrides, RunsDir, StudyArgument
from ethosteer.errors import InputError
from ethosteer.files import usable_path
from ethosteer.study.load import load_study

Studies = Annotated[
    list[str],
    typer.Argument(
        help="A study (as for `run`), a run's folder, or `published-2024`. Several studies or "
        "folders are compared.",
        autocompletion=complete_study,
    ),
]
ReportFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The report's folder; by default the run's own, and `runs/A+B` for several studies.",
    ),
]
Texts = Annotated[
    bool,
    typer.Option(
        "--texts/--no-texts",
        help="Without texts, no prompt, answer or item is in the report: it may be published "
        "where the data may not. Needs --out.",
    ),
]


def report(
    studies: Studies,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
    out: ReportFolder = None,
    texts: Texts = True,
) -> None:
    """Write a finished study's report again, or compare several studies.

    `ethosteer report A B` compares every arm of A with every arm of B, on each benchmark where
    both used the same items, prompts, template and tokenizer, and names what differs elsewhere.
    `ethosteer report runs/A` needs only the files in that folder.
    `ethosteer report A --no-texts --out FOLDER` writes one to publish, with its results.json.
    `ethosteer report published-2024` shows what the counts of the 2024 study support.

    Example: `ethosteer report demo`
    """
    from ethosteer.published.counts import counts_path

    for path in (*map(Path, studies), runs_dir, out or runs_dir):
        usable_path(path)
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is not a folder")
    published = counts_path(studies[0]) if len(studies) == 1 else None
    if not texts and (out is None or published is not None or len(studies) > 1):
        raise InputError("--no-texts: give a single study, and a folder by --out")
    if published is not None:
        folder = _report_counts(published, runs_dir, out)
    elif len(studies) > 1:
        folder = _report_across(studies, runs_dir, overrides or (), out)
    else:
        folder = _report_again(studies[0], runs_dir, data_dir, overrides or (), out, texts=texts)
    typer.echo(f"done: {folder / 'report.html'}")


def _report_counts(published: Path, runs_dir: Path, out: Path | None) -> Path:
    """Write the report on another study's published counts; return its folder."""
    from ethosteer.published.counts import read_counts
    from ethosteer.published.document import write_counts_report

    counts = read_counts(published)
    folder = out or runs_dir / counts.name
    write_counts_report(counts, folder)
    return folder


def _report_across(
    studies: Sequence[str], runs_dir: Path, overrides: Sequence[str], out: Path | None
) -> Path:
    """Write the report that compares finished studies; return its folder."""
    from ethosteer.study.compare_studies import write_across
    from ethosteer.study.finished import open_run

    runs = [open_run(_run_folder(study, runs_dir, overrides)) for study in studies]
    folder = out or runs_dir / "+".join(run.name for run in runs)
    write_across(runs, folder)
    return folder


def _report_again(
    study: str,
    runs_dir: Path,
    data_dir: Path | None,
    overrides: Sequence[str],
    out: Path | None,
    *,
    texts: bool,
) -> Path:
    """Write a finished study's report into its own folder or ``out``; return that folder."""
    from ethosteer.study.finished import is_readable_run, open_run, write_run_report

    folder = Path(study)
    rewritten = not is_readable_run(folder)
    if rewritten:
        prepared = prepare_study(study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides)
        prepared.check_finished()
        # the folder may be one that may only be read
        if out is None or not prepared.is_finished():
            prepared.write_files()
        folder = prepared.folder
    if out is not None and out.resolve() == folder.resolve() and not texts:
        raise InputError(f"--out {out}: is the run's own folder, whose report has its texts")
    if out is not None or not rewritten:
        run, folder = open_run(folder), out or folder
        write_run_report(run, folder, texts=texts)
    return folder


def _run_folder(study: str, runs_dir: Path, overrides: Sequence[str]) -> Path:
    """Return the folder that ``study`` names, or else the folder of its run in ``runs_dir``."""
    from ethosteer.study.finished import is_readable_run

    if is_readable_run(Path(study)):
        return Path(study)
    return runs_dir / load_study(study, overrides).name


def export(
    study: StudyArgument,
    arm: Annotated[str, typer.Argument(help="An arm of the study, such as `virtue`.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write; it must not exist yet.")],
    seed: Annotated[
        int | None, typer.Option(help="The arm's seed; by default the study's first.")
    ] = None,
    reward: Annotated[
        bool, typer.Option("--reward", help="Export the arm's reward model, not its policy.")
    ] = False,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Export an arm as a PEFT adapter with its base model and a model card.

    The folder loads with transformers and peft alone; the model card shows how. Where the base was
    fine-tuned, the adapter holds that too.

    Example: `ethosteer export runs/demo virtue ./virtue-adapter`
    """
    prepared = prepare_study(
        study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides or (), stored=True
    )
    from ethosteer.study.export import export_arm

    usable_path(folder)
    export_arm(prepared, arm, seed, folder, reward=reward)
    typer.echo(f"done: {folder}")


def chat(
    study: StudyArgument,
    prompt: Annotated[
        str | None, typer.Option(help="Ask this one question; without it, ask in turns.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the sampling noise.")
    ] = 0,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Ask the arms of a finished study one question and compare their answers.

    All models sample with the same noise, so answers differ by the models alone. Questions are
    also read from a file or a pipe, one a line.

    Example: `ethosteer chat runs/demo --prompt "May I lie to a friend?"`
    """
    prepared = prepare_study(
        study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides or (), stored=True
    )
    prepared.check_finished()
    from ethosteer.cli.show import answers_table

    console = Console()
    for question in _questions(prompt):
        console.print(answers_table(prepared, question, seed))


def _questions(prompt: str | None) -> Iterator[str]:
    """Yield the one question given, or those typed until an empty line, or the lines of a file."""
    if prompt is not None:
        yield prompt
    elif sys.stdin.isatty():
        while question := typer.prompt(
            "you (empty line ends)", default="", show_default=False
        ).strip():
            yield question
    else:
        yield from filter(None, map(str.strip, sys.stdin))

"""A data folder filled or checked by ``ethosteer fetch``: what is printed, and the exit status."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import typer

from ethosteer.data.fetch import hub
from ethosteer.data.fetch.folder import FileState, State, fill, preview
from ethosteer.data.fetch.manifest import MANIFEST, check, read_manifest
from ethosteer.errors import InputError
from ethosteer.progress import Terminal
from ethosteer.study.data_files import data_files, hub_classifiers, hub_datasets
from ethosteer.study.load import load_study


def fetch_data(study: str, folder: Path, *, dry_run: bool) -> None:
    """Fill a data folder for a study, or list what would be fetched.

    Ends with exit status 2 where a file is missing, after a line on stderr for each.
    """
    settings = load_study(study)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder, which is made where it is absent")
    files = data_files(settings, folder)
    into_cache: Mapping[str, Callable[[], Path]] = {
        f"the dataset {dataset.repository}": dataset.download for dataset in hub_datasets(settings)
    } | {
        f"the classifier {name}": partial(hub.download_model, name)
        for name in hub_classifiers(settings)
    }
    if dry_run:
        for state in preview(files, folder):
            typer.echo(_line(state))
        for name in into_cache:
            typer.echo(f"to fetch: {name}, into the hub's cache")
        return
    states = fill(files, folder, Terminal())
    for state in states:
        if state.state is not State.missing:
            typer.echo(_line(state))
    missing = [state for state in states if state.state is State.missing]
    failures = [f"{state.remote.path}: {state.note}" for state in missing]
    _finish(folder, [*failures, *_fetch_into_cache(into_cache)], f"--data-dir {folder}")


def check_data(study: str, folder: Path) -> None:
    """Compare a folder with its manifest, without a network.

    Ends with exit status 2 after a line on stderr for each file that differs from the manifest, or
    that the study needs and the folder lacks.
    """
    entries = read_manifest(folder)
    failures = check(folder, entries)
    for remote in data_files(load_study(study), folder):
        if remote.path in entries:
            continue
        if (folder / remote.path).is_file():
            typer.echo(f"{State.yours}, so not checked: {remote.path}")
        else:
            failures.append(f"{folder / remote.path}: is missing")
    _finish(folder, failures, f"{len(entries)} files as {MANIFEST} states them")


def _fetch_into_cache(downloads: Mapping[str, Callable[[], Path]]) -> list[str]:
    """Download what a data folder has no form for; return a line for each failure."""
    failures = []
    for name, download in downloads.items():
        try:
            download()
        except InputError as fault:
            failures.append(str(fault))
        else:
            typer.echo(f"fetched: {name}, into the hub's cache")
    return failures


def _finish(folder: Path, failures: Sequence[str], note: str) -> None:
    for failure in failures:
        typer.echo(f"error: {failure}", err=True)
    if failures:
        files = "1 file is" if len(failures) == 1 else f"{len(failures)} files are"
        typer.echo(f"error: {folder}: {files} missing or wrong", err=True)
        raise typer.Exit(2)
    typer.echo(f"done: {folder} ({note})")


def _line(state: FileState) -> str:
    """Return a file's line: state, path, size, address, licence, note."""
    remote = state.remote
    size = "size unknown" if state.size is None else f"{state.size:,} bytes"
    parts = [f"{state.state}: {remote.path}", size]
    if state.state in (State.fetched, State.to_fetch):
        parts += [remote.location, remote.form, f"licence: {remote.licence}"]
    return "; ".join(part for part in (*parts, state.note) if part)

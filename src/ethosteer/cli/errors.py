"""Errors as lines on stderr, and a full disk as an error of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from ethosteer.files import DISK_FULL, writing


def print_error(line: str) -> None:
    """Print a line on stderr; it is lost, and nothing else, where that is on a full disk."""
    with suppress(OSError):
        typer.echo(line, err=True)


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Turn a full disk that no command expects into InputError: that of stdout, or of a cache."""
    try:
        yield
    except OSError as fault:
        with writing(fault.filename or "standard output", DISK_FULL):
            raise

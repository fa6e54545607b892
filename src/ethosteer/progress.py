"""Progress of a study: a bar on a terminal, a line a minute in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

LOG_SECONDS = 60.0
"""Between two lines of a stage in a log file."""

Report = Callable[[int, int, str], None]
ReportTable = Callable[[int, int, Sequence[Sequence[str]]], None]


class Terminal:
    """Progress on stderr; stdout carries results alone."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """Show one stage; yield ``report(done, total, note)`` for its progress."""
        with self._timed(name) as bar:
            if bar is None:
                yield self._log(name)
                return
            task = bar.add_task(escape(name), total=None, note="")
            with Live(bar, console=self.console, transient=True):
                yield lambda done, total, note: bar.update(
                    task, completed=done, total=total, note=escape(note)
                )

    @contextmanager
    def table(self, name: str, headings: Sequence[str]) -> Iterator[ReportTable]:
        """Show one stage with a table under its bar; yield ``report(done, total, rows)``."""
        with self._timed(name) as bar:
            if bar is None:
                log = self._log(name)
                yield lambda done, total, rows: log(done, total, "")
                return
            task = bar.add_task(escape(name), total=None, note="")
            with Live(bar, console=self.console, transient=True) as live:

                def report(done: int, total: int, rows: Sequence[Sequence[str]]) -> None:
                    bar.update(task, completed=done, total=total)
                    table = Table(*headings, box=None)
                    for row in rows:
                        table.add_row(*map(escape, row))
                    live.update(Group(bar, table))

                yield report

    def _log(self, name: str) -> Report:
        """Return a report for a log file, which gets a line every ``LOG_SECONDS``."""
        last = time.monotonic()

        def report(done: int, total: int, note: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= LOG_SECONDS:
                last = now
                self.say(f"{name}: {done} of {total}{f', {note}' if note else ''}")

        return report

    @contextmanager
    def _timed(self, name: str) -> Iterator[Progress | None]:
        """Print how long a block took; yield a bar for it, None where stderr is not a terminal."""
        started = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        yield Progress(*columns, console=self.console) if self.console.is_terminal else None
        self.say(f"{name}: done in {time.monotonic() - started:.1f} s")

    def say(self, text: str) -> None:
        """Print one plain line."""
        self.console.print(escape(text), highlight=False, soft_wrap=True)

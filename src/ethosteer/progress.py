"""Progress of a study: bars on a terminal, a line every half minute in a log file."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape as escape_markup
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table

from ethosteer import processes
from ethosteer.errors import DIRECTIONS, spelt

_CONTROLS = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{DIRECTIONS}]")
"""What a terminal obeys instead of showing it, reversals of the writing direction among it."""

LOG_SECONDS = 30.0
"""Between two lines in a log file."""

BAR_WIDTH = 30
PRIOR = 0.05
"""The share of work for which its expected time counts as much as the time that it has taken."""

Report = Callable[[int, int, str], None]
ReportTable = Callable[[int, int, Sequence[Sequence[str]]], None]


def visible(text: str) -> str:
    r"""Return text from outside with control characters spelt, as ``\x1b``, but for line breaks."""
    return _CONTROLS.sub(spelt, text)


def escape(text: str) -> str:
    """Return text from outside as rich is to print it: no markup, and ``visible``."""
    return escape_markup(visible(text))


class Overall:
    """How far a whole run is, in seconds of work as they were expected before it started."""

    def __init__(self, expected: float) -> None:
        self.expected = expected
        self._done = 0.0
        self._current = 0.0
        self._fraction = 0.0
        self._first: tuple[float, float] | None = None
        self._started = time.monotonic()

    @contextmanager
    def work(self, expected: float) -> Iterator[None]:
        """Count a block as so many expected seconds, which are done at its end."""
        self._current, self._fraction, self._first = expected, 0.0, None
        yield
        self._done += expected
        self._current = self._fraction = 0.0

    def advance(self, fraction: float) -> None:
        """Note how much of the current work is done; it never goes back."""
        # resumed work does not start at 0, so its pace counts from the first report
        self._first = self._first or (time.monotonic(), fraction)
        self._fraction = max(self._fraction, fraction)

    @property
    def done(self) -> float:
        """Expected seconds of what is done."""
        return min(self.expected, self._done + self._current * self._fraction)

    @property
    def left(self) -> float:
        """Seconds left: of the current work at its pace, of the rest at the pace of the whole run.

        Both paces start as the expected one. So work that is slower than expected does not look as
        if it ended soon because the run before it went well.
        """
        now = time.monotonic()
        since, before = self._first or (now, 0.0)
        current = self._current * (1 - self._fraction)
        rest = max(0.0, self.expected - self.done - current)
        return current * _pace(
            now - since, self._current * (self._fraction - before), self._current
        ) + rest * _pace(now - self._started, self.done, self.expected)

    def __str__(self) -> str:
        share = self.done / self.expected if self.expected else 1.0
        return f"{share:.0%} of the run, about {_clock(self.left)} left"

    def __rich__(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.expected, completed=self.done, width=BAR_WIDTH)
        grid.add_row("run", bar, str(self))
        return grid


class Terminal:
    """Progress on stderr, of the main process; stdout carries results alone."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet or not processes.is_main())
        self._overall: Overall | None = None
        self._stage: tuple[RenderableType, ...] = ()
        self._is_live = False
        self._logged = time.monotonic()
        self.position = ""
        """The stage that is shown now, and how far it is; "" between stages."""

    @contextmanager
    def overall(self, expected: float) -> Iterator[Overall]:
        """Show how far a run of ``expected`` seconds is, below the bars of its stages."""
        self._overall = Overall(expected)
        try:
            with self._live():
                yield self._overall
        finally:
            self._overall = None

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """Show one stage; yield ``report(done, total, note)`` for its progress."""
        with self._timed(name) as bar:
            if bar is None:
                yield self._log(name)
                return
            task = bar.add_task(escape(name), total=None, note="")

            def report(done: int, total: int, note: str) -> None:
                self._advance(name, done, total)
                bar.update(task, completed=done, total=total, note=escape(note))

            yield report

    @contextmanager
    def table(self, name: str, headings: Sequence[str]) -> Iterator[ReportTable]:
        """Show one stage with a table under its bar; yield ``report(done, total, rows)``."""
        with self._timed(name) as bar:
            if bar is None:
                log = self._log(name)
                yield lambda done, total, rows: log(done, total, "")
                return
            task = bar.add_task(escape(name), total=None, note="")

            def report(done: int, total: int, rows: Sequence[Sequence[str]]) -> None:
                self._advance(name, done, total)
                bar.update(task, completed=done, total=total)
                table = Table(*headings, box=None)
                for row in rows:
                    table.add_row(*map(escape, row))
                self._stage = (bar, table)

            yield report

    def say(self, text: str) -> None:
        """Print one plain line; it is lost where stderr is a file on a full disk."""
        with suppress(OSError):
            self.console.print(escape(text), highlight=False, soft_wrap=True)

    def _log(self, name: str) -> Report:
        """Return a report for a log file, which gets a line every ``LOG_SECONDS``."""
        first: tuple[float, int] | None = None  # a resumed stage does not start at 0

        def report(done: int, total: int, note: str) -> None:
            nonlocal first
            self._advance(name, done, total)
            now = time.monotonic()
            first = first or (now, done)
            if now - self._logged < LOG_SECONDS:
                return
            self._logged = now
            facts = [f"{name}: {done} of {total}"]
            if done > first[1] and now > first[0]:
                rate = (done - first[1]) / (now - first[0])
                facts.append(f"{rate:.3g} a second" if rate >= 1 else f"{1 / rate:.3g} s each")
                facts.append(f"{_clock((total - done) / rate)} left")
            facts += [note] if note else []
            facts += [str(self._overall)] if self._overall else []
            self.say(", ".join(facts))

        return report

    def _advance(self, name: str, done: int, total: int) -> None:
        self.position = f"{name}: {done} of {total}"
        if self._overall and total:
            self._overall.advance(done / total)

    @contextmanager
    def _timed(self, name: str) -> Iterator[Progress | None]:
        """Print how long a block took; yield a bar for it, None where stderr is not a terminal."""
        started, self.position = time.monotonic(), name
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=BAR_WIDTH),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            bar = Progress(*columns, console=self.console)
            self._stage = (bar,)
            try:
                with self._live():
                    yield bar
            finally:
                self._stage = ()
        else:
            yield None
        self.position = ""
        self.say(f"{name}: done in {time.monotonic() - started:.1f} s")

    @contextmanager
    def _live(self) -> Iterator[None]:
        """Keep the bars on the terminal for a block; a block within another joins it."""
        if self._is_live or not self.console.is_terminal:
            yield
            return
        self._is_live = True
        try:
            with Live(get_renderable=self._bars, console=self.console, transient=True):
                yield
        finally:
            self._is_live = False

    def _bars(self) -> Group:
        return Group(*self._stage, *([self._overall] if self._overall else []))


def _pace(elapsed: float, done: float, expected: float) -> float:
    """Return seconds per expected second, with a prior of 1 that weighs ``PRIOR`` of the whole."""
    prior = PRIOR * expected
    return (elapsed + prior) / (done + prior) if prior else 1.0


def _clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))

"""Cases tried one after another in a process of its own, which is ended where one hangs."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import FrameType

LIMIT = 10.0
"""Seconds of processor time for a case, which do not depend on what else the machine does."""
PATIENCE = 60.0
"""Seconds until a case counts as hanging that takes no processor time, or never leaves C code."""
START = 240.0
"""Seconds for a process to import what it needs."""

Outcome = tuple[str, str]
"""The name of a case's kind, and what came of it."""
Case = Callable[[int], Outcome]


class _HangError(BaseException):
    """A case that took too long; no error that code under attack would handle."""


def tried(make: Callable[[], Case], count: int) -> Iterator[Outcome]:
    """Yield the outcomes of cases 0 to ``count`` - 1; a case over ``LIMIT`` seconds is a hang.

    ``make`` makes, in the process, the function that tries a case. After a hang, or the death of
    the process, another goes on with the next case.
    """
    context = multiprocessing.get_context("spawn")
    done = 0
    while done < count:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, make, LIMIT, done, count))
        process.start()
        theirs.close()
        seconds = START
        try:
            while done < count:
                if not ours.poll(seconds):
                    yield f"case {done}", f"hang: over {seconds:g} s"
                    done += 1
                    break
                if (outcome := ours.recv()) is not None:
                    yield outcome
                    done += 1
                seconds = PATIENCE
        except EOFError:
            yield f"case {done}", "the process died"
            done += 1
        finally:
            process.kill()
            process.join()
            ours.close()


def _work(
    connection: Connection, make: Callable[[], Case], limit: float, first: int, count: int
) -> None:
    try_case = make()
    connection.send(None)  # it has started
    signal.signal(signal.SIGPROF, _stop)
    for index in range(first, count):
        try:
            signal.setitimer(signal.ITIMER_PROF, limit)
            outcome = try_case(index)
            signal.setitimer(signal.ITIMER_PROF, 0)
        except _HangError:
            outcome = f"case {index}", f"hang: over {limit:g} s of processor time"
        connection.send(outcome)


def _stop(_: int, __: FrameType | None) -> None:
    raise _HangError

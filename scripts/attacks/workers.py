"""Cases tried one after another in a process of its own, which is ended where one hangs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

LIMIT = 10.0
"""Seconds for a case."""
START = 120.0
"""Seconds for a process to import what it needs."""

Outcome = tuple[str, str]
"""The name of a case's kind, and what came of it."""
Case = Callable[[int], Outcome]


def tried(make: Callable[[], Case], count: int) -> Iterator[Outcome]:
    """Yield the outcomes of cases 0 to ``count`` - 1; a case over ``LIMIT`` seconds is a hang.

    ``make`` makes, in the process, the function that tries a case. After a hang, or the death of
    the process, another goes on with the next case.
    """
    context = multiprocessing.get_context("spawn")
    done = 0
    while done < count:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, make, done, count), daemon=True)
        process.start()
        theirs.close()
        name, seconds = "start", START
        try:
            while done < count:
                if not ours.poll(seconds):
                    yield name, f"hang: over {seconds:g} s"
                    done += name != "start"
                    break
                message = ours.recv()
                if isinstance(message, str):
                    name, seconds = message, LIMIT
                else:
                    yield message
                    done += 1
        except EOFError:
            yield name, "the process died"
            done += 1
        finally:
            process.kill()
            process.join()
            ours.close()


def _work(connection: Connection, make: Callable[[], Case], first: int, count: int) -> None:
    try_case = make()
    for index in range(first, count):
        connection.send(f"case {index}")
        connection.send(try_case(index))

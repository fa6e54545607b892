"""Signals that ask a run to stop, and a limit to the time of one call.

A run's work ends between two steps, not within one: loops of training and evaluation ask at the
end of a step whether a signal has come, or a thread has requested it. Handlers of these signals are
installed by the command line alone: called from Python, Ctrl-C raises KeyboardInterrupt at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from ethosteer import processes

SHOW_CURSOR = b"\x1b[?25h"
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]
"""Ctrl-C; the end of a job; the warning that queues send before it. Windows lacks the last."""
_requests: list[BaseException] = []
"""What ``stop_if_requested`` is to raise, the first request first."""
_agreements: list[Callable[[float], float]] = []


class Interrupted(BaseException):
    """Work was ended by a signal. No library takes it for a fault or for a KeyboardInterrupt."""

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(received.name)
        self.received = received

    @property
    def status(self) -> int:
        """The exit status that shells report for a process ended by this signal: 128 + number."""
        return 128 + self.received


def is_requested() -> bool:
    """Return whether a signal, or a thread, has asked for the end of the work."""
    return _next_stop() is not None


def stop_if_requested() -> None:
    """Raise Interrupted where a signal has come; called where a step is done and stored.

    What a thread has requested is raised likewise.
    """
    if (stop := _next_stop()) is not None:
        raise stop


def _next_stop() -> BaseException | None:
    """Return what is to be raised, for a request here or a signal to a process that shares."""
    stop = _requests[0] if _requests else None
    for largest in _agreements:
        number = int(largest(stop.received if isinstance(stop, Interrupted) else 0))
        stop = stop or (Interrupted(signal.Signals(number)) if number else None)
    return stop


@contextmanager
def shared(largest: Callable[[float], float]) -> Iterator[None]:
    """Let a signal to one process stop all that work together in a block, after the same step.

    ``largest(number)`` is the largest of the processes' numbers. All ask after each step.
    """
    _agreements.append(largest)
    try:
        yield
    finally:
        _agreements.remove(largest)


def request(stop: BaseException) -> None:
    """Have the work end at its next ``stop_if_requested``, which raises ``stop``."""
    _requests.append(stop)


def withdraw(kind: type[BaseException]) -> None:
    """Forget the requests to raise exceptions of one class."""
    _requests[:] = [stop for stop in _requests if not isinstance(stop, kind)]


@contextmanager
def deferred() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGUSR1 end the work of a block at its next ``stop_if_requested``.

    A second signal ends the process at once, by the system's default.
    """

    def note(number: int, _: FrameType | None) -> None:
        received = signal.Signals(number)
        _requests.append(Interrupted(received))
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_DFL)
        if not processes.is_main():
            return
        # print may have been interrupted while it wrote, and cannot be entered twice
        text = f"{received.name}: stopping after this step; a second signal stops at once\n"
        with suppress(OSError):  # a log on a full disk
            os.write(2, (SHOW_CURSOR if sys.stderr.isatty() else b"") + text.encode())

    with _handled(_SIGNALS, note):
        try:
            yield
        finally:
            _requests.clear()


@contextmanager
def immediate() -> Iterator[None]:
    """Let Ctrl-C raise Interrupted, which no library catches, instead of KeyboardInterrupt."""

    def leave(number: int, _: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number))

    with _handled([signal.SIGINT], leave):
        yield


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError where a block takes more processor time than ``seconds``.

    It ends Python code and the matching of regular expressions. The time is that of all threads.
    Where the system has no interval timers (Windows), and in other threads than the main one,
    there is no limit.
    """

    def leave(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"takes more than {seconds:g} s of processor time")

    if not hasattr(signal, "setitimer"):
        yield
        return
    with _handled([signal.SIGVTALRM], leave) as is_handled:
        if not is_handled:
            yield
            return
        before = signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, *before)  # of a block around, or a profiler


@contextmanager
def _handled(
    signals: list[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[bool]:
    """Handle signals within a block; yield False in a thread other than the main one: it cannot."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield True
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

"""Claims: by which files several workers agree on who makes what, on one host or on many.

A claim is the file ``.claims/NAME.NUMBER`` beside the artifacts, made exclusively; its text is the
worker's id, and of one name the highest number counts. So a claim is taken over, released or
confirmed by making the next number, which exactly one worker can: no file is ever replaced, and a
view of the folder that is out of date cannot win. The next number may be made

- by the holder, right before it gives an artifact its name: it still holds the work then;
- by anyone, where the holder has released it;
- by anyone, where the holder shows no sign of life.

Signs of life are ``.workers/ID.json``, which each worker replaces every ``BEAT_SECONDS``. Clocks of
hosts differ, so none is compared: a worker is taken for dead where another one has seen its file
stay the same over ``SILENT_SECONDS`` of looking. On one machine it is dead once its process is.

It may have been paused only. When it wakes up, the next number is made already, and what it was
writing was moved away by whoever has its work now (``Store.fence``).
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import RLock

import psutil

from ethosteer.errors import InputError
from ethosteer.files import from_json

CLAIMS, WORKERS = ".claims", ".workers"
BEAT_SECONDS = 10.0
SILENT_SECONDS = 60.0
POLL_SECONDS = 2.0
"""Between two looks of a worker that waits."""
LONGEST_LOOK = 5.0
"""Seconds that one look counts for at most: whoever looks may itself have been paused."""
RELEASED = "released"


class LostClaim(BaseException):
    """Another worker has taken over what this one was making."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker says of itself.

    ``study`` identifies what it makes, ``position`` is the stage that it is making, for so many
    ``seconds`` by its clock, and ``beat`` counts its signs of life.
    """

    worker: str
    host: str
    machine: str
    pid: int
    study: str
    position: str
    seconds: float
    beat: int

    @property
    def is_killed(self) -> bool:
        """Whether it ran on this machine and its process is gone."""
        return self.machine == this_machine() and not psutil.pid_exists(self.pid)


@cache
def this_machine() -> str:
    """Identify the system in which a process id means one process: a boot and its namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return socket.gethostname()


def read_states(root: Path) -> list[WorkerState]:
    """Return what the workers of a study say of themselves, dead ones included."""
    states = (_state(_bytes(path)) for path in sorted((root / WORKERS).glob("*.json")))
    return [state for state in states if state is not None]


def is_recent(root: Path, state: WorkerState) -> bool:
    """Return whether a worker seems to be alive, by this machine's clock: a hint, no proof."""
    if state.is_killed:
        return False
    try:
        written = (root / WORKERS / f"{state.worker}.json").stat().st_mtime
    except OSError:  # it has left
        return False
    return abs(time.time() - written) < SILENT_SECONDS


def forget(root: Path, worker: str) -> None:
    """Remove a worker's sign of life; one that is alive gives another."""
    (root / WORKERS / f"{worker}.json").unlink(missing_ok=True)


def refuse_workers(root: Path, say: Callable[[str], None]) -> None:
    """Raise InputError where workers are at work on a study; clear away what dead ones have left.

    To be called under the lock, which keeps new ones out. Workers that are neither known to be
    alive nor known to be dead are watched until they are, of which ``say`` tells in one line.
    """
    watch, watched = Watch(root), dict[str, int]()
    while states := [state for state in read_states(root) if not watch.is_dead(state.worker)]:
        for state in states:
            has_beaten = watched.get(state.worker, state.beat) != state.beat
            if has_beaten or is_recent(root, state):
                raise InputError(
                    f"{root.parent}: a worker on {state.host} (process {state.pid}) is at work on "
                    "this study; join it by `ethosteer work`, or stop all workers first"
                )
        if not watched:
            say(
                f"workers that have not ended this study's work: {len(states)}; waiting for up to "
                f"{SILENT_SECONDS:.0f} s to see whether they are alive"
            )
        watched = {state.worker: state.beat for state in states}
        time.sleep(POLL_SECONDS)
    for folder in (WORKERS, CLAIMS):
        shutil.rmtree(root / folder, ignore_errors=True)


class Watch:
    """Watches workers for signs of life, by this process's clock alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[str, tuple[bytes | None, float, float]] = {}

    def is_dead(self, worker: str) -> bool:
        """Look once; return whether a worker's process is gone, or it was silent for too long."""
        content = _bytes(self.root / WORKERS / f"{worker}.json")
        state = _state(content)
        if state is not None and state.is_killed:
            return True
        now = time.monotonic()
        before, looked, silent = self._seen.get(worker, (content, now, 0.0))
        silent = silent + min(now - looked, LONGEST_LOOK) if content == before else 0.0
        self._seen[worker] = content, now, silent
        return silent >= SILENT_SECONDS


class Claims:
    """The claims of one worker on the work of a study, whose artifacts are below ``root``."""

    def __init__(self, root: Path, worker: str) -> None:
        self.folder = root / CLAIMS
        self.worker = worker
        self.watch = Watch(root)

    def take(self, name: str) -> Claim | None:
        """Claim work that is free or whose holder is dead; None where another worker has it."""
        number, holder = self.latest(name)
        is_held = bool(number) and holder != RELEASED
        # a holder that has not written its id yet is known by its file alone
        if is_held and not self.watch.is_dead(holder or f"{name}.{number}"):
            return None
        if not self.make(name, number + 1):
            return None
        if is_held:
            forget(self.folder.parent, holder)
        return Claim(self, name, number + 1)

    def latest(self, name: str) -> tuple[int, str]:
        """Return the number that counts and its holder; (0, "") where nobody has claimed it."""
        number = max(self._numbers(name), default=0)
        content = _bytes(self._path(name, number)) if number else None
        return number, (content or b"").decode("ascii", "replace")

    def make(self, name: str, number: int) -> bool:
        """Make a claim unless another worker has made it, or a later one, or removed all of them.

        The one before must be there still: a worker that was paused right before this, while others
        finished the study and cleared away, would begin anew what is done.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name, number)
        try:
            with path.open("x", encoding="ascii") as file:
                file.write(self.worker)
                file.flush()
                os.fsync(file.fileno())
        except (FileExistsError, FileNotFoundError):  # made by another; or all claims were removed
            return False
        numbers = self._numbers(name)
        # earlier numbers are removed below, so that a view that is out of date can make one again
        has_followed = number == 1 or number - 1 in numbers
        if max(numbers, default=number) > number or not has_followed:
            path.unlink(missing_ok=True)
            return False
        for earlier in set(numbers) - {number}:
            self._path(name, earlier).unlink(missing_ok=True)
        return True

    def release(self, name: str, number: int) -> None:
        """Let others claim the work; nothing where the claim was lost."""
        try:
            # without O_CREAT: what was taken over is not to come back
            descriptor = os.open(self._path(name, number), os.O_WRONLY | os.O_TRUNC)
        except FileNotFoundError:
            return
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(RELEASED)
            file.flush()
            os.fsync(file.fileno())

    def _path(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.{number:08}"

    def _numbers(self, name: str) -> list[int]:
        return [int(path.suffix[1:]) for path in self.folder.glob(f"{name}.*")]


@dataclass(slots=True)
class Claim:
    """Work that this worker has claimed, by the claim's last number."""

    claims: Claims
    name: str
    number: int
    lock: RLock = field(default_factory=RLock)
    """The heartbeat asks ``is_lost`` while the main thread confirms."""

    def confirm(self) -> None:
        """Raise LostClaim unless this worker has the work still; others see that it has."""
        with self.lock:
            if self.is_lost() or not self.claims.make(self.name, self.number + 1):
                raise LostClaim(self.name)
            self.number += 1

    def is_lost(self) -> bool:
        """Return whether another worker has taken the work over, or finished the study with it."""
        with self.lock:
            return self.claims.latest(self.name) != (self.number, self.claims.worker)

    def release(self) -> None:
        """Let others claim the work."""
        self.claims.release(self.name, self.number)


def new_worker() -> str:
    """Return an id that no other worker has."""
    return secrets.token_hex(6)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _state(content: bytes | None) -> WorkerState | None:
    """Read a sign of life; None where there is none, or one of another version."""
    try:
        return from_json((content or b"").decode("utf-8", "replace"), WorkerState, WORKERS)
    except InputError:
        return None

"""The lock of a study's artifacts, which one process holds that runs the study alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ethosteer.errors import InputError
from ethosteer.files import remove, writing

LOCK = ".lock"


def is_locked(path: Path, seconds: float = 0.0) -> bool:
    """Return whether a process holds the lock, and goes on to for so many seconds.

    Asking holds it for an instant.
    """
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=seconds):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that may only be read: no process can run the study in it
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the folder of artifacts that ``path`` is in.

    Raises InputError if another process has it, or the folder cannot be written.
    """
    root = path.parent
    lock = FileLock(path)
    with writing(root.parent):
        root.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            remove(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"{root.parent}: another process is running this study; wait for it or use "
                "another --runs-dir"
            ) from None
    try:
        yield
    finally:
        lock.release()

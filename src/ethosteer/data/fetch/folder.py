"""A data folder, or the user's cache, filled with published files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from ethosteer.data.fetch import http, hub
from ethosteer.data.fetch.http import OutOfReachError, Received, server_of
from ethosteer.data.fetch.manifest import MANIFEST, Entry, read_manifest, write_manifest
from ethosteer.data.fetch.obtain import obtain
from ethosteer.data.fetch.remote import Remote
from ethosteer.errors import InputError
from ethosteer.files import DISK_FULL, file_hash, writing
from ethosteer.models.cached import CACHE_VARIABLE, cache_folder
from ethosteer.progress import Report, Terminal

LOCK = ".fetch.lock"


class State(StrEnum):
    """What became of a file, or what would become of it."""

    complete = "complete"  # fetched earlier, unchanged since
    yours = "not fetched by ethosteer, kept"
    fetched = "fetched"
    to_fetch = "to fetch"
    missing = "missing"


@dataclass(frozen=True, slots=True)
class FileState:
    """A file of a data folder: its state, its bytes (None: not known), and a note or an error."""

    remote: Remote
    state: State
    size: int | None
    note: str = ""


def fill(remotes: Iterable[Remote], folder: Path, terminal: Terminal) -> list[FileState]:
    """Fetch what ``folder`` lacks of ``remotes``; one file's failure does not stop the others.

    A file that is there without an entry in the manifest is the user's, and is kept. Raises
    InputError where another fetch is at work in the folder, or it cannot be written.
    """

    def fetch(remote: Remote) -> FileState:
        known = entries.get(remote.path)
        with terminal.stage(f"{remote.path} (kB)") as report:
            entry = obtain(remote, folder, known, _rates(report))
        entries[remote.path] = entry
        write_manifest(folder, entries)
        checked = remote.repository or remote.sha256 or known
        return FileState(remote, State.fetched, entry.size, "" if checked else _first_hash(entry))

    with _locked(folder, wait=False):
        entries = read_manifest(folder)
        return list(_states(remotes, folder, entries, State.missing, fetch))


def preview(remotes: Iterable[Remote], folder: Path) -> list[FileState]:
    """Return the states of ``remotes`` as a fetch would find them; nothing is written.

    The size of a file to fetch is asked of its server; where that fails the note says why.
    """

    def ask(remote: Remote) -> FileState:
        size = hub.size_of(remote) if remote.repository else http.size_of(remote.address)
        return FileState(remote, State.to_fetch, size)

    return list(_states(remotes, folder, read_manifest(folder), State.to_fetch, ask))


def _states(
    remotes: Iterable[Remote],
    folder: Path,
    entries: Mapping[str, Entry],
    failed: State,
    ask: Callable[[Remote], FileState],
) -> Iterator[FileState]:
    """Yield the state of each file: as it is there, or as ``ask`` finds it at its server.

    InputError of ``ask`` becomes the note of a file whose state is ``failed``. A server that was
    out of reach is not asked again.
    """
    out_of_reach: set[str] = set()
    for remote in remotes:
        if (present := _present(remote, folder, entries)) is not None:
            yield present
            continue
        server = hub.server() if remote.repository else server_of(remote.address)
        try:
            if not remote.exists:
                raise InputError(f"{folder / remote.path}: has no known address; put it there")
            if server in out_of_reach:
                raise InputError(f"{remote.location}: not tried, since {server} is out of reach")
            yield ask(remote)
        except OutOfReachError as fault:
            out_of_reach.add(fault.server)
            yield FileState(remote, failed, None, str(fault))
        except InputError as fault:
            yield FileState(remote, failed, None, str(fault))


def cached(remote: Remote) -> Path:
    """Return a file from the user's cache, fetched into it if need be.

    Files of the hub that are kept as they are stay in the hub's cache; all others are in the folder
    of ``cache_folder()``. Raises InputError where the file cannot be had.
    """
    if remote.repository and remote.is_kept_as_it_is:
        return hub.download(remote, lambda done, total: None)
    folder = cache_folder() / "data"
    with _locked(folder, wait=True):
        entries = read_manifest(folder)
        known, path = entries.get(remote.path), folder / remote.path
        # the size alone: the file is hashed for its identity each time that it is read
        if known and known.is_of(remote) and path.is_file() and path.stat().st_size == known.size:
            return path
        entries[remote.path] = obtain(remote, folder, known, lambda done, total: None)
        write_manifest(folder, entries)
    return path


def _present(remote: Remote, folder: Path, entries: Mapping[str, Entry]) -> FileState | None:
    """Return the state of a file that need not be fetched; None where it must be."""
    path, entry = folder / remote.path, entries.get(remote.path)
    if not path.is_file():
        return None
    size = path.stat().st_size
    if entry is None:
        differs = remote.sha256 and remote.is_kept_as_it_is and file_hash(path) != remote.sha256
        return FileState(remote, State.yours, size, "not the published content" if differs else "")
    if entry.is_of(remote) and not entry.problem(folder):
        return FileState(remote, State.complete, size)
    return None


def _first_hash(entry: Entry) -> str:
    return (
        "its hash was not known beforehand, so nothing vouches for it; "
        f"{MANIFEST} keeps sha256 {entry.received_sha256[:12]}… for the next time"
    )


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold a folder's lock; InputError where another process has it and ``wait`` is false."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=-1 if wait else 0), writing(folder, DISK_FULL):
            yield
    except Timeout as fault:
        raise InputError(f"{folder}: another fetch is at work there; wait for it") from fault
    except OSError as fault:
        raise InputError(
            f"{folder}: cannot be written: {fault}; the cache is where {CACHE_VARIABLE} says"
            if wait
            else f"{folder}: cannot be written: {fault}"
        ) from fault


def _rates(report: Report) -> Received:
    """Return a report of received bytes as kB of all kB, with the rate."""
    started = time.monotonic()

    def received(done: int, total: int | None) -> None:
        seconds = max(time.monotonic() - started, 1e-3)
        all_bytes = done if total is None else total
        report(done // 1000, all_bytes // 1000, f"{done / seconds / 1e6:.1f} MB/s")

    return received

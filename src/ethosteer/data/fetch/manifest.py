"""``fetched.json``: what was fetched into a folder, from where, and its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ethosteer.data.fetch.remote import Remote
from ethosteer.errors import InputError
from ethosteer.files import file_hash, read_json, write_json

MANIFEST = "fetched.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One fetched file.

    ``sha256`` and ``size`` (bytes) are those of the file in the folder; ``received_sha256`` is that
    of what the address sent, which differs where the file was extracted or converted. ``revision``
    is the hub's commit ("" elsewhere); ``date`` is the time of the fetch (UTC).
    """

    path: str
    address: str
    revision: str
    form: str
    sha256: str
    received_sha256: str
    size: int
    date: str
    licence: str

    def is_of(self, remote: Remote) -> bool:
        """Whether the file came from where ``remote`` is, in the same form."""
        return self.address == remote.location and self.form == remote.form

    def problem(self, folder: Path) -> str:
        """Say how the file in ``folder`` differs from this entry; "" where it does not."""
        path = folder / self.path
        if not path.is_file():
            return "is missing"
        if path.stat().st_size != self.size or file_hash(path) != self.sha256:
            return (
                f"differs from what was fetched (sha256 {self.sha256[:12]}…, {self.size:,} bytes)"
            )
        return ""


def read_manifest(folder: Path) -> dict[str, Entry]:
    """Return a folder's entries by path; none where nothing was fetched into it.

    Raises InputError where the manifest is malformed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    entries = {entry.path: entry for entry in read_json(path, list[Entry])}
    for name in entries:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError.at(path, None, f"path {name!r} leads out of the folder")
    return entries


def write_manifest(folder: Path, entries: dict[str, Entry]) -> None:
    """Write a folder's entries, in the order of their paths."""
    write_json(folder / MANIFEST, [entries[path] for path in sorted(entries)])


def check(folder: Path, entries: Mapping[str, Entry]) -> list[str]:
    """Compare a folder with its manifest; return one line for every file that differs.

    Raises InputError where nothing was fetched into it.
    """
    if not entries:
        raise InputError(f"{folder}: has no {MANIFEST}; `ethosteer fetch STUDY {folder}` writes it")
    problems = ((path, entry.problem(folder)) for path, entry in entries.items())
    return [f"{folder / path}: {problem}" for path, problem in problems if problem]

"""One published file, fetched and made into the form that is kept."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ethosteer.data.fetch import archives, http, hub
from ethosteer.data.fetch.conversions import CONVERSIONS
from ethosteer.data.fetch.http import Received
from ethosteer.data.fetch.manifest import Entry
from ethosteer.data.fetch.remote import Remote
from ethosteer.errors import InputError
from ethosteer.files import file_hash, publish, temporary_name, write_atomic


@dataclass(frozen=True, slots=True)
class _Original:
    """A file as its address sent it, and its commit on the hub ("" elsewhere)."""

    path: Path
    revision: str


def obtain(remote: Remote, folder: Path, known: Entry | None, received: Received) -> Entry:
    """Fetch a file into ``folder``; return its entry for the manifest.

    ``known`` is the entry of an earlier fetch: what is received must have the hash that it states,
    as it must have the remote's own ``sha256``. Raises InputError, in one line, where the file
    cannot be had.
    """
    target = folder / remote.path
    target.parent.mkdir(parents=True, exist_ok=True)
    expected = remote.sha256 or (known.received_sha256 if known and known.is_of(remote) else "")
    original = _from_hub(remote, received, expected) if remote.repository else None
    if original is None:
        original = _from_address(remote, target, expected, received)
    received_sha256 = file_hash(original.path)
    if remote.conversion:
        write_atomic(target, CONVERSIONS[remote.conversion](original.path))
    elif original.path != target:
        temporary = temporary_name(target)
        if remote.member:
            archives.extract(original.path, remote.member, temporary)
        else:
            shutil.copyfile(original.path, temporary)
        publish(temporary, target)
    if not remote.repository and original.path != target:
        original.path.unlink()
    return Entry(
        path=remote.path,
        address=remote.location,
        revision=original.revision,
        form=remote.form,
        sha256=file_hash(target),
        received_sha256=received_sha256,
        size=target.stat().st_size,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        licence=remote.licence,
    )


def _from_hub(remote: Remote, received: Received, expected: str) -> _Original:
    path = hub.download(remote, received)
    if expected and file_hash(path) != expected:
        raise InputError(
            f"{remote.repository}/{remote.hub_path}: has another sha256 than {expected[:12]}…, "
            "that of the first fetch"
        )
    return _Original(path, hub.commit_of(path) or remote.revision)


def _from_address(remote: Remote, target: Path, expected: str, received: Received) -> _Original:
    """Download to the target itself, or beside it where the file is to be made from it."""
    if hub.is_offline():
        raise InputError(f"{remote.address}: HF_HUB_OFFLINE forbids downloading it")
    path = target if remote.is_kept_as_it_is else target.with_name(f".{target.name}.original")
    http.download(remote.address, path, expected, received)
    return _Original(path, "")

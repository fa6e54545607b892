"""Published files and where they are read from.

A file is read from the layout of ``--data-dir``, from the bundled sample (the same layout), or from
where it is published, at a pinned revision: the hub, or its authors' address.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from ethosteer.data.fetch.folder import cached
from ethosteer.data.fetch.hub import is_offline
from ethosteer.data.fetch.remote import Remote
from ethosteer.errors import InputError
from ethosteer.files import file_hash

SAMPLE_DIR = Path(str(files("ethosteer"))) / "assets" / "sample"


@dataclass(frozen=True, slots=True)
class Source:
    """One published file.

    ``path`` is its path in a data folder; ``repository``, ``revision`` and ``hub_path`` locate it
    on the hub ("" where the hub does not have it); ``home`` is its web page. ``address``,
    ``sha256``, ``member`` and ``conversion`` say where and how it is fetched from elsewhere, and
    what is made of it (see ``Remote``).
    """

    path: str
    home: str
    licence: str
    repository: str = ""
    revision: str = ""
    hub_path: str = ""
    address: str = ""
    sha256: str = ""
    member: str = ""
    conversion: str = ""

    @property
    def remote(self) -> Remote:
        """Where the file is fetched from."""
        return Remote(
            self.path, self.home, self.licence, self.repository, self.revision, self.hub_path,
            self.address, self.sha256, self.member, self.conversion,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a study's files are read from: a folder, the bundled sample, or the hub."""

    kind: Literal["folder", "sample", "hub"]
    folder: Path | None = None

    def locate(self, source: Source) -> Path:
        """Return the local path of ``source``; one that is not there is fetched into the cache.

        A data folder may hold some of the files. Raises InputError, with the location that was
        tried, where there is no such file.
        """
        if self.kind == "hub":
            return _fetched(source)
        folder = SAMPLE_DIR if self.kind == "sample" else self.folder
        assert folder is not None
        path = folder / source.path
        if path.is_file():
            return path
        if self.kind == "folder" and source.remote.exists:
            return _fetched(source, f"{path}: no such file, and ")
        origin = f", this one from {source.home}" if source.home else ""
        raise InputError(
            f"{path}: no such file; --data-dir takes a folder with the published files{origin}"
        )

    def revision(self, source: Source) -> str:
        """Return the file's edition: the hash of its content, wherever it comes from.

        So a file that is fetched and one of a data folder are the same if their contents are. Where
        the file is not on this machine it is fetched.
        """
        return f"sha256:{file_hash(self.locate(source))[:16]}"


def _fetched(source: Source, problem: str = "") -> Path:
    """Return a file from the user's cache; ``problem`` is why it is looked for there."""
    if not source.remote.exists:
        raise InputError(
            f"{source.path} is not on the hub: download it from {source.home} and pass its folder "
            "with --data-dir"
        )
    try:
        return cached(source.remote)
    except InputError as fault:
        mend = "unset HF_HUB_OFFLINE, or " if is_offline() else ""
        raise InputError(
            f"{problem}{fault}; {mend}fill a folder with `ethosteer fetch STUDY FOLDER` where "
            "there is a network, and pass it with --data-dir"
        ) from fault

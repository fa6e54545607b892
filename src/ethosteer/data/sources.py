"""Published files and where they are read from.

A file is read from the layout of ``--data-dir``, from the bundled sample (the same layout), or from
where it is published, at a pinned revision: the hub, or its authors' address. A file of the user's
is read where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Literal

from ethosteer.data.fetch.folder import cached
from ethosteer.data.fetch.hub import is_offline
from ethosteer.data.fetch.remote import Remote
from ethosteer.data.formats.files import shards
from ethosteer.data.hub import HubDataset
from ethosteer.errors import InputError
from ethosteer.files import file_hash

SAMPLE_DIR = Path(str(files("ethosteer"))) / "assets" / "sample"


@dataclass(frozen=True, slots=True)
class Source(Remote):
    """A file that a study reads: a published one, which may be fetched, or one of the user's.

    An absolute ``path`` is a file of the user's, or a folder of such files; ``hub`` is a dataset
    that the user names. Both are read as they are, whatever the origin of published files.
    """

    hub: HubDataset | None = None

    @property
    def is_users(self) -> bool:
        """Whether the user names the file, so that no data folder has it."""
        return self.hub is not None or Path(self.path).is_absolute()


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
        if source.hub is not None:
            return source.hub.download()
        if source.is_users:
            shards(Path(source.path))  # raises InputError where there is no file
            return Path(source.path)
        if self.kind == "hub":
            return _fetched(source)
        folder = SAMPLE_DIR if self.kind == "sample" else self.folder
        assert folder is not None
        path = folder / source.path
        if path.is_file():
            return path
        if self.kind == "folder" and source.exists:
            return _fetched(source, f"{path}: no such file, and ")
        origin = f", this one from {source.home}" if source.home else ""
        raise InputError(
            f"{path}: no such file; --data-dir takes a folder with the published files{origin}"
        )

    def revision(self, source: Source) -> str:
        """Return the file's edition: what pins it where it is published, or its content's hash.

        A published file that no data folder holds counts by the commit of the hub or the sha256
        that pins it, so that ``status`` and ``plan`` need no network; one without either is
        fetched. Files of a data folder, and the user's, count by their content. The edition of a
        dataset of the hub that the user names is its commit.
        """
        if source.hub is not None:
            return source.hub.commit()
        if source.is_users:
            return f"sha256:{_content_hash(Path(source.path))[:16]}"
        if self.kind == "hub" and source.pin:
            return source.pin
        return f"sha256:{file_hash(self.locate(source))[:16]}"


def _content_hash(path: Path) -> str:
    """Return the sha256 of a file, or of the names and hashes of a folder's data files."""
    if not path.is_dir():
        shards(path)  # raises InputError where there is no file
        return file_hash(path)
    listing = "".join(f"{file_hash(file)}  {file.name}\n" for file in shards(path))
    return sha256(listing.encode()).hexdigest()


def _fetched(source: Source, problem: str = "") -> Path:
    """Return a file from the user's cache; ``problem`` is why it is looked for there."""
    if not source.exists:
        raise InputError(
            f"{source.path} is not on the hub: download it from {source.home} and pass its folder "
            "with --data-dir"
        )
    try:
        return cached(source)
    except InputError as fault:
        mend = "unset HF_HUB_OFFLINE, or " if is_offline() else ""
        raise InputError(
            f"{problem}{fault}; {mend}fill a folder with `ethosteer fetch STUDY FOLDER` where "
            "there is a network, and pass it with --data-dir"
        ) from fault

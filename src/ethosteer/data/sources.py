"""Published files and where they are read from.

A file is read from the layout of ``--data-dir``, from the bundled sample (the same layout), or from
the hub at a pinned revision. A file of the user's is read where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Literal

from ethosteer.data.formats.files import shards
from ethosteer.data.hub import HubDataset
from ethosteer.errors import InputError
from ethosteer.files import file_hash

SAMPLE_DIR = Path(str(files("ethosteer"))) / "assets" / "sample"


@dataclass(frozen=True, slots=True)
class Source:
    """One published file.

    ``path`` is its path in a data folder; ``repository``, ``revision`` and ``hub_path`` locate it
    on the hub ("" where the hub does not have it); ``home`` is its web page. An absolute ``path``
    is a file of the user's, or a folder of such files; ``hub`` is a dataset that the user names.
    Both are read as they are, whatever the origin of published files.
    """

    path: str
    home: str
    licence: str
    repository: str = ""
    revision: str = ""
    hub_path: str = ""
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
        """Return the local path of ``source``, downloading it from the hub if need be.

        Raises InputError with the location that was tried where there is no such file.
        """
        if source.hub is not None:
            return source.hub.download()
        if source.is_users:
            shards(Path(source.path))  # raises InputError where there is no file
            return Path(source.path)
        if self.kind == "hub":
            return _download(source)
        folder = SAMPLE_DIR if self.kind == "sample" else self.folder
        assert folder is not None
        path = folder / source.path
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; --data-dir takes a folder with the published files, "
                f"this one from {source.home}"
            )
        return path

    def revision(self, source: Source) -> str:
        """Return the edition of the file: the hub's revision, or the file's own hash."""
        if source.hub is not None:
            return source.hub.commit()
        if source.is_users:
            return f"sha256:{_content_hash(Path(source.path))[:16]}"
        if self.kind == "hub":
            return source.revision
        return f"sha256:{file_hash(self.locate(source))[:16]}"


def _content_hash(path: Path) -> str:
    """Return the sha256 of a file, or of the names and hashes of a folder's data files."""
    if not path.is_dir():
        shards(path)  # raises InputError where there is no file
        return file_hash(path)
    listing = "".join(f"{file_hash(file)}  {file.name}\n" for file in shards(path))
    return sha256(listing.encode()).hexdigest()


def _download(source: Source) -> Path:
    """Fetch a hub file at its pinned revision into the hub's own cache."""
    if not source.repository:
        raise InputError(
            f"{source.path} is not on the hub: download it from {source.home} and pass its folder "
            "with --data-dir"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            hf_hub_download(
                source.repository, source.hub_path, revision=source.revision, repo_type="dataset"
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        raise InputError(
            f"{source.repository}/{source.hub_path} at revision {source.revision} could not be "
            f"downloaded from the hub ({type(fault).__name__}); without a network pass --data-dir"
        ) from fault

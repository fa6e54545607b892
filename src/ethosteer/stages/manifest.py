"""The manifest of an artifact: what it is, and the size and hash of each of its files.

So what a disk or a copy damaged is noticed when it is read, and made again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ethosteer.errors import InputError
from ethosteer.files import file_hash, fingerprint, read_json

MANIFEST = "manifest.json"


class DamagedArtifactError(InputError):
    """A stored artifact is not what was written; the study's next run makes it again."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of an artifact, as it was written."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact is, and what it holds.

    ``files`` are those beside the manifest, by path; None in artifacts of earlier versions, which
    are not verified. ``together`` are the artifacts whose work was one batch, where results depend
    on it by rounding. ``checksum`` is over all other fields.
    """

    stage: str
    name: str
    fingerprint: str
    seconds: float
    together: tuple[str, ...] = ()
    files: dict[str, FileRecord] | None = None
    checksum: str = ""

    def summed(self) -> Manifest:
        """Return the manifest with its checksum."""
        return replace(self, checksum=fingerprint(asdict(replace(self, checksum=""))))


def read_manifest(folder: Path) -> Manifest:
    """Return an artifact's manifest; DamagedArtifactError where it is not what was written."""
    try:
        manifest = read_json(folder / MANIFEST, Manifest)
    except InputError as fault:
        text = str(fault).removeprefix(f"{folder}/")
        raise DamagedArtifactError(f"{folder}: is damaged: {text}") from fault
    if manifest.checksum and manifest != manifest.summed():
        raise DamagedArtifactError(f"{folder}: is damaged: {MANIFEST} is not what was written")
    return manifest


def damaged_file(folder: Path, manifest: Manifest, *, hashes: bool) -> str | None:
    """Return one line that names a file of an artifact that differs from its manifest.

    Without ``hashes`` the sizes alone are compared. None where nothing is known to differ.
    """
    for name, expected in (manifest.files or {}).items():
        path = folder / name
        if not path.is_file():
            return f"{folder}: is damaged: {name} is missing"
        if path.stat().st_size != expected.size or (hashes and file_hash(path) != expected.sha256):
            return f"{folder}: is damaged: {name} is not what was written"
    return None


def file_names(folder: Path) -> set[str]:
    """Return the paths of a folder's files, but its manifest and those a desktop may add."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return {
        path.as_posix()
        for path in paths
        if path.as_posix() != MANIFEST and not path.name.startswith(".")
    }


def file_records(folder: Path) -> dict[str, FileRecord]:
    """Return the records of a folder's files by path, as ``file_names`` lists them."""
    return {
        name: FileRecord((folder / name).stat().st_size, file_hash(folder / name))
        for name in sorted(file_names(folder))
    }

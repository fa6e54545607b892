from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ethosteer.files import write_json
from ethosteer.stages.manifest import (
    MANIFEST,
    DamagedArtifactError,
    Manifest,
    damaged_file,
    file_records,
    read_manifest,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact of two files, with its manifest and a file that a desktop added."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "text").write_bytes(b"all")
    (tmp_path / "inner" / "weights").write_bytes(bytes(10))
    (tmp_path / ".DS_Store").write_bytes(b"a desktop's")
    manifest = Manifest("steer", "a", "f" * 64, 1.5, files=file_records(tmp_path)).summed()
    write_json(tmp_path / MANIFEST, manifest)
    return tmp_path


def test_files_are_recorded_by_path_with_size_and_hash(folder: Path) -> None:
    records = file_records(folder)
    assert list(records) == ["inner/weights", "text"]
    assert (records["text"].size, records["inner/weights"].size) == (3, 10)
    assert records["text"].sha256 == hashlib.sha256(b"all").hexdigest()
    assert read_manifest(folder).files == records


def test_a_file_that_differs_is_named(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert damaged_file(folder, manifest, hashes=True) is None
    (folder / "text").write_bytes(b"ale")
    assert damaged_file(folder, manifest, hashes=False) is None, "its size is the same"
    assert damaged_file(folder, manifest, hashes=True) == (
        f"{folder}: is damaged: text is not what was written"
    )
    (folder / "inner" / "weights").unlink()
    assert damaged_file(folder, manifest, hashes=False) == (
        f"{folder}: is damaged: inner/weights is missing"
    )


@pytest.mark.parametrize(("old", "new"), [("1.5", "2.5"), ('"steer"', '"stear"'), ("{", "")])
def test_a_manifest_that_was_changed_is_damaged(folder: Path, old: str, new: str) -> None:
    path = folder / MANIFEST
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(DamagedArtifactError, match=r"is damaged: .*manifest\.json"):
        read_manifest(folder)

"""One file out of an archive, and nothing that an archive's names could do."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ethosteer.data.fetch import archives
from ethosteer.errors import InputError


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for entry, content in members:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


@pytest.mark.parametrize("name", ["data/rows.jsonl", "./data/rows.jsonl"])
def test_the_named_file_is_written_and_nothing_else(name: str, tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = archive(
        tmp_path / "a.tar.gz",
        (tarfile.TarInfo("../evil"), b"x"),
        (tarfile.TarInfo("/tmp/evil"), b"x"),
        (tarfile.TarInfo(name), b"row\n"),
    )
    archives.extract(path, "data/rows.jsonl", folder / "target")
    assert (folder / "target").read_bytes() == b"row\n"
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["a.tar.gz", "folder", "target"]


def test_a_link_by_that_name_is_refused(tmp_path: Path):
    path = archive(tmp_path / "a.tar.gz", (link("rows.jsonl", "/etc/passwd"), b""))
    with pytest.raises(InputError, match=r"rows\.jsonl is no regular file"):
        archives.extract(path, "rows.jsonl", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("rows.jsonl"), bytes(100)))
    monkeypatch.setattr(archives, "LARGEST_FILE", 99)
    with pytest.raises(InputError, match="acceptable size"):
        archives.extract(path, "rows.jsonl", tmp_path / "target")


def test_an_archive_without_the_file_names_it(tmp_path: Path):
    path = archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("other"), b"x"))
    with pytest.raises(InputError, match=r"a.tar.gz: has no file rows.jsonl"):
        archives.extract(path, "rows.jsonl", tmp_path / "target")


def test_what_is_no_archive_or_cut_short_is_one_line(tmp_path: Path):
    whole = archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("rows.jsonl"), bytes(range(256)) * 99))
    for content in (b"no archive", whole.read_bytes()[:60]):
        (tmp_path / "b.tar.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"b.tar.gz: (cannot be extracted|has no file)"):
            archives.extract(tmp_path / "b.tar.gz", "rows.jsonl", tmp_path / "target")

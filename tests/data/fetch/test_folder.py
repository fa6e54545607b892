"""A data folder is filled, completed, verified; the user's cache likewise."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

import pytest
from filelock import FileLock

from ethosteer.data.fetch.folder import LOCK, State, cached, fill, preview
from ethosteer.data.fetch.manifest import MANIFEST, check, read_manifest
from ethosteer.data.fetch.remote import Remote
from ethosteer.data.sources import Origin, Source
from ethosteer.errors import InputError
from ethosteer.progress import Terminal
from tests.data.fetch.server import COMMIT, Server

QUIET = Terminal(quiet=True)
POSTS = b"label,input,is_short\n1,AITA? | I sank a boat.,False\n"
ROWS = b'{"id": "invented"}\n'


@pytest.fixture
def remotes(server: Server) -> dict[str, Remote]:
    """Publish a file of every kind: of the hub, of an address, in an archive, to be converted."""
    server.hub_file("someone/rows", "train.csv.gz", gzip.compress(b"a\n1\n", mtime=0), large=True)
    server.hub_file("someone/rows", "cm.csv", POSTS)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo("a/rows.jsonl")
        entry.size = len(ROWS)
        tar.addfile(entry, io.BytesIO(ROWS))
    hub = Remote("", "https://example.org", "MIT", repository="someone/rows", revision=COMMIT)
    web = Remote("", "https://example.org", "CC0")
    return {
        "hub": replace(hub, path="hub/train.csv.gz", hub_path="train.csv.gz"),
        "web": replace(
            web,
            path="web/rows.tsv",
            address=server.file("/rows.tsv", b"x\ty\n"),
            sha256=sha256(b"x\ty\n").hexdigest(),
        ),
        "archive": replace(
            web,
            path="archive/rows.jsonl",
            address=server.file("/rows.tar.gz", archive.getvalue()),
            member="a/rows.jsonl",
        ),
        "converted": replace(
            hub, path="aita/rows.jsonl", hub_path="cm.csv", conversion="ethics-aita"
        ),
    }


def states(found) -> list[State]:
    return [entry.state for entry in found]


def test_a_folder_is_filled_and_its_manifest_says_from_where(
    remotes: dict[str, Remote], tmp_path: Path
):
    folder = tmp_path / "data"
    found = fill(remotes.values(), folder, QUIET)
    assert states(found) == [State.fetched] * 4
    assert gzip.decompress((folder / "hub/train.csv.gz").read_bytes()) == b"a\n1\n"
    assert (folder / "web/rows.tsv").read_bytes() == b"x\ty\n"
    assert (folder / "archive/rows.jsonl").read_bytes() == ROWS
    assert json.loads((folder / "aita/rows.jsonl").read_text())["text"] == "I sank a boat."
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left - {LOCK} == {MANIFEST, *(remote.path for remote in remotes.values())}
    entries = read_manifest(folder)
    assert entries["hub/train.csv.gz"].revision == COMMIT
    assert entries["aita/rows.jsonl"].received_sha256 == sha256(POSTS).hexdigest()
    archive = entries["archive/rows.jsonl"]
    assert (archive.sha256, archive.size) == (sha256(ROWS).hexdigest(), len(ROWS))
    assert archive.form == "extracted (a/rows.jsonl)"
    # nothing but the hash that was received vouches for the archive
    assert ["not known beforehand" in state.note for state in found] == [False, False, True, False]
    assert check(folder, entries) == []


def test_complete_files_are_not_fetched_again(
    remotes: dict[str, Remote], server: Server, tmp_path: Path
):
    folder = tmp_path / "data"
    fill(remotes.values(), folder, QUIET)
    server.requests.clear()
    assert states(fill(remotes.values(), folder, QUIET)) == [State.complete] * 4
    assert server.requests == []


def test_a_changed_or_outdated_file_is_fetched_again(
    remotes: dict[str, Remote], server: Server, tmp_path: Path
):
    folder = tmp_path / "data"
    fill(remotes.values(), folder, QUIET)
    (folder / "web/rows.tsv").write_text("x\tz\n")
    (folder / "archive/rows.jsonl").unlink()
    lines = check(folder, read_manifest(folder))
    assert [line.split(": ")[1].split(" (")[0] for line in lines] == [
        "is missing",
        "differs from what was fetched",
    ]
    newer = replace(remotes["hub"], revision="f" * 40)
    server.hub_file("someone/rows", "train.csv.gz", b"newer", revision="f" * 40)
    found = fill([newer, remotes["web"], remotes["archive"], remotes["converted"]], folder, QUIET)
    assert states(found) == [State.fetched] * 3 + [State.complete]
    assert (folder / "hub/train.csv.gz").read_bytes() == b"newer"
    assert (folder / "web/rows.tsv").read_bytes() == b"x\ty\n"


def test_files_of_the_user_are_kept(remotes: dict[str, Remote], server: Server, tmp_path: Path):
    for name, text in (("web/rows.tsv", "mine\n"), ("aita/rows.jsonl", "mine too\n")):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).write_text(text)
    found = fill([remotes["web"], remotes["converted"]], tmp_path / "data", QUIET)
    assert states(found) == [State.yours] * 2
    assert [state.note for state in found] == ["not the published content", ""]
    assert (tmp_path / "data" / "web/rows.tsv").read_text() == "mine\n"
    assert server.requests == []


def test_one_failure_stops_no_other_file(
    remotes: dict[str, Remote], server: Server, tmp_path: Path
):
    server.refuse("someone/rows", "train.csv.gz", "GatedRepo", 403)
    server.file("/rows.tsv", b"changed")
    found = fill(remotes.values(), tmp_path / "data", QUIET)
    assert states(found) == [State.missing, State.missing, State.fetched, State.fetched]
    assert "accept its terms at https://huggingface.co/datasets/someone/rows" in found[0].note
    assert "has sha256" in found[1].note
    assert not (tmp_path / "data" / "web/rows.tsv").exists()


def test_a_second_machine_verifies_against_the_manifest_of_the_first(
    remotes: dict[str, Remote], server: Server, tmp_path: Path
):
    first, second = tmp_path / "first", tmp_path / "second"
    fill([remotes["archive"]], first, QUIET)
    second.mkdir()
    (second / MANIFEST).write_bytes((first / MANIFEST).read_bytes())
    server.file("/rows.tar.gz", b"another archive")
    (found,) = fill([remotes["archive"]], second, QUIET)
    assert found.state is State.missing
    assert "has sha256" in found.note


def test_a_server_out_of_reach_is_not_asked_for_its_other_files(tmp_path: Path, server: Server):
    nowhere = Remote("a", "https://example.org", "MIT", address="http://127.0.0.1:9/a")
    found = fill([nowhere, replace(nowhere, path="b")], tmp_path / "data", QUIET)
    assert states(found) == [State.missing] * 2
    assert "failed in 4 attempts" in found[0].note
    assert "not tried, since 127.0.0.1:9 is out of reach" in found[1].note


def test_a_preview_names_sizes_and_writes_nothing(
    remotes: dict[str, Remote], server: Server, tmp_path: Path
):
    server.refuse("someone/rows", "train.csv.gz", "GatedRepo", 403)
    found = preview(remotes.values(), tmp_path / "data")
    assert states(found) == [State.to_fetch] * 4
    assert [state.size for state in found[1:2]] == [4]
    assert found[0].size is None
    assert "is gated" in found[0].note
    assert server.bodies() == []
    assert not (tmp_path / "data").exists()


def test_two_fetches_into_one_folder_are_refused(remotes: dict[str, Remote], tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    with FileLock(folder / LOCK), pytest.raises(InputError, match="another fetch is at work"):
        fill(remotes.values(), folder, QUIET)


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(
    path: str, remotes: dict[str, Remote], tmp_path: Path
):
    fill([remotes["web"]], tmp_path / "data", QUIET)
    manifest = tmp_path / "data" / MANIFEST
    manifest.write_text(manifest.read_text().replace("web/rows.tsv", path))
    with pytest.raises(InputError, match="leads out of the folder"):
        fill([remotes["web"]], tmp_path / "data", QUIET)


def test_a_folder_without_a_manifest_cannot_be_checked(tmp_path: Path):
    with pytest.raises(InputError, match=f"has no {MANIFEST}"):
        check(tmp_path, read_manifest(tmp_path))


def test_a_file_of_the_cache_is_fetched_once(remotes: dict[str, Remote], server: Server):
    paths = [cached(remote) for remote in remotes.values()]
    server.requests.clear()
    assert [cached(remote) for remote in remotes.values()] == paths
    assert server.bodies() == []


def as_source(remote: Remote) -> Source:
    values = {field.name: getattr(remote, field.name) for field in fields(remote)}
    return Source(**values)


@pytest.mark.parametrize("kind", ["hub", "web", "archive", "converted"])
def test_a_partly_filled_folder_counts_by_content(
    kind: str, remotes: dict[str, Remote], tmp_path: Path
):
    source = as_source(remotes[kind])
    (tmp_path / "part").mkdir()
    edition = Origin("folder", tmp_path / "part").revision(source)
    assert list((tmp_path / "part").iterdir()) == []
    fill([remotes[kind]], tmp_path / "whole", QUIET)
    content = (tmp_path / "whole" / source.path).read_bytes()
    assert Origin("folder", tmp_path / "whole").revision(source) == edition
    assert edition == f"sha256:{sha256(content).hexdigest()[:16]}"


def test_a_pinned_file_needs_no_network_for_its_edition(remotes: dict[str, Remote], server: Server):
    pinned = {
        name: Origin("hub").revision(as_source(remote))
        for name, remote in remotes.items()
        if remote.pin
    }
    assert server.requests == []
    assert pinned["hub"] == remotes["hub"].revision
    assert pinned["web"] == f"sha256:{remotes['web'].sha256[:16]}"
    # nothing pins the archive: it counts by the content of its member, and so it is fetched
    assert "archive" not in pinned
    assert Origin("hub").revision(as_source(remotes["archive"])).startswith("sha256:")
    assert server.bodies() != []


@pytest.mark.parametrize("kind", ["hub", "web"])
def test_offline_a_missing_file_is_named_with_both_mends(
    kind: str, remotes: dict[str, Remote], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        Origin("folder", tmp_path).locate(as_source(remotes[kind]))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / remotes[kind].path}: no such file, and ")
    assert "unset HF_HUB_OFFLINE, or fill a folder with `ethosteer fetch" in message

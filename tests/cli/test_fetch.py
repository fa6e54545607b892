"""`ethosteer fetch`: data from stand-ins for the hub and authors, and a base from a file."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ethosteer import catalog
from ethosteer.benchmarks.base import sources_of
from ethosteer.data.fetch.manifest import MANIFEST
from ethosteer.data.fetch.remote import Remote
from ethosteer.data.sources import Origin
from ethosteer.settings import StudySettings
from ethosteer.study import data_files
from ethosteer.study.load import bundled_studies, load_study
from tests.data.fetch.server import Server
from tests.data.fetch.test_conversions import collection
from tests.models import gguf_files

CONVERSATION = '{"text": "### Human: May I?### Assistant: You may."}\n'
POSTS = "label,input,is_short,edited\n1,AITA? | I sank a boat.,False,False\n0,I sang.,True,False\n"
Call = Callable[..., tuple[int, str, str]]


def examples() -> dict[str, str]:
    """Return a small valid text for every published file, by its path in a data folder."""
    texts = {"conversations/guanaco_train.jsonl": CONVERSATION}
    for name in catalog.benchmark_names():
        texts |= catalog.benchmark(name).examples
    return texts | {"ethics/commonsense/cm_test.csv": POSTS}


def published(remote: Remote) -> bytes:
    """Return what the address of a published file sends."""
    if remote.conversion == "wsc273":
        return collection(273).encode()
    if remote.conversion == "ethics-aita":
        return POSTS.encode()
    text = examples()[remote.path].encode()
    if remote.member:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            entry = tarfile.TarInfo(remote.member)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
        return archive.getvalue()
    return gzip.compress(text, mtime=0) if remote.path.endswith(".gz") else text


@pytest.fixture
def world(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Publish every file of every bundled study, with the addresses' paths and invented content."""

    listed = data_files.data_files

    def files(settings: StudySettings, folder: Path) -> list[Remote]:
        return [
            replace(
                remote,
                address=server.url + urlsplit(remote.address).path if remote.address else "",
                sha256=sha256(published(remote)).hexdigest() if remote.sha256 else "",
            )
            for remote in listed(settings, folder)
        ]

    for name in bundled_studies():
        for remote in files(load_study(name), Path("data")):
            body = published(remote)
            if remote.repository:
                server.hub_file(remote.repository, remote.hub_path, body, revision=remote.revision)
            else:
                server.file(urlsplit(remote.address).path, body)
    monkeypatch.setattr("ethosteer.cli.data_folder.data_files", files)
    server.requests.clear()
    return server


@pytest.mark.parametrize("name", bundled_studies())
def test_every_file_of_a_bundled_study_is_fetched_and_can_be_read(
    name: str, world: Server, call: Call, tmp_path: Path
):
    folder = tmp_path / "data"
    status, out, err = call("fetch", name, str(folder))
    assert (status, "error" in err) == (0, False)
    assert out.splitlines()[-1] == f"done: {folder} (--data-dir {folder})"
    settings, origin = load_study(name), Origin("folder", folder)
    for arm in settings.arms:
        dataset = catalog.dataset(settings.dataset_of(arm))
        assert list(dataset.rows(folder / dataset.source.path))
    for benchmark, chosen in catalog.study_benchmarks(settings).items():
        sources = sources_of(catalog.benchmark(benchmark), chosen.source)
        paths = [folder / source.path for source in sources]
        assert catalog.benchmark(benchmark).items(paths)
        assert [origin.locate(source) for source in sources] == paths
    assert call("fetch", name, str(folder), "--check")[0] == 0
    world.requests.clear()
    status, out, _ = call("fetch", name, str(folder))
    assert status == 0
    assert all(line.startswith(("complete: ", "done: ")) for line in out.splitlines())
    assert world.requests == []


def test_a_gated_file_is_told_with_its_page_and_the_rest_is_fetched(
    world: Server, call: Call, tmp_path: Path
):
    (source,) = catalog.benchmark("toxigen").sources
    world.refuse(source.repository, source.hub_path, "GatedRepo", 403, source.revision)
    status, out, err = call("fetch", "smollm2", str(tmp_path / "data"))
    assert status == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    page = "https://huggingface.co/datasets/toxigen/toxigen-data"
    assert f"is gated: accept its terms at {page}, then log in with `hf auth login`" in errors[0]
    assert errors[0].startswith("error: toxigen/annotated_test.csv: ")
    assert errors[1].endswith("1 file is missing or wrong")
    assert "Traceback" not in err
    assert out.count("fetched: ") == len(data_files.data_files(load_study("smollm2"), tmp_path)) - 1
    # the next fetch adds what was missing
    world.hub_file(source.repository, source.hub_path, published(source), revision=source.revision)
    status, out, _ = call("fetch", "smollm2", str(tmp_path / "data"))
    assert (status, out.count("fetched: ")) == (0, 1)


def test_a_dry_run_lists_address_size_and_licence_and_fetches_nothing(
    world: Server, call: Call, tmp_path: Path
):
    status, out, _ = call("fetch", "pocket", str(tmp_path / "data"), "--dry-run")
    assert status == 0
    assert not (tmp_path / "data").exists()
    assert world.bodies() == []
    line = next(line for line in out.splitlines() if "winograd" in line)
    size = len(collection(273).encode())
    assert line == (
        f"to fetch: winograd/wsc273.jsonl; {size:,} bytes; "
        f"{world.url}/~davise/papers/WinogradSchemas/WSCollection.xml; converted (wsc273); "
        "licence: CC BY 4.0"
    )


def test_check_names_files_that_differ_or_are_missing(world: Server, call: Call, tmp_path: Path):
    folder = tmp_path / "data"
    call("fetch", "algorithms", str(folder))
    (folder / "toxigen/annotated_test.csv").write_text("changed")
    (folder / "winograd/wsc273.jsonl").unlink()
    world.requests.clear()
    status, _, err = call("fetch", "algorithms", str(folder), "--check")
    assert status == 2
    assert f"error: {folder}/toxigen/annotated_test.csv: differs from what was fetched" in err
    assert f"error: {folder}/winograd/wsc273.jsonl: is missing" in err
    assert "2 files are missing or wrong" in err
    assert world.requests == []
    status, _, err = call("fetch", "smollm2", str(folder), "--check")
    assert f"error: {folder}/hh-rlhf/harmless-base/train.jsonl.gz: is missing" in err
    (folder / MANIFEST).unlink()
    status, _, err = call("fetch", "algorithms", str(folder), "--check")
    assert (status, err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pocket",), "name a folder too, as in `ethosteer fetch pocket DATA`"),
        (("smollm2", "--dry-run"), "--dry-run and --check are for data"),
        (("smollm2", "data", "--source", "hub"), "--source is for a model"),
        (("no-such-study", "data"), "no-such-study"),
        (("demo", "a-file"), "a-file: is a file"),
    ],
)
def test_arguments_that_contradict_each_other_are_one_line(
    arguments: tuple[str, ...],
    words: str,
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("")
    status, out, err = call("fetch", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_token_is_shown_nowhere(
    world: Server, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_a-secret")
    (source,) = catalog.benchmark("toxigen").sources
    world.refuse(source.repository, source.hub_path, "GatedRepo", 403, source.revision)
    _, out, err = call("fetch", "algorithms", str(tmp_path / "data"))
    written = "".join(path.read_text() for path in (tmp_path / "data").rglob("*.json"))
    assert "a-secret" not in out + err + written


def test_a_base_is_fetched_before_it_is_asked_for(
    tmp_path: Path,
    tiny_base: Path,
    call: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETHOSTEER_CACHE", str(tmp_path / "cache"))
    path = gguf_files.write(tmp_path / "tiny.gguf", tiny_base)
    status, out, err = call("fetch", str(path))
    (folder,) = (tmp_path / "cache" / "gguf").glob("*-1")
    assert (status, out) == (0, f"done: {folder}\n")
    assert err == "converting tiny.gguf to safetensors, once\n"
    assert call("fetch", str(path)) == (0, out, "")
    status, out, err = call("fetch", "pocket")
    assert (status, out) == (2, "")
    assert err == (
        "error: pocket: only smollm2 and .gguf files are fetched before they are used; for a "
        "study's data name a folder too, as in `ethosteer fetch pocket DATA`\n"
    )

"""Files of the hub by its own client: whole, continued, refused with the mend."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ethosteer.data.fetch import hub
from ethosteer.data.fetch.http import OutOfReachError
from ethosteer.data.fetch.remote import Remote
from ethosteer.errors import InputError
from tests.data.fetch.server import COMMIT, Server

REMOTE = Remote(
    "rows/train.csv",
    "https://example.org/rows",
    "MIT",
    repository="someone/rows",
    revision=COMMIT,
    hub_path="data/train.csv",
)
BODY = b"label,text\n" + b"1,an invented row\n" * 20_000
PAGE = "https://huggingface.co/datasets/someone/rows"


def download() -> Path:
    return hub.download(REMOTE, lambda done, total: None)


@pytest.mark.parametrize("large", [False, True])
def test_a_file_comes_into_the_hubs_cache(large: bool, server: Server, tmp_path: Path):
    server.hub_file("someone/rows", "data/train.csv", BODY, large=large)
    reports: list[tuple[int, int | None]] = []
    path = hub.download(REMOTE, lambda done, total: reports.append((done, total)))
    assert path.read_bytes() == BODY
    assert path.is_relative_to(tmp_path / "hub")
    assert hub.commit_of(path) == COMMIT
    assert reports[-1] == (len(BODY), len(BODY))
    assert hub.size_of(REMOTE) == len(BODY)
    server.requests.clear()
    assert download() == path
    assert server.bodies() == []


def test_a_broken_connection_is_continued(server: Server, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    server.hub_file("someone/rows", "data/train.csv", BODY).cuts = [100_000]
    assert download().read_bytes() == BODY
    spans = [span for _, span in server.bodies()]
    assert spans == ["", "bytes=100000-"]


@pytest.mark.parametrize("large", [False, True])
def test_content_with_another_hash_than_the_hub_states_is_removed(large: bool, server: Server):
    answer = server.hub_file("someone/rows", "data/train.csv", BODY, large=large)
    answer.body = BODY.replace(b"1", b"0")
    with pytest.raises(InputError, match="another hash than the hub states, so it was removed"):
        download()
    answer.body = BODY
    assert download().read_bytes() == BODY


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("GatedRepo", 403, f"is gated: accept its terms at {PAGE}, then log in"),
        ("GatedRepo", 401, f"is gated: accept its terms at {PAGE}, then log in"),
        ("RepoNotFound", 401, f"is not there without a login: see {PAGE}"),
        ("RepoNotFound", 404, "is not there without a login"),
        ("RevisionNotFound", 404, "the repository has no such revision"),
        ("EntryNotFound", 404, "the repository has no such file"),
    ],
)
def test_a_refusal_is_one_line_with_the_mend(code: str, status: int, words: str, server: Server):
    server.refuse("someone/rows", "data/train.csv", code, status)
    for ask in (download, lambda: hub.size_of(REMOTE)):
        with pytest.raises(InputError) as caught:
            ask()
        assert words in str(caught.value)
        assert str(caught.value).startswith(f"someone/rows/data/train.csv at revision {COMMIT} ")
        assert not isinstance(caught.value, OutOfReachError)


def test_a_hub_that_is_out_of_reach_is_told_from_a_refusal(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OutOfReachError, match="HF_HUB_OFFLINE forbids"):
        download()
    assert server.requests == []


def test_the_clients_log_has_its_level_again(server: Server):
    level = logging.getLogger("huggingface_hub").level
    server.refuse("someone/rows", "data/train.csv", "EntryNotFound", 404)
    with pytest.raises(InputError):
        download()
    assert logging.getLogger("huggingface_hub").level == level


def test_a_model_is_fetched_without_its_pickles(server: Server, monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, object] = {}
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download",
        lambda name, **options: asked.update(options, name=name) or "/cache/model",
    )
    assert hub.download_model("someone/classifier@" + COMMIT) == Path("/cache/model")
    assert (asked["name"], asked["revision"]) == ("someone/classifier", COMMIT)
    patterns = asked["allow_patterns"]
    assert isinstance(patterns, list)
    assert "*.safetensors" in patterns
    assert not any(pattern.endswith((".bin", ".pt")) for pattern in patterns)

"""Loading from the hub: files in the layout of its own cache, and no network."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from ethosteer.data.sources import Origin, Source
from ethosteer.errors import InputError
from ethosteer.models.loading import load_base
from ethosteer.settings import BaseSettings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = Source(
    path="rows/train.csv",
    home="https://example.org/rows",
    licence="MIT",
    repository="someone/rows",
    revision=COMMIT,
    hub_path="data/train.csv",
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty hub cache that is the only thing the hub's client can reach."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def snapshot(hub: Path, kind: str, repository: str) -> Path:
    folder = hub / f"{kind}--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return folder / "snapshots" / COMMIT


def test_a_dataset_file_comes_at_its_pinned_revision(hub: Path) -> None:
    folder = snapshot(hub, "datasets", "someone/rows")
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.csv").write_text("label\n1\n")
    path = Origin("hub").locate(SOURCE)
    assert path.read_text() == "label\n1\n"
    assert COMMIT in str(path)
    # sha256 of the eight bytes written above: the same file of a data folder is the same edition
    assert Origin("hub").revision(SOURCE) == "sha256:eba41668a0246378"


def test_a_file_that_cannot_be_had_is_one_clear_line(hub: Path) -> None:
    with pytest.raises(InputError, match=f"someone/rows/data/train.csv at revision {COMMIT}"):
        Origin("hub").locate(SOURCE)


def test_a_base_comes_from_the_hub_by_its_id(hub: Path, tiny_base: Path) -> None:
    shutil.copytree(tiny_base, snapshot(hub, "models", "someone/tiny"))
    base = load_base(BaseSettings(model="someone/tiny", revision=COMMIT, device="cpu"))
    assert base.hidden_size == 32
    assert base.tokenizer.eos_token == "<|eos|>"


def test_a_base_that_is_not_there_is_one_clear_line(hub: Path) -> None:
    with pytest.raises(InputError, match=r"model someone/nothing: "):
        load_base(BaseSettings(model="someone/nothing"))

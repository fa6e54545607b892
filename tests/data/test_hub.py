"""Loading from the hub: files in the layout of its own cache, and no network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from ethosteer.data.formats.dataset import file_dataset
from ethosteer.data.hub import HubDataset
from ethosteer.data.sources import Origin, Source
from ethosteer.errors import InputError
from ethosteer.models.loading import load_base
from ethosteer.settings import ArmSettings, BaseSettings, DataSettings
from ethosteer.stages.curate import Curate
from ethosteer.stages.stage import PublishedFiles, RawBase

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
    assert Origin("hub").revision(SOURCE) == COMMIT


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


LISTED = (
    "README.md",
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
    "data/test-00000-of-00001.parquet",
    "data/train_prefs-00000-of-00001.parquet",
)


def selected(*names: str, configurations: list[dict[str, Any]] | None = None, **asked: str):
    return HubDataset("someone/rows", **asked).select(names, configurations or [])


def test_files_of_a_split_are_told_by_their_paths():
    assert selected(*LISTED) == list(LISTED[1:3])
    assert selected(*LISTED, split="test") == [LISTED[3]]
    assert selected(*LISTED, split="train_prefs") == [LISTED[4]]
    assert selected("a.jsonl", "b.jsonl", "notes.txt") == ["a.jsonl", "b.jsonl"]
    folders = ("harmless/train.jsonl.gz", "harmless/test.jsonl.gz", "online/train.jsonl.gz")
    assert selected(*folders, config="harmless") == [folders[0]]
    assert selected("train.csv", "validation.csv", "dev.csv", split="validation") == [
        "dev.csv",
        "validation.csv",
    ]


def test_files_of_a_split_are_told_by_the_readme():
    configurations: list[dict[str, Any]] = [
        {"config_name": "easy", "data_files": [{"split": "train", "path": "easy/*.parquet"}]},
        {"config_name": "hard", "data_files": "hard.jsonl", "default": True},
    ]
    names = ("easy/a.parquet", "easy/b.parquet", "hard.jsonl", "train.csv")
    assert selected(*names, configurations=configurations) == ["hard.jsonl"]
    assert selected(*names, configurations=configurations, config="easy") == list(names[:2])
    with pytest.raises(InputError, match=r"has no configuration 'x'; it has easy, hard"):
        selected(*names, configurations=configurations, config="x")
    with pytest.raises(InputError, match=r"no data files of split 'test'; it has easy/a\.parquet"):
        selected(*names, configurations=configurations, split="test")


UNREADABLE = r"README\.md: its metadata cannot be read: "
READMES: dict[str, tuple[bytes, str]] = {
    "YAML that is none": (b"a: b: c", UNREADABLE),
    "a tag of Python's": (b"x: !!python/object/apply:os.getcwd []", UNREADABLE),
    "no mapping": (b"- a", UNREADABLE),
    "a byte that is not UTF-8": (b"x: \xff", UNREADABLE),
    "nested too deep": (b"x: " + b"[" * 20_000, UNREADABLE),
    "configs that are text": (b"configs: easy", r"README\.md: its metadata's configs must be a"),
    "a path outside": (
        b"configs:\n- config_name: a\n  data_files: ../../*",
        r"no data files of split 'train'; it has train\.jsonl",
    ),
    "a pattern that takes exponential time": (
        b"configs:\n- config_name: a\n  data_files: '" + b"*t" * 40 + b"x'",
        r"no data files of split 'train'",
    ),
}


@pytest.mark.parametrize("name", READMES)
def test_a_readme_that_cannot_be_used_is_one_line(tmp_path: Path, name: str) -> None:
    metadata, expected = READMES[name]
    (tmp_path / "README.md").write_bytes(b"---\n" + metadata + b"\n---\n# Rows\n")
    (tmp_path / "train.jsonl").write_text("{}")
    with pytest.raises(InputError, match=expected) as refused:
        HubDataset("someone/rows").files(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("revision", ["", "main", COMMIT])
def test_a_preference_dataset_of_the_hub_is_an_arm(hub: Path, revision: str) -> None:
    folder = snapshot(hub, "datasets", "someone/rows")
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Rows\n")
    for split in ("train", "test"):
        row = {"prompt": split, "chosen": "a", "rejected": "b"}
        (folder / "data" / f"{split}.jsonl").write_text(json.dumps(row))
    settings = ArmSettings(hub="someone/rows", revision=revision or None)
    dataset = file_dataset("rows", settings)
    assert Origin("sample").revision(dataset.source) == COMMIT
    rows = list(dataset.rows(Origin("sample").locate(dataset.source)))
    assert [row.fields["prompt"] for row in rows] == ["train"]
    assert dataset.source.home == "https://huggingface.co/datasets/someone/rows"
    known = [
        Curate("rows", "rows", arm, DataSettings(), RawBase(BaseSettings()), files).fingerprint
        for arm in (settings, settings.model_copy(update={"revision": "main"}))
        for files in [PublishedFiles(Origin("hub"), (dataset.source,))]
    ]
    assert known[0] == known[1]  # the commit counts, and not what names it


def test_a_dataset_that_is_not_there_is_one_clear_line(hub: Path) -> None:
    dataset = file_dataset("rows", ArmSettings(hub="someone/nothing"))
    with pytest.raises(InputError, match=r"dataset someone/nothing at revision main could not be"):
        Origin("hub").locate(dataset.source)

"""A base's identity and shape, from its files alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from ethosteer.errors import InputError
from ethosteer.files import file_hash
from ethosteer.models import cached, identity
from ethosteer.models.identity import POCKET, folder_fingerprint, model_fingerprint, read_shape
from ethosteer.settings import BaseSettings, ModelShape
from ethosteer.stages.stage import RawBase
from ethosteer.stages.store import Store
from ethosteer.stages.workspace import Workspace


def test_a_fingerprint_follows_content_not_place(tmp_path, tiny_models):
    copies = [tmp_path / "a", tmp_path / "b"]
    for copy in copies:
        copy.mkdir()
        for path in tiny_models["llama"].iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
    first, second = (BaseSettings(model=str(copy)) for copy in copies)
    assert model_fingerprint(first) == model_fingerprint(second)
    assert model_fingerprint(first) != model_fingerprint(
        first.model_copy(update={"dtype": "bfloat16"})
    )
    config = copies[1] / "config.json"
    config.write_text(config.read_text().replace("silu", "gelu"))
    assert model_fingerprint(first) != model_fingerprint(second)


def test_a_base_in_autocast_is_another_base(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    plain = BaseSettings(model=str(tmp_path))
    assert model_fingerprint(plain) != model_fingerprint(
        plain.model_copy(update={"autocast": True})
    )


def test_what_is_not_set_leaves_an_identity_as_it_was(tmp_path):
    """Studies that were stored before a setting was there keep their results."""
    (tmp_path / "config.json").write_text("{}")
    plain = BaseSettings(model=str(tmp_path))
    content = folder_fingerprint(tmp_path)
    assert model_fingerprint(plain) == f"{content}:float32"
    for changes, expected in (
        ({"autocast": True}, "float32:autocast"),
        ({"quantise": "nf4"}, "float32:nf4"),
        ({"quantise": "int8", "dtype": "float16"}, "float16:int8"),
        ({"gradient_checkpointing": True, "device": "cpu"}, "float32"),
    ):
        changed = plain.model_copy(update=changes)
        assert model_fingerprint(changed) == f"{content}:{expected}"


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model folder whose weights count as large, with an empty cache beside it."""
    monkeypatch.setattr(identity, "WHOLE_BYTES", 100)
    monkeypatch.setenv("ETHOSTEER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(5000))
    return folder


def test_a_large_file_is_hashed_whole(large: Path) -> None:
    before = folder_fingerprint(large)
    path = large / "model.safetensors"
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(2500)
        file.write(b"x")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if it had not been touched
    assert folder_fingerprint(large) != before
    path.write_bytes(bytes(5000))
    assert folder_fingerprint(large) == before, "the same content has the same identity"


def test_a_large_file_is_read_once(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_hash(path)

    monkeypatch.setattr(cached, "file_hash", counted)
    first = folder_fingerprint(large)
    assert [folder_fingerprint(large) for _ in range(2)] == [first, first]
    assert read == [large / "model.safetensors"]
    (memory,) = (large.parent / "cache" / "hashes").iterdir()
    memory.write_text("damaged")
    assert folder_fingerprint(large) == first
    assert len(read) == 2


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path) -> str:
        digest = file_hash(path)
        path.write_bytes(b"other" * 1000)
        return digest

    monkeypatch.setattr(cached, "file_hash", slow)
    first = folder_fingerprint(large)
    monkeypatch.setattr(cached, "file_hash", file_hash)
    assert folder_fingerprint(large) != first


def test_a_file_that_cannot_be_read_is_named(large: Path) -> None:
    (large / "tokenizer.json").symlink_to(large / "gone")
    with pytest.raises(InputError, match=r"tokenizer\.json: cannot be read"):
        folder_fingerprint(large)


def test_the_identity_of_a_small_folder_stays_that_of_earlier_releases(tmp_path: Path) -> None:
    """Stored work is found by it: sha256 over name, size and bytes, file by file."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.safetensors").write_bytes(b"xyz")
    (tmp_path / "README.md").write_text("of no matter")
    expected = sha256(b"a.safetensors:3:xyzconfig.json:2:{}").hexdigest()
    assert folder_fingerprint(tmp_path) == expected


def test_a_base_that_changes_while_a_study_runs_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    base = RawBase(BaseSettings(model=str(tmp_path)))
    workspace = Workspace(Store(tmp_path / "artifacts"), tmp_path / "tracking")
    base.identity()
    base.check_unchanged()
    (tmp_path / "config.json").write_text("{} ")
    with pytest.raises(InputError, match="its files changed while the study ran"):
        workspace.base(base)


# --- the shape


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gemma2", "gemma3", "opt", "falcon"])
def test_the_shape_is_what_transformers_reads(kind: str, tmp_path: Path) -> None:
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path).get_text_config()
    assert read_shape(BaseSettings(model=str(tmp_path))) == ModelShape(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        tied=config.tie_word_embeddings,
        heads=config.num_attention_heads,
        key_value_heads=getattr(config, "num_key_value_heads", None),
        head_size=config.to_dict().get("head_dim"),
        head_norms=kind == "gemma3",
    )


def test_the_shape_of_the_pocket_model() -> None:
    assert read_shape(BaseSettings()) == ModelShape(
        hidden=256,
        layers=6,
        intermediate=688,
        vocabulary=4096,
        tied=True,
        heads=4,
        key_value_heads=4,
        head_size=64,
    )


SIZES_OF_ONE = {"hidden_size": 1, "num_hidden_layers": 1, "vocab_size": 1}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[1]",
        "{}",
        json.dumps({"hidden_size": 8, "num_hidden_layers": "x"}),
        json.dumps(SIZES_OF_ONE | {"hidden_size": -1}),
        json.dumps(SIZES_OF_ONE | {"vocab_size": float("inf")}),
        json.dumps(SIZES_OF_ONE | {"intermediate_size": ["8 wide"]}),
        json.dumps(SIZES_OF_ONE | {"text_config": [1]}),
    ],
)
def test_a_config_without_a_shape_asks_for_it(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json cannot be read; .*\[base\.shape\]"):
        read_shape(BaseSettings(model=str(tmp_path)))


def test_a_hub_models_config_is_downloaded_at_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(*given: str, **more: str) -> str:
        asked.append((given, more))
        return str(POCKET / "config.json")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    shape = read_shape(BaseSettings(model="someone/tiny", revision="abc"))
    assert shape == read_shape(BaseSettings())
    assert asked == [(("someone/tiny", "config.json"), {"revision": "abc"})]


def test_identity_and_memory_are_known_without_torch_and_transformers() -> None:
    code = (
        "import sys\n"
        "from ethosteer.models.fast.budget import fitting_tokens\n"
        "from ethosteer.models.identity import model_fingerprint, read_shape\n"
        "from ethosteer.settings import BaseSettings\n"
        "model_fingerprint(BaseSettings()), read_shape(BaseSettings())\n"
        "print(sorted({'torch', 'transformers', 'peft', 'safetensors'} & set(sys.modules)))"
    )
    started = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert started.stdout.strip() == "[]"

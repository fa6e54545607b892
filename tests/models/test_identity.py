"""A base's identity and shape, from its files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from ethosteer.errors import InputError
from ethosteer.models.identity import POCKET, model_fingerprint, read_shape
from ethosteer.settings import BaseSettings, ModelShape


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
    )


def test_the_shape_of_the_pocket_model() -> None:
    assert read_shape(BaseSettings()) == ModelShape(
        hidden=256, layers=6, intermediate=688, vocabulary=4096, tied=True
    )


@pytest.mark.parametrize(
    "content",
    [None, "", "[1]", "{}", json.dumps({"hidden_size": 8, "num_hidden_layers": "x"})],
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
        "from ethosteer.models.fast.budget import activation_bytes\n"
        "from ethosteer.models.identity import model_fingerprint, read_shape\n"
        "from ethosteer.settings import BaseSettings\n"
        "model_fingerprint(BaseSettings()), read_shape(BaseSettings())\n"
        "print(sorted({'torch', 'transformers', 'peft', 'safetensors'} & set(sys.modules)))"
    )
    started = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert started.stdout.strip() == "[]"

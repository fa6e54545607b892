"""Weights that are not those of their config, and files that foreign loaders cannot read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ethosteer.errors import InputError, RefusedDialogueError
from ethosteer.models.foreign import check_configs, foreign
from ethosteer.models.loading import load_base, load_tokenizer
from ethosteer.models.weights import check_finite_tensors
from ethosteer.settings import BaseSettings
from tests import tiny

Tensors = dict[str, Tensor]
Edit = Callable[[Tensors], Tensors]
WEIGHTS = "model.safetensors"


def load(folder: Path) -> object:
    return load_base(BaseSettings(model=str(folder), device="cpu"))


def model(
    folder: Path, architecture: str = "llama", edit: Edit | None = None, **config: Any
) -> Path:
    """Make a tiny model with other weights, or another config, than it was saved with."""
    tiny.build(architecture, folder)
    if edit is not None:
        tensors = edit({name: t.clone() for name, t in load_file(folder / WEIGHTS).items()})
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def without(part: str) -> Edit:
    return lambda tensors: {name: t for name, t in tensors.items() if part not in name}


def prefixed(tensors: Tensors) -> Tensors:
    return {f"policy.{name}": tensor for name, tensor in tensors.items()}


def spoiled(value: float) -> Edit:
    def edit(tensors: Tensors) -> Tensors:
        tensors["model.layers.1.mlp.up_proj.weight"][3, 3] = value
        return tensors

    return edit


NOT_ITS_WEIGHTS: dict[str, tuple[str, Edit | None, dict[str, Any], str]] = {
    "foreign prefix": ("llama", prefixed, {}, r"missing: lm_head\.weight, .* unexpected: policy\."),
    "no MLP": ("llama", without("layers.1.mlp"), {}, r"missing: model\.layers\.1\.mlp\.down_proj"),
    "no head": ("llama", without("lm_head"), {}, r"missing: lm_head\.weight;"),
    "more layers in the config": ("llama", None, {"num_hidden_layers": 3}, r"missing: .*layers\.2"),
    "more layers in the file": ("llama", None, {"num_hidden_layers": 1}, r"unexpected: .*layers"),
    "biases that Llama lacks": ("qwen2", None, {"model_type": "llama"}, r"unexpected: .*k_proj"),
    "biases that Qwen2 has": ("llama", None, {"model_type": "qwen2"}, r"missing: .*k_proj\.bias"),
    "another architecture": ("llama", None, {"model_type": "gpt2"}, r"missing: transformer\."),
    "another width": ("llama", None, {"hidden_size": 64}, r"shape \[300, 32\] instead of"),
    "fewer tokens": ("llama", None, {"vocab_size": 200}, r"\[300, 32\] instead of \[200, 32\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_ITS_WEIGHTS)
def test_weights_that_are_not_those_of_the_config_are_refused_by_name(case, tmp_path):
    architecture, edit, config, expected = NOT_ITS_WEIGHTS[case]
    model(tmp_path, architecture, edit, **config)
    with pytest.raises(InputError, match=rf"model\.safetensors: its weights are not.*{expected}"):
        load(tmp_path)


def bare(tensors: Tensors) -> Tensors:
    return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}


WHOLE: dict[str, tuple[str, Edit | None, dict[str, Any]]] = {
    "tied head": ("llama", without("lm_head"), {"tie_word_embeddings": True}),
    "a value head beside it": ("llama", lambda t: {**t, "v_head.weight": torch.zeros(1, 32)}, {}),
    "buffers of old releases": (
        "llama",
        lambda t: {**t, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)},
        {},
    ),
    "the decoder's names alone": ("gpt2", bare, {}),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_whole_model_is_loaded_whatever_stands_beside_it(case, tmp_path):
    architecture, edit, config = WHOLE[case]
    load(model(tmp_path, architecture, edit, **config))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            float("nan"),
            r"tensor \S*layers\.1\.mlp\.up_proj\S* holds values that are not",
        ),
        (3e38, "its hidden states are not finite"),
    ],
)
def test_weights_that_are_not_finite_or_overflow_are_refused(value, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        load(model(tmp_path, edit=spoiled(value)))


def test_an_adapters_folder_is_not_a_model(tmp_path):
    model(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    with pytest.raises(InputError, match=r"adapter_config\.json: an adapter is not a model"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json", "config.json"])
def test_a_damaged_config_is_refused_where_transformers_reads_it_as_absent(name, tmp_path):
    model(tmp_path)
    path = tmp_path / name
    whole = path.read_text()
    for content, expected in ((whole[:-3], "cannot be read as JSON"), ("[1]", "a JSON object")):
        path.write_text(content)
        with pytest.raises(InputError, match=rf"{name}: .*{expected}"):
            load_tokenizer(BaseSettings(model=str(tmp_path)))
    path.unlink()
    check_configs("model x", str(tmp_path))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_attention_heads": 0}, r"its config\.json cannot be read"),
        ({"rms_norm_eps": "small"}, r"its config\.json cannot be read"),
        ({"model_type": "nothing"}, r"its config\.json cannot be read"),
        ({"hidden_act": "none of these"}, "cannot be loaded"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "cannot be loaded"),
        ({"model_type": "t5"}, "cannot be loaded"),
    ],
)
def test_odd_values_of_a_config_end_in_one_line(config, expected, tmp_path):
    with pytest.raises(InputError, match=rf"^model \S+: {expected}: ") as fault:
        load(model(tmp_path, **config))
    assert "\n" not in str(fault.value)
    assert len(str(fault.value)) < 500


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"{}", None])
def test_damaged_weights_end_in_one_line(content, tmp_path):
    path = model(tmp_path) / WEIGHTS
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(InputError, match=r"^model \S+: cannot be loaded: "):
        load(tmp_path)


def test_a_broken_tokenizer_ends_in_one_line(tmp_path):
    path = model(tmp_path) / "tokenizer.json"
    table = json.loads(path.read_text())
    # the tokenizers library panics, which is no Exception
    table["post_processor"]["single"][0]["SpecialToken"]["id"] = "unknown"
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"^model \S+: no usable tokenizer: "):
        load_tokenizer(BaseSettings(model=str(tmp_path)))


def test_the_boundary_names_the_file_and_keeps_what_is_not_the_files_fault():
    with (
        pytest.raises(RefusedDialogueError, match=r"^x\.json: damaged: KeyError: 'key'$"),
        foreign("x.json", "damaged", RefusedDialogueError),
    ):
        raise KeyError("key")
    for fault in (MemoryError(), KeyboardInterrupt(), InputError("of its own")):
        with pytest.raises(type(fault)) as kept, foreign("x.json", "damaged"):
            raise fault
        assert kept.value is fault
    with pytest.raises(InputError) as long, foreign("x.json", "damaged"):
        raise ValueError("line\n" * 1000)
    assert len(str(long.value)) < 400


def test_finite_values_are_those_of_every_floating_tensor():
    check_finite_tensors("x", {"a": torch.ones(2), "b": torch.tensor([1, 2])})
    with pytest.raises(InputError, match="x: tensor b holds values that are not finite"):
        check_finite_tensors("x", {"a": torch.ones(2), "b": torch.tensor([1.0, float("inf")])})

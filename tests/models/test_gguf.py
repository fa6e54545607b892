"""GGUF files converted: the same model, the same tokens, or an error that says why not."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ethosteer.errors import InputError
from ethosteer.models import gguf as conversion
from ethosteer.models.gguf import convert, read_header
from ethosteer.progress import Terminal
from ethosteer.settings import ModelShape
from tests.models import gguf_files

QUIET = Terminal(quiet=True)
TEXTS = ("In 1984 there were 20 of them.", "  two  spaces\n\nand more", "naïve <|eos|> text")

Q8_0 = gguf.GGMLQuantizationType.Q8_0


@pytest.fixture(scope="module")
def converted(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert(gguf_files.write(folder / "tiny.gguf", tiny_base), folder / "model", QUIET)
    return folder / "model"


def test_an_unquantised_file_gives_the_same_model(converted: Path, tiny_base: Path) -> None:
    tokens = torch.arange(3, 43).reshape(2, 20)
    expected = AutoModelForCausalLM.from_pretrained(tiny_base)(tokens).logits
    model = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    torch.testing.assert_close(model(tokens).logits, expected, rtol=0, atol=0)
    assert {tensor.dtype for tensor in load_file(converted / "model.safetensors").values()} == {
        torch.float32
    }


def test_the_tokenizer_is_the_same_and_keeps_its_template(converted: Path, tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted)
    original = AutoTokenizer.from_pretrained(tiny_base)
    for text in TEXTS:
        assert tokenizer(text).input_ids == original(text).input_ids
    assert tokenizer.chat_template == gguf_files.TEMPLATE
    assert tokenizer.model_max_length == 256


def test_all_tokens_that_end_an_answer_are_in_the_generation_config(converted: Path) -> None:
    stored = json.loads((converted / "generation_config.json").read_text())
    assert (stored["bos_token_id"], stored["eos_token_id"], stored["pad_token_id"]) == (
        0,
        [1, 2],
        2,
    )
    assert "quantization_config" not in json.loads((converted / "config.json").read_text())


def test_quantised_weights_are_dequantised_to_bfloat16(tiny_base: Path, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "tiny.gguf", tiny_base, quantisation=Q8_0)
    convert(path, tmp_path / "model", QUIET)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    weight = load_file(tiny_base / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    # Q8_0 by hand: blocks of 32, each with its largest magnitude over 127 as float16
    blocks = weight.numpy().reshape(-1, 32)
    scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype(np.float32)
    codes = np.round(blocks / scale)
    expected = (codes * scale.astype(np.float16).astype(np.float32)).reshape(weight.shape)
    assert stored["model.layers.1.mlp.up_proj.weight"].dtype == torch.bfloat16
    torch.testing.assert_close(
        stored["model.layers.1.mlp.up_proj.weight"],
        torch.from_numpy(expected).bfloat16(),
        rtol=2**-7,  # one step of bfloat16, where float16 rounds a half the other way
        atol=0,
    )


def test_numbers_are_split_by_digit_where_the_file_says_so(tiny_base: Path, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "tiny.gguf", tiny_base, pre="smollm")
    convert(path, tmp_path / "model", QUIET)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.tokenize("In 1984 there") == ["In", "Ġ", "1", "9", "8", "4", "Ġthere"]


def test_words_that_are_tokens_are_taken_whole_where_the_vocabulary_is_llama_3s(
    tiny_base: Path, tmp_path: Path
) -> None:
    path = gguf_files.write(tmp_path / "tiny.gguf", tiny_base, pre="llama-bpe")
    convert(path, tmp_path / "model", QUIET)
    assert json.loads((tmp_path / "model" / "tokenizer.json").read_text())["model"]["ignore_merges"]


def test_the_header_gives_the_shape_without_torch(tiny_base: Path, tmp_path: Path) -> None:
    header = read_header(gguf_files.write(tmp_path / "tiny.gguf", tiny_base))
    assert header.shape == ModelShape(
        hidden=32, layers=2, intermediate=64, vocabulary=4096, heads=2, key_value_heads=2
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "plamo"}, "transformers cannot read plamo models from GGUF"),
        ({"pre": "other"}, r"tokenizer\.ggml\.pre is other"),
        ({"pre": None}, r"tokenizer\.ggml\.pre is None"),
        ({"metadata": {"llama.rope.scaling.type": "yarn"}}, "rotary embedding is scaled"),
        ({"left_out": "blk.1.ffn_up.weight"}, r"missing, first model\.layers\.1\.mlp\.up_proj"),
    ],
)
def test_what_cannot_be_read_exactly_is_refused(
    changes: dict[str, str], message: str, tiny_base: Path, tmp_path: Path
) -> None:
    path = gguf_files.write(tmp_path / "tiny.gguf", tiny_base, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message) as fault:
        convert(path, tmp_path / "model", QUIET)
    assert str(path) in str(fault.value)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04 a zip file, say"])
def test_a_file_of_another_format_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a GGUF file"):
        read_header(path)


def test_without_the_package_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'ethosteer\[gguf\]'"):
        read_header(tmp_path / "x.gguf")

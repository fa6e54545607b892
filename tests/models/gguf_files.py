"""Small GGUF files, written as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import LlamaForCausalLM

TEMPLATE = "{% for message in messages %}<|bos|>{{ message['content'] }}<|eos|>\n{% endfor %}"

BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def write(
    path: Path,
    model_folder: Path,
    *,
    architecture: str = "llama",
    pre: str | None = "gpt-2",
    quantisation: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    left_out: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a Llama, and the byte-level tokenizer beside it, as one GGUF file."""
    model = LlamaForCausalLM.from_pretrained(model_folder)
    config: Any = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    _add_tokenizer(writer, model_folder, pre)
    for key, value in (metadata or {}).items():
        writer.add_string(key, value)
    for name, weight in model.state_dict().items():
        array = weight.float().numpy()
        if "q_proj" in name or "k_proj" in name:
            array = _interleave(array, config.num_attention_heads)
        name_in_file = _rename(name)
        if name_in_file == left_out:
            continue
        if array.ndim == 1 or quantisation is gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name_in_file, array)
        else:
            packed = gguf.quantize(array, quantisation)
            writer.add_tensor(name_in_file, packed, raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _interleave(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Reorder a head's rows from halves, as transformers rotates them, to llama.cpp's pairs."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def _rename(name: str) -> str:
    if name in OUTSIDE:
        return OUTSIDE[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{BLOCK[rest.removesuffix('.weight')]}.weight"


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, pre: str | None) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(special["<|bos|>"])
    writer.add_eos_token_id(special["<|eos|>"])
    writer.add_eot_token_id(special["<|pad|>"])
    writer.add_pad_token_id(special["<|pad|>"])
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)

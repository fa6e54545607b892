"""The formula of activations gives the bytes that autograd saves for the backward pass."""

from __future__ import annotations

import weakref
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from ethosteer.models.base import SharedBase, pad_right
from ethosteer.models.fast import LONGEST
from ethosteer.models.fast.activations import activation_bytes, score_bytes
from ethosteer.models.fast.packing import pack_rows
from ethosteer.models.geometry import MODULES
from ethosteer.models.gradient_checkpointing import checkpoint_gradients
from ethosteer.models.loading import share
from ethosteer.models.lora_bank import LoraBank
from ethosteer.settings import LoraSettings, ModelShape
from tests import tiny

QUERY_AND_VALUE = ("q_proj", "v_proj")


def random_base(dtype: torch.dtype, layers: int = 3, hidden: int = 48) -> SharedBase:
    """Return a Llama of three layers with grouped queries and an MLP that is not 4 hidden wide."""
    torch.manual_seed(0)
    tokenizer = tiny.make_tokenizer("llama")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=80,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    model = LlamaForCausalLM(config).to(dtype)  # type: ignore[arg-type]  # misread by the stubs
    return share(model, tokenizer)


def saved_bytes(base: SharedBase, bank: LoraBank, rows: int, length: int) -> int:
    """Return the bytes of all storages that a pass over equal rows saves, but the parameters'."""
    storages: dict[int, Tensor] = {}

    def pack(saved: Tensor) -> Tensor:
        storages.setdefault(saved.untyped_storage().data_ptr(), saved)
        return saved

    tokens, lengths = pad_right([[(7 * i + 3) % 200 for i in range(length)]] * rows, base.device)
    packed, _ = pack_rows(tokens, lengths, dropout=1 if bank.settings.dropout else None)
    with bank.applied([0]), saved_tensors_hooks(pack, lambda saved: saved):
        hidden = base.hidden_packed(packed)
    kept = {key: saved.untyped_storage().nbytes() for key, saved in storages.items()}
    assert hidden.requires_grad
    for parameter in (*base.model.parameters(), *bank.parameters()):
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(kept.values())


def bytes_of_a_token(base: SharedBase, lora: LoraSettings, length: int = 40) -> float:
    """Measure what one more row of a pass saves, for each of its tokens."""
    bank = LoraBank(base.layers, 1, lora, seed=0)
    few, many = (saved_bytes(base, bank, rows, length) for rows in (2, 5))
    return (many - few) / (3 * length)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(
    ("targets", "r"),
    [
        (QUERY_AND_VALUE, 8),
        ("all-linear", 8),
        ("all-linear", 64),
        (("o_proj", "down_proj"), 4),
        (("gate_proj", "up_proj"), 4),
        (("model.layers.1.self_attn.k_proj", "layers.2.mlp.up_proj"), 4),
    ],
)
def test_a_token_keeps_what_the_formula_says(
    dtype: torch.dtype, dropout: float, targets: Literal["all-linear"] | tuple[str, ...], r: int
) -> None:
    base = random_base(dtype)
    lora = LoraSettings(r=r, dropout=dropout, targets=targets)
    width = dtype.itemsize
    expected = activation_bytes(
        base.shape, lora, width, score_bytes(base.shape, width, 40, on_gpu=False)
    )
    assert bytes_of_a_token(base, lora) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_of_queries_and_keys_keep_their_inputs(dtype: torch.dtype) -> None:
    tokenizer = tiny.make_tokenizer("llama")
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config).to(dtype)  # type: ignore[arg-type]  # misread by the stubs
    base = share(model, tokenizer)
    assert base.shape.head_norms and base.shape.query_width == 96
    lora, width = LoraSettings(r=4), dtype.itemsize
    expected = activation_bytes(
        base.shape, lora, width, score_bytes(base.shape, width, 40, on_gpu=False)
    )
    assert bytes_of_a_token(base, lora) == pytest.approx(expected, rel=0.02)


def test_a_long_row_keeps_no_scores() -> None:
    length = LONGEST + 88
    base = random_base(torch.float32, layers=1)
    lora = LoraSettings(r=4, targets=QUERY_AND_VALUE)
    scores = score_bytes(base.shape, 4, length, on_gpu=False)
    assert scores == score_bytes(base.shape, 4, length, on_gpu=True) == 4 * 6
    expected = activation_bytes(base.shape, lora, 4, scores)
    assert bytes_of_a_token(base, lora, length) == pytest.approx(expected, rel=0.02)


def test_a_row_of_several_blocks_of_queries_keeps_no_scores_of_later_keys() -> None:
    base = random_base(torch.bfloat16, layers=1)
    lora = LoraSettings(r=4, targets=QUERY_AND_VALUE)
    # 400 tokens are blocks of 192, 192 and 16 queries, with 192, 384 and 400 keys
    scores = 2 * 6 * (192 * 192 + 192 * 384 + 16 * 400) / 400
    assert score_bytes(base.shape, 2, 400, on_gpu=False) == pytest.approx(scores)
    expected = activation_bytes(base.shape, lora, 2, scores)
    assert bytes_of_a_token(base, lora, 400) == pytest.approx(expected, rel=0.02)


class Allocated(TorchDispatchMode):
    """Counts the bytes of storages that operations make and that are still there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: dict[int, int] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self.live:
                    self.live[key] = storage.nbytes()
                    weakref.finalize(storage, self.live.pop, key)
        return made


def test_with_checkpointing_a_layer_keeps_its_input() -> None:
    base = random_base(torch.float32, hidden=96)
    checkpoint_gradients(base.model)
    lora = LoraSettings(r=4, dropout=0.1)
    bank = LoraBank(base.layers, 1, lora, seed=0)

    def live(rows: int) -> int:
        tokens, lengths = pad_right([list(range(3, 43))] * rows, base.device)
        packed, _ = pack_rows(tokens, lengths, dropout=1)
        with bank.applied([0]), Allocated() as allocated:
            hidden = base.hidden_packed(packed)
        assert hidden.requires_grad
        return sum(allocated.live.values())

    layer = 4 * 96
    shared = 4 * 96 + 2 * 4 * base.shape.head_width
    output = 4 * 96
    expected = 3 * layer + shared + output
    assert (live(5) - live(2)) / 120 == pytest.approx(expected, rel=0.1)
    whole, scores = activation_bytes(base.shape, lora, 4), 100.0
    kept = activation_bytes(base.shape, lora, 4, checkpointing=True)
    assert 3 * layer + shared < kept < whole
    deeper = base.shape.model_copy(update={"layers": 4})
    assert activation_bytes(deeper, lora, 4, checkpointing=True) == kept + layer
    assert activation_bytes(base.shape, lora, 4, scores, checkpointing=True) == kept + scores


def test_activations_by_hand() -> None:
    shape = ModelShape(
        hidden=10, layers=2, intermediate=30, vocabulary=50, heads=2, key_value_heads=1, head_size=4
    )
    lora = LoraSettings(r=2, dropout=0.1, targets=QUERY_AND_VALUE)
    # Above the first layer's adapters, in bf16: a norm's input and scale in fp32; queries and
    # outputs of 8, keys and values of 4; three tensors of the MLP.
    layer = 4 * 11 + 2 * (8 + 8 + 4 + 4) + 3 * 2 * 30
    # two inputs of adapters with their products of rank 2, and the last norm, cosines and sines
    adapters, shared = 2 * (4 * 10 + 4 * 2), 4 * 10 + 2 * 2 * 4
    first, second = layer + adapters, layer + 4 * 11 + adapters + 2 * 10
    assert activation_bytes(shape, lora, 2) == first + second + shared
    checkpointed = activation_bytes(shape, lora, 2, checkpointing=True)
    assert checkpointed == 2 * 2 * 10 + second + shared
    nothing = lora.model_copy(update={"targets": ("layers.2.mlp.up_proj",)})
    assert activation_bytes(shape, nothing, 2) == 0.0
    assert set(MODULES) > set(QUERY_AND_VALUE)

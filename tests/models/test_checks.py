"""What is tried of a model at load decides how it runs, or that it does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from ethosteer.errors import InputError
from ethosteer.models import cache, checks
from ethosteer.models.base import SharedBase
from ethosteer.models.checks import (
    check_gradients,
    check_sampling,
    check_vocabulary,
    layers_without_gradient,
)
from ethosteer.models.loading import linear_layers, share
from tests import tiny

LEFT_OUT = object()
"""Stands for a setting that an architecture does not have, or derives from others."""


def stock(kind: str, **changes: object) -> SharedBase:
    """Share a small model of another architecture, with random weights."""
    usual: dict[str, object] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": tiny.MAX_LENGTH,
        "pad_token_id": 0,
    }
    settings = {key: value for key, value in {**usual, **changes}.items() if value is not LEFT_OUT}
    config = AutoConfig.for_model(kind, **settings)
    model = AutoModelForCausalLM.from_config(config)
    tiny.randomise(model, seed=5)
    return share(model, tiny.make_tokenizer("llama"))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gemma2", {"final_logit_softcapping": 3.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 4.0}),
        ("mistral", {"sliding_window": 8}),
    ],
)
def test_logits_are_the_models_own_where_it_scales_or_caps_them(kind, changes):
    base = stock(kind, **changes)
    tokens = torch.tensor(tiny.ragged(3, 12, 12))
    with torch.no_grad():
        tiny.close(base.logits(base.hidden(tokens)), base.model(tokens).logits)
    # Layers that read only the latest tokens take no mask of ours.
    assert base.runs_packed == (kind not in {"gemma2", "mistral"})


def test_a_model_whose_logits_are_made_another_way_is_refused(monkeypatch):
    model = AutoModelForCausalLM.from_config(tiny.config("llama", tiny.make_tokenizer("llama")))
    plain = model.forward

    def shifted(*args, **kwargs):
        out = plain(*args, **kwargs)
        out.logits = out.logits.tanh()
        return out

    monkeypatch.setattr(model, "forward", shifted)
    with pytest.raises(InputError, match="how llama models make their logits"):
        share(model, tiny.make_tokenizer("llama"))


def test_an_architecture_that_keeps_its_own_positions_does_not_run_packed():
    config = AutoConfig.for_model("bloom", vocab_size=300, hidden_size=32, n_layer=2, n_head=4)
    model = AutoModelForCausalLM.from_config(config)
    tiny.randomise(model, seed=1)
    assert not share(model, tiny.make_tokenizer("llama")).runs_packed
    for name in tiny.ARCHITECTURES:
        other = AutoModelForCausalLM.from_config(tiny.config(name, tiny.make_tokenizer(name)))
        tiny.randomise(other, seed=2)
        assert share(other, tiny.make_tokenizer(name)).runs_packed


SAMPLED: dict[str, dict[str, object]] = {
    "gpt2": {"intermediate_size": LEFT_OUT, "num_key_value_heads": LEFT_OUT, "head_dim": LEFT_OUT},
    "opt": {"intermediate_size": LEFT_OUT, "ffn_dim": 48, "word_embed_proj_dim": 16},
    "gpt_neox": {"num_key_value_heads": LEFT_OUT, "head_dim": LEFT_OUT},
    "mistral": {"sliding_window": 5},
    "qwen2": {"head_dim": LEFT_OUT},
    "gemma": {},
    "gemma2": {"sliding_window": 5},
    "bloom": {"intermediate_size": LEFT_OUT},
}
"""They differ in positions, caches, windows, and in the width of the last hidden state."""


@pytest.mark.parametrize("kind", SAMPLED)
def test_answers_are_sampled_as_rows_are_scored(kind):
    base = stock(kind, **SAMPLED[kind])
    check_sampling(base)
    assert base.hidden(torch.tensor([[5, 6, 7]])).shape[-1] == base.hidden_size


def test_a_base_whose_cache_loses_the_prompt_is_refused(llama, monkeypatch):
    class Forgetful(cache.PreallocatedLayer):
        def update(self, key_states, value_states, *rest, **more):
            keys, values = super().update(key_states, value_states, *rest, **more)
            return keys * 0, values

    monkeypatch.setattr(cache, "PreallocatedLayer", Forgetful)
    with pytest.raises(InputError, match=r"cannot sample from llama models .* others with the cac"):
        check_sampling(llama)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (RuntimeError("CUDA error: assert"), r"with its cache; .*: RuntimeError: CUDA error"),
        (NotImplementedError("no kernel"), r"with its cache; .*: NotImplementedError: no kernel"),
        (RuntimeError("[/gloo/pair.cc:537] Connection closed"), "^another process has ended"),
    ],
)
def test_why_a_base_cannot_be_sampled_from_is_told(llama, monkeypatch, fault, said):
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(checks, "generate", fail)
    with pytest.raises(InputError, match=said):
        check_sampling(llama)


def test_too_little_memory_is_no_fault_of_the_bases_cache(llama, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(checks, "generate", fail)
    with pytest.raises(torch.OutOfMemoryError):
        check_sampling(llama)


def test_a_model_that_reads_what_follows_is_refused():
    config = AutoConfig.for_model(
        "bert",
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    model = AutoModelForCausalLM.from_config(config)
    tiny.randomise(model, seed=1)
    with pytest.raises(InputError, match=r"no causal language model \(bert\)"):
        share(model, tiny.make_tokenizer("llama"))


# --- tokens and embeddings


def embedded(rows: int) -> torch.nn.Embedding:
    return torch.nn.Embedding(rows, 4)


def test_embeddings_have_a_row_for_every_token():
    tokenizer = tiny.make_tokenizer("llama")
    tokens = len(tokenizer)
    for rows in (tokens, tokens + 64):
        check_vocabulary("model x", tokenizer, embedded(rows), {tokens - 1})
    last = tokenizer.convert_ids_to_tokens(tokens - 1)
    with pytest.raises(InputError, match=rf"token {last!r} has id {tokens - 1}, but"):
        check_vocabulary("model x", tokenizer, embedded(tokens - 1), set())
    with pytest.raises(InputError, match=f"'stop token' has id {tokens + 5}, but"):
        check_vocabulary("model x", tokenizer, embedded(tokens), {tokens + 5})
    with pytest.raises(InputError, match=f"its tokenizer has {tokens} tokens"):
        check_vocabulary("model x", tokenizer, embedded(2 * tokens + 1), set())


def test_a_special_token_that_no_text_needs_may_lie_beyond_the_embeddings():
    tokenizer = tiny.make_tokenizer("llama")
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    check_vocabulary("model x", tokenizer, embedded(rows), set())
    tokenizer.eos_token = "<image>"
    with pytest.raises(InputError, match=f"token '<image>' has id {rows}, but"):
        check_vocabulary("model x", tokenizer, embedded(rows), set())
    tokenizer = tiny.make_tokenizer("llama")
    tokenizer.add_tokens(["ordinary"])
    with pytest.raises(InputError, match="token 'ordinary' has id"):
        check_vocabulary("model x", tokenizer, embedded(rows), set())


# --- gradients


def llama_model() -> Any:
    model = AutoModelForCausalLM.from_config(tiny.config("llama", tiny.make_tokenizer("llama")))
    tiny.randomise(model, seed=4)
    return model


class Detached(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.detach())


class WrongWay(nn.Linear):
    """Passes on the gradient of half of its weights."""

    def forward(self, input: Tensor) -> Tensor:
        product = functional.linear(input, torch.cat([self.weight[:8], 0 * self.weight[8:]]))
        return product + (super().forward(input) - product).detach()


@pytest.mark.parametrize("kind", [Detached, WrongWay])
@pytest.mark.parametrize("name", ["layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"])
def test_a_layer_that_does_not_pass_its_gradient_on_is_refused(kind, name):
    model = llama_model()
    layer = model.model.get_submodule(name)
    broken = kind(layer.in_features, layer.out_features, bias=False)
    broken.weight = layer.weight
    model.model.set_submodule(name, broken)
    with pytest.raises(InputError, match=rf"layer model\.{name} \({kind.__name__}\) passes on no"):
        share(model, tiny.make_tokenizer("llama"))


@pytest.mark.parametrize(("part", "first"), [("self_attn", "q_proj"), ("mlp", "gate_proj")])
def test_a_model_that_cuts_the_gradient_between_layers_is_refused(part, first, monkeypatch):
    model = llama_model()
    module = getattr(model.model.layers[1], part)
    monkeypatch.setattr(module, "forward", torch.no_grad()(module.forward))
    with pytest.raises(InputError, match=rf"layer model\.layers\.1\.{part}\.{first} changes"):
        share(model, tiny.make_tokenizer("llama"))


def test_a_model_without_a_linear_layer_is_refused():
    class Packed(nn.Module):  # as a quantiser's layers that are no nn.Linear
        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.weight = layer.weight

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, self.weight)

    model = llama_model()
    for name, layer in linear_layers(model):
        model.set_submodule(name, Packed(layer))
    with pytest.raises(InputError, match=r"no linear layer .* could carry an adapter"):
        share(model, tiny.make_tokenizer("llama"))


def test_layers_that_never_run_need_no_gradient():
    model = llama_model()
    model.model.layers[1].expert = nn.Linear(32, 32)
    base = share(model, tiny.make_tokenizer("llama"))
    assert "model.layers.1.expert" in base.layers
    assert layers_without_gradient(base) == []


def test_the_probe_leaves_a_base_as_it_was(llama):
    tokens = torch.tensor(tiny.ragged(2, 7, 7))
    before = llama.hidden(tokens)
    check_gradients(llama)
    assert torch.equal(llama.hidden(tokens), before)
    assert all(layer.adapter is None for layer in llama.layers.values())
    assert all(p.grad is None for p in llama.model.parameters())

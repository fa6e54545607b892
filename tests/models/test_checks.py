"""What is tried of a model at load decides how it runs, or that it does not."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.loading import share
from tests import tiny


def stock(kind: str, **changes: object) -> SharedBase:
    """Share a small model of another architecture, with random weights."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=tiny.MAX_LENGTH,
        pad_token_id=0,
        **changes,
    )
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

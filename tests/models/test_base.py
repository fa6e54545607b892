from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ethosteer.models.base import pad_right
from ethosteer.models.fast.trees import pack, stack
from tests import tiny


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_the_shared_base_gives_the_logits_of_the_stock_model(name, tiny_models, tiny_bases):
    stock = AutoModelForCausalLM.from_pretrained(tiny_models[name])
    base = tiny_bases[name]
    tokens = torch.tensor(tiny.ragged(3, 20, 20))
    logits = base.logits(base.hidden(tokens))
    tiny.close(logits, stock(tokens).logits)
    assert logits.std() > 1, "tiny models must tell tokens apart, or no test means anything"
    assert base.hidden_size == 32
    assert base.max_length == tiny.MAX_LENGTH


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_row_does_not_depend_on_its_padding_or_its_batch(name, tiny_bases):
    base = tiny_bases[name]
    rows = tiny.ragged(6, 2, 25)
    tokens, lengths = pad_right(rows, base.device)
    hidden = base.hidden(tokens)
    assert lengths.tolist() == list(map(len, rows))
    for row, own in zip(rows, hidden, strict=True):
        tiny.close(own[: len(row)], base.hidden(torch.tensor([row]))[0])


def test_pad_right_by_hand():
    tokens, lengths = pad_right([[5, 6, 7], [8]], torch.device("cpu"))
    assert tokens[0].tolist() == [5, 6, 7]
    assert int(tokens[1, 0]) == 8
    assert lengths.tolist() == [3, 1]


@torch.no_grad()
def test_autocast_is_coarser_and_near(llama):
    coarse = replace(llama, autocast=True)
    assert llama.is_exact and not coarse.is_exact
    rows = [tuple(range(5, 40)), (*range(5, 20), *range(100, 130))]
    trees = pack(rows, 1e9, 100)
    assert len(trees) == 1 and not trees[0].is_chain, "a tree's mask goes through too"
    packed = stack(trees, llama.device)
    fine, rough = (base.logits(base.hidden_packed(packed)).float() for base in (llama, coarse))
    off = float((fine - rough).norm() / fine.norm())
    assert 1e-5 < off < 5e-2


@pytest.mark.parametrize("kind", ["dbrx", "gemma3n_text", "mpt", "nemotron_h", "xlm"])
def test_its_shape_is_known_whatever_an_architecture_calls_its_sizes(kind, llama):
    config = AutoConfig.for_model(kind)
    shape = replace(llama, model=SimpleNamespace(config=config)).shape
    assert shape.hidden == config.hidden_size
    assert shape.layers == config.num_hidden_layers
    assert shape.vocabulary == config.vocab_size
    assert shape.query_heads == config.num_attention_heads

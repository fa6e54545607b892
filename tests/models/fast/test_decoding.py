"""Shapes that stay fixed give the hidden states of a cache that grows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ethosteer.models.base import SharedBase
from ethosteer.models.fast.decoding import Rows
from ethosteer.models.lora_bank import LoraBank
from tests import tiny

PROMPTS = tiny.ragged(5, 2, 17)
TOKENS = 9


def read(base: SharedBase, arms: int, fix_at: int | None, select_at: int | None) -> list[Tensor]:
    """Return the last hidden states at every token, of which some are the same in all arms."""
    text = Rows(base, PROMPTS, arms, TOKENS)
    tokens = torch.tensor(tiny.ragged(5, TOKENS, TOKENS, seed=3)).repeat(arms, 1)
    states = []
    for column in range(TOKENS):
        states.append(text.read())
        text.append(tokens[:, column])
        if column == fix_at:
            text.fix()
        if column == select_at:
            kept = torch.tensor([1, 2, 4]).repeat(arms) + 5 * torch.arange(arms).repeat_interleave(
                3
            )
            text.select(kept)
            tokens = tokens[kept]
    return states


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@pytest.mark.parametrize("select_at", [None, 4])
@pytest.mark.parametrize("fix_at", [0, 3])
def test_fixed_shapes_change_no_hidden_state(name, select_at, fix_at, tiny_bases):
    base = tiny_bases[name]
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(name), seed=0))
    with bank.applied():
        growing = read(base, 2, None, select_at)
        fixed = read(base, 2, fix_at, select_at)
    for expected, found in zip(growing, fixed, strict=True):
        tiny.close(found, expected, 1e-4)


@torch.no_grad()
def test_what_a_cache_holds_beyond_its_rows_does_not_count(tiny_bases, monkeypatch):
    """Memory that was never written may hold nan, which no mask takes the weight from."""
    original: Any = torch.Tensor.new_empty

    def unwritten(self: Tensor, *size: int, **settings: object) -> Tensor:
        made: Tensor = original(self, *size, **settings)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch.Tensor, "new_empty", unwritten)
    states = read(tiny_bases["llama"], 1, 0, None)
    assert all(state.isfinite().all() for state in states)


@torch.no_grad()
def test_shapes_and_addresses_stay_once_fixed(tiny_bases):
    text = Rows(tiny_bases["llama"], PROMPTS, 1, TOKENS)

    def facts() -> list[tuple[int, torch.Size]]:
        layers: list[Any] = text.cache.layers
        tensors: list[Any] = [text.inputs, text.positions, text.mask, text.slot]
        tensors += [states for layer in layers for states in (layer.keys, layer.values)]
        return [(tensor.data_ptr(), tensor.shape) for tensor in tensors]

    text.read()
    text.append(torch.arange(5))
    text.fix()
    before = facts()
    for _ in range(3):
        text.read()
        text.append(torch.arange(5))
    assert facts() == before

"""Attention by matrix products gives what the definition gives, and the same gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ethosteer.models.base import SharedBase
from ethosteer.models.fast import LONGEST, attention
from ethosteer.models.fast.trees import LARGEST_TREE, pack, stack

ROWS, HEADS, GROUPS, LENGTH, SIZE, VALUE_SIZE = 2, 6, 3, 11, 8, 5
"""Values may have another width than keys, as in multi-head latent attention."""


def draw(dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """Return query, key and value, and the gradient of the output."""
    noise = torch.Generator().manual_seed(0)
    widths = ((HEADS, SIZE), (GROUPS, SIZE), (GROUPS, VALUE_SIZE))
    shapes = [(ROWS, heads, LENGTH, width) for heads, width in widths]
    states = [torch.randn(shape, generator=noise).to(dtype) for shape in shapes]
    return states, torch.randn(ROWS, LENGTH, HEADS, VALUE_SIZE, generator=noise).to(dtype)


def by_definition(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attend head by head in float64: softmax(Q K^T scale + mask) V (Vaswani et al. 2017)."""
    share = HEADS // GROUPS
    heads = [
        ((query[:, head] @ key[:, head // share].mT) * scale + mask).softmax(dim=-1)
        @ value[:, head // share]
        for head in range(HEADS)
    ]
    return torch.stack(heads, dim=2)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str
)
@pytest.mark.parametrize("branches", [False, True])
@pytest.mark.parametrize("block", [4, 64])
def test_values_and_gradients(
    dtype: torch.dtype,
    tolerance: float,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    branches: bool,
) -> None:
    """With blocks of 4, of 11 tokens the last 3 are a block by themselves."""
    monkeypatch.setattr(attention, "QUERY_BLOCK", block)
    mask = attention.causal_mask(LENGTH).clone()
    if branches:
        mask[7:, 4:7] = torch.finfo(dtype).min  # a tree: the last four do not see three before
    results = []
    for attend, number in ((attention.attend, dtype), (by_definition, torch.float64)):
        states, gradient = draw(dtype)
        states = [state.to(number).requires_grad_() for state in states]
        query, key, value = states
        out = attend(query, key, value, mask.to(number), 0.3)
        out.backward(gradient.to(number))
        results.append([out.detach(), *(state.grad for state in states)])
    for result, expected in zip(*results, strict=True):
        torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=3 * tolerance)


def test_scores_are_float32_under_autocast() -> None:
    """Scores around 300 would be rounded to multiples of 2 in bfloat16."""
    states, gradient = draw(torch.float32)
    exact = [state.double().requires_grad_() for state in states]
    states = [state.requires_grad_() for state in states]
    mask = attention.causal_mask(LENGTH)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention.attend(states[0], states[1], states[2], mask, 40.0)
    assert out.dtype == torch.float32
    out.backward(gradient)
    expected = by_definition(exact[0], exact[1], exact[2], mask.double(), 40.0)
    expected.backward(gradient.double())
    torch.testing.assert_close(out.double(), expected, rtol=1e-3, atol=1e-3)
    for state, by_hand in zip(states, exact, strict=True):
        assert state.grad is not None
        torch.testing.assert_close(state.grad.double(), by_hand.grad, rtol=1e-2, atol=1e-2)


def test_what_it_does_not_compute_is_left_to_torch() -> None:
    query = torch.zeros(1, 1, 4, 2)
    assert attention.takes(query, {"dropout": 0.0, "scaling": 0.5, "softcap": None})
    for settings in ({"dropout": 0.1}, {"softcap": 30.0}, {"s_aux": query}, {"position_bias": 1}):
        assert not attention.takes(query, settings)
    assert not attention.takes(torch.zeros(1, 1, LONGEST + 1, 2), {})


def test_a_base_has_the_states_of_torchs_attention(
    llama: SharedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Llama's two heads of a group, in a tree and in a row."""
    rows = [tuple(range(5, 35)), (*range(5, 15), *range(60, 75))]
    packed = stack([*pack(rows, float("inf"), LARGEST_TREE), *pack(rows[:1], None, 64)],
                   llama.device)  # fmt: skip
    assert any(packed.branches)
    with torch.no_grad():
        held = llama.hidden_packed(packed)
        monkeypatch.setattr(attention, "LONGEST", 0)
        torch.testing.assert_close(held, llama.hidden_packed(packed), rtol=1e-4, atol=1e-4)

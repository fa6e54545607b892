"""Rows and trees in one call of attention, by a plain stand-in for the GPU's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ethosteer.models.base import SharedBase, pad_right
from ethosteer.models.fast import varlen
from ethosteer.models.fast.branches import Branches
from ethosteer.models.fast.packing import Packed, pack_rows
from ethosteer.models.fast.trees import LARGEST_TREE, pack, stack
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import EncodedPair, response_log_likelihoods
from tests import tiny

STEM = tuple(range(5, 15))
ROWS = [(*STEM, *range(start, start + length)) for start, length in ((20, 9), (40, 3), (60, 6))]
ROWS += [(*ROWS[0], 90, 91), (*ROWS[0], 92), STEM[:4]]
"""They branch, a branch branches again, and one is the beginning of others."""


def by_definition(
    query: Tensor, key: Tensor, value: Tensor, query_starts: Tensor, key_starts: Tensor,
    longest_query: int, longest_key: int, *, scale: float, window_size: tuple[int, int],
    enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Attend by ``varlen_attn``'s definition: causal, aligned at the end of queries and keys."""
    assert window_size == (-1, 0) and enable_gqa == (query.shape[1] != key.shape[1])
    spans = [list(pairwise(starts.tolist())) for starts in (query_starts, key_starts)]
    assert longest_query == max(stop - start for start, stop in spans[0])
    assert longest_key == max(stop - start for start, stop in spans[1])
    assert spans[0][-1][1] == len(query) and spans[1][-1][1] == len(key) == len(value)
    repeats = query.shape[1] // key.shape[1]
    outputs = []
    for (start, stop), keys in zip(*spans, strict=True):
        seen = slice(*keys)
        k, v = (states[seen].repeat_interleave(repeats, dim=1) for states in (key, value))
        scores = torch.einsum("qhs,khs->hqk", query[start:stop], k) * scale
        later = torch.ones(scores.shape[1:], dtype=torch.bool)
        scores = scores.masked_fill(later.triu(1 + len(k) - (stop - start)), -torch.inf)
        outputs.append(torch.einsum("hqk,khs->qhs", scores.softmax(dim=-1), v))
    return torch.cat(outputs)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Attend by the stand-in; the tokens of each call."""
    sizes: list[int] = []

    def attend(query: Tensor, *rest: Tensor, **settings: object) -> Tensor:
        sizes.append(len(query))
        return by_definition(query, *rest, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(varlen, "takes", lambda *_: True)
    monkeypatch.setattr(varlen, "varlen_attn", attend, raising=False)
    return sizes


def states(base: SharedBase, make: Callable[[], Packed]) -> Tensor:
    with torch.no_grad():
        return base.hidden_packed(make())


def trees() -> Packed:
    packed = pack(ROWS, float("inf"), LARGEST_TREE)
    others = [(1, 2, 3), (7, 8), (7, 9, 9, 9)]
    apart = pack(others, None, LARGEST_TREE)
    again = pack([(*STEM, 80), (*STEM, 81)], float("inf"), LARGEST_TREE)
    return stack([*packed, *apart, *again], torch.device("cpu")).repeat(2)


@pytest.mark.parametrize("model", ["llama", "gpt2", "qwen2"])
def test_trees_attend_in_one_call_a_layer(
    model: str,
    tiny_bases: dict[str, SharedBase],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = tiny_bases[model]
    expected = states(base, trees)
    calls = request.getfixturevalue("calls")
    found = states(base, trees)
    tiny.close(found, expected)
    packed = trees()
    layers = base.config.num_hidden_layers
    assert calls == [packed.tokens.numel()] * layers
    monkeypatch.setattr(varlen, "LARGEST_REPETITION", 1)
    calls.clear()
    tiny.close(states(base, trees), expected)
    assert calls and sum(calls) < layers * packed.tokens.numel(), "trees go by themselves"


def test_rows_have_their_gradients_in_one_call_and_trees_by_their_masks(
    llama: SharedBase, request: pytest.FixtureRequest
) -> None:
    bank = tiny.fill(LoraBank(llama.layers, 1, tiny.lora(), seed=0))

    def gradient(packed: Packed) -> Tensor:
        bank.zero_grad()
        with bank.applied():
            llama.hidden_packed(packed).square().mean().backward()
        return torch.cat([p.grad.flatten() for p in bank.arm_parameters(0) if p.grad is not None])

    rows = pack_rows(*pad_right(tiny.ragged(9, 1, 24), llama.device))[0]
    pairs = stack(pack(ROWS, float("inf"), LARGEST_TREE), llama.device, by_mask=True)
    expected = [gradient(packed) for packed in (rows, pairs)]
    calls = request.getfixturevalue("calls")
    for packed, wanted in zip((rows, pairs), expected, strict=True):
        calls.clear()
        tiny.close(gradient(packed), wanted)
        assert bool(calls) == (packed is rows), "keys would be kept for each chain of a tree"


def test_pairs_attend_by_masks_for_policy_and_reference_alike(
    llama: SharedBase, calls: list[int]
) -> None:
    pairs = [EncodedPair([*STEM, 80, 81], [*STEM, 82], len(STEM), "a")]
    with torch.no_grad():
        response_log_likelihoods(llama, pairs)
    assert not calls, "an untrained policy would differ from its reference by rounding"


def test_a_tree_whose_keys_are_repeated_too_often_goes_by_itself() -> None:
    bush = Branches((101, *range(2, 102)))
    assert bush.repetition == pytest.approx((1 + 2 * 100) / 101)
    assert varlen.takes_branches(bush) and varlen.takes_branches(None)
    stem = 60
    deep = Branches((*[stem + 40] * stem, *range(stem + 1, stem + 41)))
    assert deep.repetition == pytest.approx((stem + 40 * (stem + 1)) / (stem + 40))
    assert not varlen.takes_branches(deep)

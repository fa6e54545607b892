"""Packed streams: every real token once, and every row as if it ran alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ethosteer.models.base import SharedBase, pad_right
from ethosteer.models.fast.branches import Branches
from ethosteer.models.fast.packing import (
    Packed,
    Run,
    pack_rows,
    packed_attention,
    repack,
    unpack,
)
from ethosteer.models.fast.trees import pack, stack
from ethosteer.models.lora_bank import LoraBank
from tests import tiny

CPU = torch.device("cpu")
ROWS = tiny.ragged(6, 1, 24, seed=4)
BLOCKS = [ROWS[:3], ROWS[3:]]

BLOCKS_OF_ROWS = st.integers(1, 4).flatmap(
    lambda rows: st.lists(
        st.lists(
            st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=rows, max_size=rows
        ),
        min_size=1,
        max_size=3,
    )
)
"""Blocks of as many rows each, of any lengths."""


def packed_rows(blocks: list[list[list[int]]]) -> tuple[Packed, Tensor]:
    tokens, lengths = pad_right([row for own in blocks for row in own], CPU)
    return pack_rows(tokens, lengths, len(blocks))


def test_two_blocks_by_hand():
    packed, places = packed_rows([[[5, 6, 7], [8]], [[1], [2, 3]]])
    assert packed.tokens.tolist() == [[5, 6, 7, 8], [1, 2, 3, 0]]
    assert packed.positions.tolist() == [[0, 1, 2, 0], [0, 0, 1, 0]]
    assert packed.lengths == ((3, 1), (1, 2))
    assert packed.branches == (None, None)
    assert places.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert packed.runs() == (Run(3, 1), Run(1, 2), Run(2, 1), Run(1, 1))
    tokens, real = unpack(packed, packed.tokens)
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0], [1, 0, 0], [2, 3, 0]]
    assert real.sum(dim=1).tolist() == [3, 1, 1, 2]


def test_neighbours_of_one_length_and_the_same_branches_run_together():
    packed, _ = packed_rows([[[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 4], [5]]])
    assert packed.runs() == (Run(2, 5), Run(1, 2))
    tree = Branches((3, 2, 3))
    trees = Packed(torch.zeros(1, 9), torch.zeros(1, 9), ((3, 3, 3),), (None, tree, tree))
    assert trees.runs() == (Run(3, 1), Run(3, 2, tree))
    twice = trees.repeat(2)
    assert twice.tokens.shape == twice.positions.shape == (2, 9)
    assert [run.count for run in twice.runs()] == [1, 2, 1, 2]


@given(BLOCKS_OF_ROWS)
def test_every_real_token_is_packed_once_in_order(blocks):
    packed, places = packed_rows(blocks)
    rows = [row for own in blocks for row in own]
    assert packed.tokens.flatten()[places].tolist() == [token for row in rows for token in row]
    assert packed.positions.flatten()[places].tolist() == [
        i for row in rows for i in range(len(row))
    ]
    assert places.tolist() == sorted(set(places.tolist()))
    totals = [sum(map(len, own)) for own in blocks]
    assert packed.tokens.shape == packed.positions.shape == (len(blocks), max(totals))
    for stream, positions, own in zip(packed.tokens, packed.positions, blocks, strict=True):
        flat = [token for row in own for token in row]
        assert stream.tolist() == flat + [0] * (max(totals) - len(flat)), "filled up at its end"
        assert not positions[len(flat) :].any()
    assert packed.lengths == tuple(tuple(map(len, own)) for own in blocks)


@given(BLOCKS_OF_ROWS)
def test_runs_cover_the_streams_end_to_end(blocks):
    packed, _ = packed_rows(blocks)
    width = packed.tokens.shape[1]
    expected: list[int] = []
    for own in blocks:
        fill = width - sum(map(len, own))
        expected += [*map(len, own), *([fill] if fill else [])]
    runs = packed.runs()
    assert [run.length for run in runs for _ in range(run.count)] == expected
    assert all(a.length != b.length for a, b in pairwise(runs))


@given(BLOCKS_OF_ROWS)
def test_unpacked_rows_are_the_rows_and_repacking_lays_them_back(blocks):
    packed, places = packed_rows(blocks)
    rows = [row for own in blocks for row in own]
    tokens, real = unpack(packed, packed.tokens)
    assert [own[mask].tolist() for own, mask in zip(tokens, real, strict=True)] == rows
    assert all(not own[~mask].any() for own, mask in zip(tokens, real, strict=True))
    hidden = torch.arange(1.0, tokens.numel() * 2 + 1).view(*tokens.shape, 2)
    laid = repack(hidden, real, packed).flatten(0, 1)
    assert torch.equal(laid[places], hidden[real])
    laid[places] = 0
    assert not laid.any(), "what fills a stream up stays empty"


def adapted(base: SharedBase, name: str, arms: int) -> LoraBank:
    return tiny.fill(LoraBank(base.layers, arms, tiny.lora(name), seed=0))


@torch.no_grad()
def alone(base: SharedBase, bank: LoraBank, arm: int, row: list[int]) -> Tensor:
    with bank.applied([arm]):
        return base.hidden(torch.tensor([row]))[0]


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_packed_row_reads_as_it_does_alone_whatever_its_neighbours(name, tiny_bases):
    base = tiny_bases[name]
    assert base.runs_packed
    bank = adapted(base, name, 1)
    expected = [alone(base, bank, 0, row) for row in ROWS]
    for order in (range(6), range(5, -1, -1), (2, 0, 2, 4), (3,), (1, 1, 1)):
        packed, places = packed_rows([[ROWS[i] for i in order]])
        with bank.applied():
            hidden = base.hidden_packed(packed)[0, places]
        for i, own in zip(order, hidden.split([len(ROWS[i]) for i in order]), strict=True):
            tiny.close(own, expected[i])


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_arms_side_by_side_read_rows_of_their_own_in_streams_of_unequal_length(name, tiny_bases):
    base = tiny_bases[name]
    bank = adapted(base, name, 2)
    assert sum(map(len, BLOCKS[0])) != sum(map(len, BLOCKS[1]))
    packed, places = packed_rows(BLOCKS)
    with bank.applied():
        hidden = base.hidden_packed(packed).flatten(0, 1)[places]
    pieces = hidden.split([len(row) for row in ROWS])
    for index, (row, own) in enumerate(zip(ROWS, pieces, strict=True)):
        arm = index // 3
        tiny.close(own, alone(base, bank, arm, row))
        assert not torch.allclose(own, alone(base, bank, 1 - arm, row), atol=1e-2)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_gradients_of_a_packed_pass_are_those_of_padded_rows(name, tiny_bases):
    base = tiny_bases[name]
    weight = torch.randn(base.hidden_size, generator=torch.Generator().manual_seed(0))

    def gradients(*, packed: bool) -> list[Tensor]:
        bank = adapted(base, name, 2)
        stream, places = packed_rows(BLOCKS)
        tokens, lengths = pad_right(ROWS, CPU)
        real = torch.arange(tokens.shape[1]) < lengths.unsqueeze(1)
        with bank.applied():
            hidden = (
                base.hidden_packed(stream).flatten(0, 1)[places]
                if packed
                else base.hidden(tokens)[real]
            )
        (hidden @ weight).tanh().sum().backward()
        return [p.grad for p in bank.parameters() if p.grad is not None]

    found, expected = gradients(packed=True), gradients(packed=False)
    assert len(found) == len(expected) > 0
    for own, other in zip(found, expected, strict=True):
        assert other.norm() > 1e-3
        assert (own - other).norm() < 1e-5 * other.norm()


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_base_that_does_not_run_packed_gives_the_same(name, tiny_bases):
    base = tiny_bases[name]
    plain = replace(base, runs_packed=False)
    bank = adapted(base, name, 2)
    stream, places = packed_rows(BLOCKS)
    with bank.applied():
        expected = base.hidden_packed(stream)
        found = plain.hidden_packed(stream)
    assert found.shape == expected.shape
    tiny.close(found.flatten(0, 1)[places], expected.flatten(0, 1)[places])
    rows = [(*ROWS[0], 9), (*ROWS[0], 8, 7)]
    assert plain.knee is None
    trees = stack(pack(rows, plain.knee, 100), CPU)
    assert trees.branches == (None, None), "without packing every row is a stream's row of its own"
    with bank.applied([1]):
        tiny.close(plain.hidden_packed(trees), base.hidden_packed(trees))


def test_a_fallback_pass_has_gradients_too(llama):
    base = replace(llama, runs_packed=False)
    bank = adapted(base, "llama", 1)
    packed, _ = packed_rows([ROWS])
    with bank.applied():
        base.hidden_packed(packed).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in bank.parameters())


def test_attention_is_put_back_even_after_a_fault(llama):
    config = llama.model.config
    before = config._attn_implementation
    with packed_attention(llama.model):
        assert config._attn_implementation != before
    assert config._attn_implementation == before
    with pytest.raises(ZeroDivisionError), packed_attention(llama.model):
        _ = 1 / 0
    assert config._attn_implementation == before

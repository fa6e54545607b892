"""Rows of different lengths in one stream without padding: only attention tells them apart.

A block's rows lie end to end, ``[blocks, n]``; every layer but attention reads the stream as it is,
and attention runs row by row (rows of equal length together). A row may also be a prefix tree (see
trees.py), with a mask of its own. The attention is registered with transformers, so any model that
takes its attention from there runs packed; whether one does is tried when it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ethosteer.models.dropout import token_hashes

ATTENTION = "ethosteer_packed"


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` rows of ``length`` tokens, one after another; ``mask [1, 1, length, length]``."""

    length: int
    count: int
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """Blocks of rows as streams of equal length (a shorter block is filled up at its end).

    tokens, positions: ``[blocks, n]``; lengths: each block's rows', in order. masks: what a token
    of a block's row may attend to (0, and the dtype's lowest number elsewhere), the same in every
    block; None for plain causal attention. prefixes ``[blocks, n]``: each token's hash for dropout
    (see dropout.py); None where dropout is off.
    """

    tokens: Tensor
    positions: Tensor
    lengths: tuple[tuple[int, ...], ...]
    masks: tuple[Tensor | None, ...]
    prefixes: Tensor | None = None

    def runs(self) -> tuple[Run, ...]:
        """Return the whole of all blocks, end to end, as runs of equal rows."""
        width = self.tokens.shape[1]
        rows: list[tuple[int, Tensor | None]] = []
        for own in self.lengths:
            fill = width - sum(own)
            rows += [*zip(own, self.masks, strict=True), *([(fill, None)] if fill else [])]
        alike = (list(group) for _, group in groupby(rows, key=lambda row: (row[0], id(row[1]))))
        return tuple(Run(length, len(group), mask) for group in alike for length, mask in group[:1])

    def repeat(self, times: int) -> Packed:
        """Return the same blocks ``times`` over: for arms that read the same."""
        return Packed(
            self.tokens.repeat(times, 1),
            self.positions.repeat(times, 1),
            self.lengths * times,
            self.masks,
        )


def pack_rows(
    tokens: Tensor, lengths: Tensor, blocks: int = 1, dropout: int | None = None
) -> tuple[Packed, Tensor]:
    """Pack right-padded rows, in equal blocks: ``tokens [blocks * R, T], lengths [blocks * R]``.

    ``dropout`` is the seed of dropout masks. Also returns, for every real token in row order, its
    position in the flattened streams.
    """
    device, width = tokens.device, tokens.shape[1]
    sizes = lengths.view(blocks, -1)
    totals = sizes.sum(dim=1)
    longest = int(totals.max())
    at = torch.arange(width, device=device).expand_as(tokens)
    real = at < lengths.unsqueeze(1)
    starts = sizes.cumsum(dim=1) - sizes + longest * torch.arange(blocks, device=device)[:, None]
    places = (starts.view(-1, 1) + at)[real]
    stream = torch.zeros(2, blocks * longest, dtype=torch.long, device=device)
    stream[:, places] = torch.stack([tokens[real], at[real]])
    own = tuple(map(tuple, sizes.tolist()))
    prefixes = None
    if dropout is not None:
        prefixes = torch.zeros_like(stream[0])
        prefixes[places] = token_hashes(tokens, at, dropout).cumsum(dim=1)[real]
        prefixes = prefixes.view(blocks, -1)
    packed = Packed(
        stream[0].view(blocks, -1), stream[1].view(blocks, -1), own, (None,) * len(own[0]), prefixes
    )
    return packed, places


def unpacked(packed: Packed, streams: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``streams [blocks, n]`` of plain rows as right-padded rows, and where they are real.

    ``[blocks * R, T]`` each; ``streams`` are ``packed.tokens`` or what else belongs to its tokens.
    """
    rows = [
        row
        for stream, lengths in zip(streams, packed.lengths, strict=True)
        for row in stream[: sum(lengths)].split(list(lengths))
    ]
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    sizes = torch.tensor([len(row) for row in rows], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < sizes.unsqueeze(1)


def repacked(hidden: Tensor, real: Tensor, packed: Packed) -> Tensor:
    """Lay hidden states ``[blocks * R, T, H]`` of ``unpacked`` rows into streams: ``[., n, H]``."""
    blocks, width = packed.tokens.shape
    out = hidden.new_zeros(blocks, width, hidden.shape[-1])
    filled = torch.tensor([sum(own) for own in packed.lengths], device=hidden.device)
    place = torch.arange(width, device=hidden.device) < filled.unsqueeze(1)
    out[place] = hidden[real]
    return out


@contextmanager
def packed_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let ``model`` run packed streams inside the block."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Sequence[Run],
    **settings: Any,  # noqa: ANN401 (transformers' own)
) -> tuple[Tensor, None]:
    """Attend within the rows of ``packing``: query, key, value ``[blocks, heads, n, size]``."""
    assert attention_mask is None, "a packed stream has its masks in its runs"
    sizes = [run.length * run.count for run in packing]
    parts = [
        # rows one after another: [blocks, heads, n, size] -> [blocks * n, heads, size]
        states.transpose(1, 2).reshape(-1, states.shape[1], states.shape[3]).split(sizes)
        for states in (query, key, value)
    ]
    outs = []
    for run, *states in zip(packing, *parts, strict=True):
        rows = (own.view(run.count, run.length, *own.shape[1:]).transpose(1, 2) for own in states)
        out, _ = sdpa_attention_forward(module, *rows, run.mask, **settings)  # type: ignore[call-arg]
        outs.append(out.reshape(run.count * run.length, *out.shape[2:]))
    blocks, _, width, _ = query.shape
    return torch.cat(outs).view(blocks, width, *outs[0].shape[1:]), None


AttentionInterface.register(ATTENTION, _attend)

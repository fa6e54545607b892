"""Rows of different lengths in one stream without padding, kept apart by attention alone.

The rows of a block lie end to end, ``[blocks, n]``. Every layer but attention reads the stream as
it is; attention runs row by row, rows of equal length together, on a GPU all rows in one call
(varlen.py). A row may also be a prefix tree (trees.py, branches.py). The attention is
registered with transformers, so any model that takes its attention from there runs packed;
checks.py tries whether a model does.
Off with ``SharedBase.runs_packed = False``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ethosteer.models.dropout import token_hashes
from ethosteer.models.fast import attention, varlen
from ethosteer.models.fast.branches import Branches

ATTENTION = "ethosteer_packed"


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` rows of ``length`` tokens, one after another; with ``branches`` they are trees."""

    length: int
    count: int
    branches: Branches | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """Blocks of rows as streams of equal length (a shorter block is filled up at its end).

    tokens, positions: ``[blocks, n]``; lengths: of each block's rows, in order. branches: of the
    rows that are trees, the same in every block; None for plain causal attention. prefixes
    ``[blocks, n]``: each token's hash for dropout (see dropout.py); None where dropout is off.
    """

    tokens: Tensor
    positions: Tensor
    lengths: tuple[tuple[int, ...], ...]
    branches: tuple[Branches | None, ...]
    prefixes: Tensor | None = None

    def runs(self) -> tuple[Run, ...]:
        """Return all blocks, end to end, as runs of equal rows; what fills a block is a row too."""
        width = self.tokens.shape[1]
        rows: list[tuple[int, Branches | None]] = []
        for lengths in self.lengths:
            rows += zip(lengths, self.branches, strict=True)
            if fill := width - sum(lengths):
                rows.append((fill, None))
        groups = (list(rows) for _, rows in groupby(rows, key=lambda row: (row[0], id(row[1]))))
        return tuple(Run(group[0][0], len(group), group[0][1]) for group in groups)

    def repeat(self, times: int) -> Packed:
        """Return the blocks ``times`` over, for arms that read the same, without dropout."""
        return Packed(
            self.tokens.repeat(times, 1),
            self.positions.repeat(times, 1),
            self.lengths * times,
            self.branches,
        )


def pack_rows(
    tokens: Tensor, lengths: Tensor, blocks: int = 1, dropout: int | None = None
) -> tuple[Packed, Tensor]:
    """Pack right-padded rows, in equal blocks: ``tokens [blocks * R, T], lengths [blocks * R]``.

    ``dropout`` is the seed of dropout masks. Also returns the index of every real token, in row
    order, in the flattened streams.
    """
    device = tokens.device
    sizes = lengths.view(blocks, -1)
    longest = int(sizes.sum(dim=1).max())
    positions = torch.arange(tokens.shape[1], device=device).expand_as(tokens)
    is_real = positions < lengths.unsqueeze(1)
    # a row starts where the rows before it in its block end
    starts = sizes.cumsum(dim=1) - sizes + longest * torch.arange(blocks, device=device)[:, None]
    indices = (starts.view(-1, 1) + positions)[is_real]

    def stream(values: Tensor) -> Tensor:
        """Lay ``values [blocks * R, T]`` out as the tokens are."""
        flat = torch.zeros(blocks * longest, dtype=torch.long, device=device)
        flat[indices] = values[is_real]
        return flat.view(blocks, longest)

    prefixes = None
    if dropout is not None:
        prefixes = stream(token_hashes(tokens, positions, dropout).cumsum(dim=1))
    row_lengths = tuple(map(tuple, sizes.tolist()))
    branches = (None,) * sizes.shape[1]
    return Packed(stream(tokens), stream(positions), row_lengths, branches, prefixes), indices


def unpack(packed: Packed, streams: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``streams [blocks, n]`` of plain rows as right-padded rows, and which are real.

    ``[blocks * R, T]`` each; ``streams`` are ``packed.tokens`` or another value of each token.
    """
    rows = [
        row
        for stream, lengths in zip(streams, packed.lengths, strict=True)
        for row in stream[: sum(lengths)].split(list(lengths))
    ]
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    sizes = torch.tensor([len(row) for row in rows], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < sizes.unsqueeze(1)


def repack(hidden: Tensor, is_real: Tensor, packed: Packed) -> Tensor:
    """Lay hidden states ``[blocks * R, T, H]`` of ``unpack``'s rows into streams: ``[., n, H]``."""
    blocks, width = packed.tokens.shape
    sizes = torch.tensor([sum(lengths) for lengths in packed.lengths], device=hidden.device)
    streams = hidden.new_zeros(blocks, width, hidden.shape[-1])
    streams[torch.arange(width, device=hidden.device) < sizes.unsqueeze(1)] = hidden[is_real]
    return streams


def packed_attention(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Return a context in which ``model`` runs packed streams."""
    return attention_as(model.config.get_text_config(), ATTENTION)


@contextmanager
def attention_as(config: PreTrainedConfig, implementation: str | None) -> Iterator[None]:
    """Let the model of ``config`` attend by another implementation inside the block."""
    before = config._attn_implementation
    config._attn_implementation = implementation
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
    assert attention_mask is None, "a packed stream has its branches in its runs"
    blocks, _, width, _ = query.shape
    takes = varlen.takes(query, key, settings)

    def call(run: Run) -> int | None:
        """Name the call in which a run attends: None for the one of many."""
        return None if takes and varlen.takes_branches(run.branches) else id(run)

    groups = [(number, tuple(runs)) for number, runs in groupby(packing, call)]
    sizes = [sum(run.length * run.count for run in runs) for _, runs in groups]
    chunks = [
        # rows one after another: [blocks, heads, n, size] -> [blocks * n, heads, size]
        states.transpose(1, 2).reshape(-1, states.shape[1], states.shape[3]).split(sizes)
        for states in (query, key, value)
    ]
    outputs = []
    for (number, runs), *chunk in zip(groups, *chunks, strict=True):
        if number is None:
            rows = tuple((run.length, run.branches) for run in runs for _ in range(run.count))
            queries, keys, values = chunk
            outputs.append(varlen.attend(queries, keys, values, rows, _scale(query, settings)))
        else:
            outputs.append(_attend_run(module, chunk, runs[0], settings))
    return torch.cat(outputs).view(blocks, width, *outputs[0].shape[1:]), None


def _attend_run(
    module: nn.Module, chunk: Sequence[Tensor], run: Run, settings: Mapping[str, Any]
) -> Tensor:
    """Attend within the equal rows of a run: query, key, value, and output ``[n, heads, size]``."""
    query, key, value = (
        states.view(run.count, run.length, *states.shape[1:]).transpose(1, 2) for states in chunk
    )
    mask = None if run.branches is None else run.branches.mask(query.device, query.dtype)
    if attention.takes(query, settings):
        causal = attention.causal_mask(run.length) if mask is None else mask[0, 0]
        out = attention.attend(query, key, value, causal, _scale(query, settings))
    else:
        out, _ = sdpa_attention_forward(module, query, key, value, mask, **settings)
    return out.reshape(run.count * run.length, *out.shape[2:])


def _scale(query: Tensor, settings: Mapping[str, Any]) -> float:
    """Return the factor of the scores."""
    return float(settings.get("scaling") or query.shape[-1] ** -0.5)


AttentionInterface.register(ATTENTION, _attend)

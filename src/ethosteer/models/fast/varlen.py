"""Attention of packed rows and trees on a GPU as one call, whatever their lengths (Dao 2023).

Off by ``takes`` returning False, with the same results but for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ethosteer.models.fast.branches import Branches

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch below 2.10
    PARAMETERS: frozenset[str] = frozenset()
else:
    PARAMETERS = frozenset(signature(varlen_attn).parameters)

AVAILABLE = "window_size" in PARAMETERS
GROUPS = "enable_gqa" in PARAMETERS
"""Whether key and value may have fewer heads than the queries."""

LARGEST_HEAD = 256
CAUSAL = (-1, 0)
"""The window: all earlier tokens and no later one."""
LARGEST_REPETITION = 4
"""Keys and values then take eight widths of the base, about what a layer's MLP takes."""


def takes(query: Tensor, key: Tensor, settings: Mapping[str, object]) -> bool:
    """Return whether ``attend`` computes what is asked for: ``settings`` are transformers' own.

    query, key: ``[blocks, heads, n, size]``.
    """
    return (
        AVAILABLE
        and (GROUPS or query.shape[1] == key.shape[1])
        and query.device.type == "cuda"
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= LARGEST_HEAD
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
        and not settings.get("dropout")
        and all(settings.get(name) is None for name in ("position_bias", "softcap", "s_aux"))
    )


def takes_branches(branches: Branches | None) -> bool:
    """Return whether a row, a tree where it has ``branches``, attends in the one call.

    A tree's keys are laid out for each chain of its nodes anew. With gradients they would all be
    kept, and repeated too often they would outgrow a layer's MLP.
    """
    return branches is None or (not branches.by_mask and branches.repetition <= LARGEST_REPETITION)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: tuple[tuple[int, Branches | None], ...],
    scale: float,
) -> Tensor:
    """Attend within rows, given by their lengths, one after another: ``[tokens, heads, size]``.

    Key and value may have fewer heads (grouped-query attention; Ainslie et al. 2023). Of a tree
    each chain of nodes is a row of queries, and its ancestors and itself are the keys: its last
    query attends to all of them, and each before it to one less.
    """
    segments = _segments(rows, query.device)
    if segments.keys is not None:
        key, value = key.index_select(0, segments.keys), value.index_select(0, segments.keys)
    # torch below 2.13 does not know the argument
    grouped: dict[str, Any] = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
    out = varlen_attn(
        query,
        key,
        value,
        segments.query_starts,
        segments.key_starts,
        segments.longest_query,
        segments.longest_key,
        scale=scale,
        window_size=CAUSAL,
        **grouped,
    )
    assert isinstance(out, Tensor), "no log-sum-exp was asked for"
    return out


@dataclass(frozen=True, slots=True)
class _Segments:
    """Where the rows of queries and of keys start, and where the last one ends: ``[rows + 1]``.

    ``keys``: the token behind each key; None where it is that of the query.
    """

    query_starts: Tensor
    key_starts: Tensor
    longest_query: int
    longest_key: int
    keys: Tensor | None


@lru_cache(maxsize=4)
def _segments(rows: tuple[tuple[int, Branches | None], ...], device: torch.device) -> _Segments:
    """Cut rows into segments, once for all layers of a pass."""
    queries: list[int] = []
    keys: list[Sequence[int]] = []  # the tokens of each segment's keys
    start = 0
    for length, branches in rows:
        if branches is None:
            queries.append(length)
            keys.append(range(start, start + length))
        else:
            queries += branches.chains
            keys += [[start + node for node in nodes] for nodes in branches.keys]
        start += length
    lengths = list(map(len, keys))
    index = None
    if lengths != queries:
        index = torch.tensor([token for nodes in keys for token in nodes], device=device)

    def starts(sizes: Sequence[int]) -> Tensor:
        return torch.tensor(list(accumulate(sizes, initial=0)), dtype=torch.int32, device=device)

    return _Segments(starts(queries), starts(lengths), max(queries), max(lengths), index)

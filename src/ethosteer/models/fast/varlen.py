"""Attention of packed rows on a GPU as one call, whatever their lengths (Dao 2023).

Off by ``takes`` returning False, with the same results but for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from inspect import signature
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

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


def attend(
    query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scale: float
) -> Tensor:
    """Attend within rows of ``lengths``, one after another: ``[tokens, heads, size]``.

    Key and value may have fewer heads (grouped-query attention; Ainslie et al. 2023).
    """
    starts, longest = _starts(lengths, query.device), max(lengths)
    # torch below 2.13 does not know the argument
    grouped: dict[str, Any] = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
    out = varlen_attn(
        query,
        key,
        value,
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        window_size=CAUSAL,
        **grouped,
    )
    assert isinstance(out, Tensor), "no log-sum-exp was asked for"
    return out


@lru_cache(maxsize=16)
def _starts(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Return where rows start, and where the last one ends; once for all layers of a pass."""
    return torch.tensor(list(accumulate(lengths, initial=0)), dtype=torch.int32, device=device)

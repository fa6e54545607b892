"""How much of a text runs at once, so that activations fit where they are to stay."""

from __future__ import annotations

import ctypes
import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from ethosteer.models.base import SharedBase

T = TypeVar("T")

CPU_TOKENS = 1024
"""Tokens of a training pass on a processor: more leave its cache, fewer leave it waiting."""
CPU_CACHE = 128 << 20
"""Bytes of keys and values while sampling on a processor."""
GPU_SHARE = 0.6
"""Of the free memory."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # from malloc.h


def activation_bytes(hidden: int, intermediate: int, layers: int, width: int) -> int:
    """Bytes that one token of a Llama-like decoder keeps for the backward pass.

    ``width`` is the bytes of a number. A layer keeps about 14 hidden (norms, projections,
    attention) and 4 intermediate (gated MLP) numbers.
    """
    return layers * width * (14 * hidden + 4 * intermediate)


def training_tokens(base: SharedBase, asked: int | None) -> int:
    """Return the tokens of one forward and backward pass: what was asked for, or what fits."""
    if asked is not None:
        return asked
    if base.device.type != "cuda":
        return CPU_TOKENS
    config = base.model.config.get_text_config()
    token = activation_bytes(
        base.hidden_size,
        getattr(config, "intermediate_size", None) or 4 * base.hidden_size,
        int(config.num_hidden_layers),
        base.model.dtype.itemsize,
    )
    logits = 3 * 4 * int(config.vocab_size)  # fp32: the logits, their softmax, its gradient
    return max(256, min(32_768, int(GPU_SHARE * _free(base.device)) // (token + logits)))


def passes(items: Sequence[T], size: Callable[[T], int], token_budget: int) -> list[list[T]]:
    """Cut items, in their order, into as few passes as the budget allows, of about equal size.

    A pass has at most ``token_budget`` tokens, or a single item that is larger.
    """
    sizes = [size(item) for item in items]

    def lengths(limit: int) -> list[int]:
        """Fill passes one after another up to ``limit`` tokens; return their numbers of items."""
        counts: list[int] = []
        tokens = limit
        for own in sizes:
            if counts and tokens + own <= limit:
                counts[-1] += 1
                tokens += own
            else:
                counts.append(1)
                tokens = own
        return counts

    fewest = len(lengths(token_budget))
    # the lowest limit that takes no more passes: without it the last pass may be a small remainder
    limit = bisect_left(range(token_budget), x=True, key=lambda it: len(lengths(it)) <= fewest)
    rest = iter(items)
    return [list(islice(rest, count)) for count in lengths(limit)]


def sampling_rows(base: SharedBase, length: int) -> int:
    """Return how many answers of ``length`` tokens, with their prompts, may be sampled at once."""
    config = base.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or int(config.num_attention_heads)
    size = getattr(config, "head_dim", None) or base.hidden_size // int(config.num_attention_heads)
    token = 2 * int(config.num_hidden_layers) * heads * size * base.model.dtype.itemsize
    room = CPU_CACHE
    if base.device.type == "cuda":
        room = int(GPU_SHARE * _free(base.device))
    return max(1, room // (token * length))


def _free(device: torch.device) -> int:
    """Bytes of a GPU that nothing uses, those among them that torch keeps for its next tensor."""
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free) + int(kept)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensor instead of handing it back.

    Training on a processor makes and frees megabytes at every layer; without this each of them is
    mapped and its pages are faulted in anew (a fifth of the time of a training step on two cores).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc allows
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(M_ARENA_MAX, 1)  # a thread's own heap is handed back once free

"""How many tokens run at once, so that activations stay in a cache or fit in a GPU's memory.

Importable without torch, since a study's memory is estimated before any model is loaded.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ethosteer.errors import InputError

if TYPE_CHECKING:
    import torch

    from ethosteer.models.base import SharedBase

T = TypeVar("T")

CPU_TOKENS = 1024
"""Tokens of a training pass on a processor: more overflow its cache, fewer leave cores idle."""
CPU_CACHE = 128 << 20
"""Bytes of keys and values while sampling on a processor."""
GPU_FRACTION = 0.6
"""Of a GPU's free memory; the rest is for the allocator's gaps and the backward pass."""
FEWEST_TOKENS = 16
"""A pass of so few tokens is not halved where it does not fit."""
GPU_TOKENS = (256, 32_768)
"""The fewest and the most tokens of a training pass on a GPU."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # from malloc.h


def passes(items: Sequence[T], size: Callable[[T], int], token_budget: int) -> list[list[T]]:
    """Cut items, in their order, into as few passes as the budget allows, of about equal size.

    A pass has at most ``token_budget`` tokens, or a single item that is larger.
    """
    sizes = [size(item) for item in items]

    def counts(limit: int) -> list[int]:
        """Fill passes one after another up to ``limit`` tokens; return their numbers of items."""
        numbers: list[int] = []
        tokens = 0
        for item_size in sizes:
            if numbers and tokens + item_size <= limit:
                numbers[-1] += 1
                tokens += item_size
            else:
                numbers.append(1)
                tokens = item_size
        return numbers

    fewest = len(counts(token_budget))
    # The number of passes falls as the limit rises. The lowest limit that still gives the fewest
    # evens them out; filled up to the budget, the last pass could be a small remainder.
    limit = bisect_left(range(token_budget), x=True, key=lambda it: len(counts(it)) <= fewest)
    remaining = iter(items)
    return [list(islice(remaining, number)) for number in counts(limit)]


def activation_bytes(hidden: int, intermediate: int, layers: int, width: int) -> int:
    """Bytes that one token of a Llama-like decoder keeps for the backward pass.

    ``width`` is the bytes of a number. A layer keeps about 14 hidden (norms, projections,
    attention) and 4 intermediate (gated MLP) numbers.
    """
    return layers * width * (14 * hidden + 4 * intermediate)


def training_tokens(base: SharedBase, setting: int | None) -> int:
    """Return the token budget of one forward and backward pass: as set, or what fits."""
    if setting is not None:
        return setting
    if base.device.type != "cuda":
        return CPU_TOKENS
    config = base.config
    hidden = int(config.hidden_size)
    activations = activation_bytes(
        hidden,
        getattr(config, "intermediate_size", None) or 4 * hidden,
        int(config.num_hidden_layers),
        base.model.dtype.itemsize,
    )
    logits = 3 * 4 * int(config.vocab_size)  # fp32: the logits, their softmax, its gradient
    fitting = int(GPU_FRACTION * free_memory(base.device)) // (activations + logits)
    lowest, highest = GPU_TOKENS
    return max(lowest, min(highest, fitting))


def sampling_rows(base: SharedBase, length: int) -> int:
    """Return how many responses of ``length`` tokens, prompts included, may be sampled at once."""
    config = base.config
    heads = getattr(config, "num_key_value_heads", None) or int(config.num_attention_heads)
    hidden = int(config.hidden_size)
    size = getattr(config, "head_dim", None) or hidden // int(config.num_attention_heads)
    token = 2 * int(config.num_hidden_layers) * heads * size * base.model.dtype.itemsize
    memory = CPU_CACHE
    if base.device.type == "cuda":
        memory = int(GPU_FRACTION * free_memory(base.device))
    return max(1, memory // (token * length))


def free_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that are free or held by torch's allocator for its next tensor."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free) + int(cached)


def within_memory(
    budget: int, work: Callable[[int], T], undo: Callable[[], None] = lambda: None
) -> tuple[T, int]:
    """Return ``work(budget)`` and the token budget that it took.

    Where the device runs out of memory, ``undo`` clears what the work has begun, the budget is
    halved and the work repeated, which is told in one line. Work must start from the same random
    state each time. Raises InputError where the fewest tokens are too many.
    """
    import torch

    while True:
        try:
            return work(budget), budget
        except torch.OutOfMemoryError as fault:
            if budget <= FEWEST_TOKENS:
                raise InputError(
                    f"the device is out of memory even with {budget} tokens in a pass; use a "
                    "smaller base, or base.dtype = 'bfloat16'"
                ) from fault
        # outside the handler, whose traceback keeps the tensors of the pass
        undo()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        budget //= 2
        logging.getLogger("ethosteer").warning(
            "the device is out of memory: repeating the step with %d tokens in a pass", budget
        )


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensor instead of returning it.

    Training on a processor allocates and frees megabytes at every layer. By default glibc maps each
    anew and the kernel faults its pages in (a fifth of a training step on two cores).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # from the heap up to glibc's maximum, without mmap
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)  # never give the heap's free end back
        mallopt(M_ARENA_MAX, 1)  # one heap: a thread's own would be given back when empty

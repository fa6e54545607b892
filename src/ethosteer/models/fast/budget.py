"""How many tokens run at once, so that activations stay in a cache or fit in a GPU's memory.

Importable without torch, since a study's memory is estimated before any model is loaded.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ethosteer import processes
from ethosteer.errors import InputError
from ethosteer.models.fast.activations import FLOAT32, activation_bytes, score_bytes
from ethosteer.settings import LoraSettings, ModelShape

if TYPE_CHECKING:
    import torch

    from ethosteer.models.base import SharedBase

T = TypeVar("T")
R = TypeVar("R")
Work = Literal["training", "sampling", "scoring", "evaluation"]
"""What runs under a token budget: only the first needs gradients, only the second a cache."""

CPU_TOKENS = 1024
"""Tokens of a training pass on a processor: more overflow its cache, fewer leave cores idle."""
CPU_CACHE = 128 << 20
"""Bytes of keys and values while sampling on a processor, or the base's if these are more.

Every token reads the whole base, for all answers at once, and each answer's keys and values.
"""
GPU_FRACTION = 0.6
"""Of a GPU's free memory; the rest is for the allocator's gaps and the backward pass."""
MENDS: dict[Work, str] = {
    "training": "lower data.max_tokens or steer.max_new_tokens",
    "sampling": "lower data.max_prompt_tokens or steer.max_new_tokens, or sample with fewer arms",
    "scoring": "lower data.max_tokens or steer.max_new_tokens",
    "evaluation": "evaluate fewer models at once, or a benchmark of shorter items",
}
"""What to reduce where not even one text fits."""
BUDGETS: dict[Work, str] = {
    "training": "lower the tokens_per_batch of finetune, reward or steer",
    "evaluation": "lower evaluate.tokens_per_batch",
}
"""What sets the tokens of a pass, where anything does."""
LARGEST_BASE = 4 << 30
"""Bytes of a base's weights up to which they are kept in further layouts, two at most."""
MEMORY_SHARE = 0.5
"""Of the machine's memory, for the weights with both further layouts."""
CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Where Linux keeps the limit of a container's memory, in versions 2 and 1 of control groups."""
GPU_TOKENS = (256, 32_768)
"""The fewest and the most tokens of a training pass on a GPU."""
TREE_TOKENS = 384
"""Tokens of an arm's block that most prefix trees of benchmarks fit in."""
FULL_DEVICE = re.compile(r"CUDA error: out of memory|\w+_STATUS_ALLOC_FAILED|DefaultCPUAllocator")
"""How libraries say that memory is used up where torch raises no OutOfMemoryError.

CUDA graphs, cuBLAS, and torch's allocator for processors.
"""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # from malloc.h


def passes(
    items: Sequence[T], size: Callable[[T], int], token_budget: int, share: int = 1
) -> list[list[T]]:
    """Cut items, in their order, into as few passes as the budget allows, of about equal size.

    A pass has at most ``token_budget`` tokens, or a single item that is larger. Their number is a
    multiple of ``share``, the processes that they are divided among, as far as items go round.
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

    fewest = share * ceil(len(counts(token_budget)) / share)
    # The number of passes falls as the limit rises. The lowest limit that still gives the fewest
    # evens them out; filled up to the budget, the last pass could be a small remainder.
    limit = bisect_left(range(token_budget), x=True, key=lambda it: len(counts(it)) <= fewest)
    remaining = iter(items)
    return [list(islice(remaining, number)) for number in counts(limit)]


def training_tokens(base: SharedBase, lora: LoraSettings, setting: int | None) -> int:
    """Return the token budget of a pass through adapters of ``lora``: as set, or what fits."""
    if setting is not None:
        return setting
    if base.device.type != "cuda":
        return CPU_TOKENS
    return fitting_tokens(
        base.shape,
        lora,
        base.model.dtype.itemsize,
        free_memory(base.device),
        checkpointing=base.gradient_checkpointing,
    )


def fitting_tokens(
    shape: ModelShape, lora: LoraSettings, width: int, free: float, *, checkpointing: bool = False
) -> int:
    """Return how many tokens run at once in ``free`` bytes of a GPU, forward and backward.

    ``width`` is the bytes of a number of the base. Every token is taken to have logits.
    """
    scores = score_bytes(shape, width, 1, on_gpu=True)
    kept = activation_bytes(shape, lora, width, scores, checkpointing=checkpointing)
    lowest, highest = GPU_TOKENS
    return int(max(lowest, min(highest, GPU_FRACTION * free / (kept + logit_bytes(shape)))))


def logit_bytes(shape: ModelShape) -> int:
    """Return the bytes of a learned token's logits in fp32, with their softmax and its gradient."""
    return 3 * FLOAT32 * shape.vocabulary


def sampling_tokens(base: SharedBase) -> int:
    """Return the token budget of sampling: those of all prompts and responses in the cache."""
    memory = max(CPU_CACHE, sum(weight.nbytes for weight in base.model.parameters()))
    if base.device.type == "cuda":
        memory = int(GPU_FRACTION * free_memory(base.device))
    return memory // cache_bytes(base.shape, base.model.dtype.itemsize)


def cache_bytes(shape: ModelShape, width: int) -> int:
    """Return the bytes of a token's keys and values in all layers, ``width`` bytes a number."""
    return 2 * shape.layers * shape.key_value_width * width


def evaluation_tokens(setting: int | None, arms: int, *, on_gpu: bool) -> int:
    """Return the token budget of evaluation, all arms together: as set, or the device's default.

    On a processor small batches keep a small model's activations in the cache, but each arm's block
    must be large enough for a prefix tree.
    """
    if setting is not None:
        return setting
    return GPU_TOKENS[1] if on_gpu else max(CPU_TOKENS, TREE_TOKENS * arms)


def layouts_fit(bytes_of_base: int) -> bool:
    """Return whether there is memory for further layouts of a base's weights."""
    memory = machine_memory()
    fits = memory is None or 3 * bytes_of_base <= MEMORY_SHARE * memory
    return bytes_of_base <= LARGEST_BASE and fits


def free_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that are free or held by torch's allocator for its next tensor.

    Of the GPUs of several processes, which run equal passes, it is the least.
    """
    import torch

    from ethosteer.models.sharding import smallest

    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(smallest(int(free) + int(cached)))


def machine_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the machine's memory in bytes, or a container's limit; None where it is unknown.

    What is free now does not count, so that equal runs on one machine choose equally.
    """
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return None
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            limits.append(int((cgroup / name).read_text("utf-8")))
    return min(limits)


def within_memory(
    base: SharedBase,
    work: Work,
    budget: int,
    sizes: Sequence[int],
    run: Callable[[int], R],
    undo: Callable[[], None] = lambda: None,
) -> R:
    """Return ``run(tokens)``, which runs texts of ``sizes`` tokens in passes of at most ``tokens``.

    Where the device runs out of memory, ``undo`` clears what the run has begun, the budget is
    halved and the run repeated, which is logged as one line. A budget that did not fit is not tried
    again for such ``work`` on this base. A run must start from the same random state each time.
    Raises InputError where a text does not fit by itself.
    """
    import torch

    budget = fitting(base, work, budget)
    while True:
        try:
            return run(budget)
        except RuntimeError as fault:
            if not is_out_of_memory(fault):
                raise
            budget = min(budget, sum(sizes))  # a pass had no more
            if budget <= max(sizes):
                raise InputError(
                    f"{work}: the device is out of memory even with one text of {max(sizes):,} "
                    f"tokens; {MENDS[work]}, or use base.dtype = 'bfloat16' or a smaller base"
                ) from fault
            if processes.count() > 1:  # the others wait in the middle of a pass
                raise InputError(
                    f"{work}: process {processes.rank()} is out of memory with at most {budget:,} "
                    "tokens in a pass, which several processes cannot repeat with fewer; "
                    f"{BUDGETS.get(work, MENDS[work])}"
                ) from fault
        # outside the handler, whose traceback keeps the tensors of the pass
        undo()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        budget //= 2
        base.limits[work] = budget
        logging.getLogger("ethosteer").warning(
            "%s: the device is out of memory; repeating with at most %d tokens in a pass",
            work,
            budget,
        )


def is_out_of_memory(fault: RuntimeError) -> bool:
    """Return whether a device had too little memory."""
    import torch

    return isinstance(fault, torch.OutOfMemoryError) or bool(FULL_DEVICE.search(str(fault)))


def fitting(base: SharedBase, work: Work, budget: int) -> int:
    """Return a token budget, or the one that it was halved to on this base."""
    return min(budget, base.limits.get(work, budget))


def in_passes(
    base: SharedBase,
    work: Work,
    budget: int,
    items: Sequence[T],
    cut: Callable[[Sequence[T], int], list[list[T]]],
    sizes: Callable[[Sequence[T]], Sequence[int]],
    run: Callable[[Sequence[T]], R],
) -> Iterator[R]:
    """Run items without gradients, and yield what each pass returns.

    ``cut(items, tokens)`` makes passes of at most so many tokens; ``sizes(items)`` are the tokens
    of what cannot be cut. A pass that does not fit in memory is cut again (see ``within_memory``).
    Several processes divide the passes, but repeat those of sampling, whose time is that of reading
    the weights for a token, for however many answers.
    """
    budget = fitting(base, work, budget)

    def run_chunk(chunk: list[T]) -> list[R]:
        def run_parts(tokens: int) -> list[R]:
            parts = [chunk] if tokens == budget else cut(chunk, tokens)
            return [run(part) for part in parts]

        return within_memory(base, work, budget, sizes(chunk), run_parts)

    chunks = cut(items, budget)
    if work == "sampling" or processes.count() == 1:
        for chunk in chunks:
            yield from run_chunk(chunk)
        return
    from ethosteer.models.sharding import divided, gathered

    for first in range(0, len(chunks), processes.count()):
        group = chunks[first : first + processes.count()]
        ((chunk, _),) = divided(group)
        for results in gathered(run_chunk(chunk))[: len(group)]:
            yield from results


@contextmanager
def held_in_memory(what: str) -> Iterator[None]:
    """Raise InputError where the device has no memory for ``what``, which no smaller pass frees."""
    try:
        yield
    except RuntimeError as fault:
        if not is_out_of_memory(fault):
            raise
        raise InputError(
            f"the device is out of memory for {what}; lower lora.r or the number of arms, or use "
            "base.dtype = 'bfloat16' or a smaller base"
        ) from fault


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

"""Where the time of a measurement goes, by kind of operation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "products with the base's weights": ("mm", "addmm", "linear"),
    "products of adapters and attention": ("bmm", "baddbmm"),
    "torch's attention": ("scaled_dot_product", "flash_attention", "efficient_attention", "cudnn"),
    "softmax and losses": ("softmax", "log_softmax", "cross_entropy", "nll_loss"),
    "copies": ("copy", "cat", "clone", "index", "gather", "scatter", "repeat", "fill", "zero"),
    "calls": (
        "view", "reshape", "transpose", "as_strided", "empty", "slice", "select", "expand",
        "unsqueeze", "squeeze", "split", "unsafe", "permute", "narrow", "detach", "alias",
        "to_copy", "result_type", "resize", "stack", "matmul", "contiguous", "local_scalar",
        "item", "lift",
    ),
}  # fmt: skip
"""How the names of a kind's operations begin. Those of "calls" move no data by themselves."""
ELEMENTWISE = "elementwise work and sums"
REST = "the rest: Python, and calls of operations"


@contextmanager
def recording(*, on: bool) -> Iterator[dict[str, float]]:
    """Yield a dictionary that holds, after the block, its seconds by kind of operation.

    The longest come first; empty unless ``on``. On a GPU they are the seconds of its kernels.
    Recording slows small operations down, so speeds are measured without it.
    """
    kinds: dict[str, float] = {}
    if not on:
        yield kinds
        return
    is_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    started = time.perf_counter()
    with profile(activities=activities, acc_events=True) as recorded:
        yield kinds
        whole = time.perf_counter() - started
    seconds: dict[str, float] = {}
    for event in recorded.key_averages():
        if (kind := kind_of(event.key)) is not None:
            spent = event.self_device_time_total if is_gpu else event.self_cpu_time_total
            seconds[kind] = seconds.get(kind, 0.0) + spent / 1e6
    seconds[REST] = max(0.0, whole - sum(seconds.values()))
    kinds |= sorted(seconds.items(), key=lambda item: -item[1])


def kind_of(name: str) -> str | None:
    """Return the kind of an operation, None for those that do nothing by themselves."""
    space, _, operation = name.partition("::")
    if space not in ("aten", "mkldnn") or operation in ("t", "to"):
        return None
    for kind, beginnings in KINDS.items():
        if operation.strip("_").startswith(beginnings):
            return None if kind == "calls" else kind
    return ELEMENTWISE

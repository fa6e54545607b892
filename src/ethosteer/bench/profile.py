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


class Profile:
    """Seconds by kind of operation, over the steps that are recorded; empty unless ``on``.

    On a GPU they are the seconds of its kernels. Recording slows small operations down, so speeds
    are measured without it. It keeps some kilobytes for each operation until a step ends.
    """

    def __init__(self, *, on: bool) -> None:
        self.on = on
        self._seconds: dict[str, float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each kind, the longest first."""
        return dict(sorted(self._seconds.items(), key=lambda item: -item[1]))

    @contextmanager
    def step(self) -> Iterator[None]:
        """Record what runs inside the block."""
        if not self.on:
            yield
            return
        is_gpu = torch.cuda.is_available()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
        started = time.perf_counter()
        with profile(activities=activities, acc_events=True) as recorded:
            yield
            rest = time.perf_counter() - started
        for event in recorded.key_averages():
            if (kind := kind_of(event.key)) is not None:
                spent = event.self_device_time_total if is_gpu else event.self_cpu_time_total
                self._seconds[kind] = self._seconds.get(kind, 0.0) + spent / 1e6
                rest -= spent / 1e6
        self._seconds[REST] = self._seconds.get(REST, 0.0) + max(0.0, rest)


def kind_of(name: str) -> str | None:
    """Return the kind of an operation, None for those that do nothing by themselves."""
    space, _, operation = name.partition("::")
    if space not in ("aten", "mkldnn") or operation in ("t", "to"):
        return None
    for kind, beginnings in KINDS.items():
        if operation.strip("_").startswith(beginnings):
            return None if kind == "calls" else kind
    return ELEMENTWISE

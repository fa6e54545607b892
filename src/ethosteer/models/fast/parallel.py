"""Passes side by side on a processor: each on its share of the cores, to its end.

Cores that share one operation wait for each other at its end, thousands of times in a training
step; cores that each have a pass of their own meet once. A GPU runs one pass after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from math import ceil
from typing import TypeVar

import torch

T = TypeVar("T")

HANDS = 2
"""Passes that run at once on a processor, whatever its cores: rounding does not depend on them."""


def hands(device: torch.device) -> int:
    """Return how many passes run at once."""
    return HANDS if device.type == "cpu" else 1


def side_by_side(device: torch.device, passes: Iterable[Callable[[], T]]) -> list[T]:
    """Run passes; return what they return, in their order.

    Each sees the adapters in use and whether gradients are wanted, as the caller does.
    """
    if hands(device) == 1:
        return [run() for run in passes]
    threads = max(1, torch.get_num_threads() // HANDS)
    gradients = torch.is_grad_enabled()

    def alone(run: Callable[[], T]) -> T:
        torch.set_num_threads(threads)  # of this worker alone
        with torch.set_grad_enabled(gradients):
            return run()

    waiting = [_workers().submit(copy_context().run, alone, run) for run in passes]
    return [future.result() for future in waiting]


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(HANDS, thread_name_prefix="pass")


def shares(
    items: Sequence[T], size: Callable[[T], int], room: int, device: torch.device
) -> list[list[T]]:
    """Cut items, in their order, into passes of about equal size.

    Those that run at once have about ``room`` tokens together; a pass has one item at least.
    """
    sizes = [size(item) for item in items]
    total = max(1, sum(sizes))
    count = min(len(items), hands(device) * ceil(total / room))
    out: list[list[T]] = [[] for _ in range(count)]
    before = 0
    for item, own in zip(items, sizes, strict=True):
        out[min(count - 1, (2 * before + own) * count // (2 * total))].append(item)
        before += own
    return [part for part in out if part]

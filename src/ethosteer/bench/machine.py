"""The machine's own rate of arithmetic, and a measurement against it."""

from __future__ import annotations

import time
from typing import Any

import torch

from ethosteer.models.base import SharedBase
from ethosteer.models.timing import peak_memory


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the rate of a large matrix product, in FLOP/s: the best of eight."""
    size = 4096 if device.type == "cuda" else 1536
    matrix = torch.randn(size, size, device=device).to(dtype)
    rate = 0.0
    for _ in range(8):
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # reading a value waits for the device
        rate = max(rate, 2 * size**3 / (time.perf_counter() - started))
    return rate


def throughput(base: SharedBase, flop: float, seconds: float) -> dict[str, Any]:
    """Return the rate of ``flop`` operations done in ``seconds``, against the machine's ceiling.

    The ceiling is the matrix product's rate, measured now in the base's own number format.
    """
    ceiling = matrix_product_rate(base.device, base.model.dtype)
    return {
        "flops_per_second": flop / seconds,
        "ceiling_flops_per_second": ceiling,
        "share_of_ceiling": flop / seconds / ceiling,
        "peak_memory_bytes": peak_memory(base.device),
        "device": str(base.device),
    }

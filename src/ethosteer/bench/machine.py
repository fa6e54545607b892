"""The machine's own rate of arithmetic, and a measurement against it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ethosteer.models.base import SharedBase
from ethosteer.models.fast import attention
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


ROWS, HEADS, TOKENS, SIZE = 4, 8, 192, 64
ATTENTION_SHARE = 0.14
"""Of the time of a training step in float32: adapters, attention and softmax on a base of 135 M.

Measured on one thread by ``ethosteer bench reward --model smollm2 --data-dir DATA --batch 8
--pairs 24 --profile``.
"""
WORTHWHILE = 1.2
"""A speed that makes up for numbers of 8 bits' precision."""


@dataclass(frozen=True, slots=True)
class Precision:
    """How many times as fast as float32 bfloat16 is here: matrix products, and attention.

    Attention is measured forward and backward, as it runs in training.
    """

    products: float
    attention: float

    @property
    def overall(self) -> float:
        """The speed of a training step, whose other work is taken to run as products do."""
        return 1 / ((1 - ATTENTION_SHARE) / self.products + ATTENTION_SHARE / self.attention)

    @property
    def pays(self) -> bool:
        """Whether a base in bfloat16 is worth its loss of precision."""
        return self.overall >= WORTHWHILE

    def __str__(self) -> str:
        return (
            f"bfloat16 is {self.overall:.1f} times as fast as float32 here "
            f"(matrix products {self.products:.1f}, attention {self.attention:.1f})"
        )


def measure_precision(device: torch.device) -> Precision:
    """Measure both number formats on a device, in about a second."""
    products, attended = (
        [measure(device, dtype) for dtype in (torch.float32, torch.bfloat16)]
        for measure in (matrix_product_rate, _attention_rate)
    )
    return Precision(products[1] / products[0], attended[1] / attended[0])


def _attention_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure attention, forward and backward, in passes a second: the best of eight."""
    shape = (ROWS, HEADS, TOKENS, SIZE)
    states = [torch.randn(shape, device=device).to(dtype).requires_grad_() for _ in range(3)]
    attend = _held if attention.takes(states[0], {}) else _walked
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        attend(*states).sum().backward()
        states[0].grad[0, 0, 0, 0].item()  # type: ignore[index]  # waits for the device
        best = max(best, 1 / (time.perf_counter() - started))
    return best


def _held(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention.attend(query, key, value, attention.causal_mask(TOKENS), SIZE**-0.5)


def _walked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value, is_causal=True)

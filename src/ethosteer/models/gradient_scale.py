"""Gradients of a float16 base, scaled inside it so that they neither vanish nor overflow.

float16 has no numbers between 0 and 6e-8, and above 65,504; gradients of a loss that is a mean over
thousands of tokens are smaller than the first in lower layers. So a gradient that enters the base
is multiplied by a power of two, exactly, which brings its largest entry to about 1; where it leaves
the base for an adapter's parameters, which are float32, it is divided by it (loss scaling;
Micikevicius et al. 2018). The factor is chosen anew in each backward pass. So there is no state to
store, no step is skipped, and losses, clipping and optimisers see true gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ethosteer.models.lora_bank import ArmLinear

SMALLEST = 2.0**-100
"""Gradients are scaled as if their largest entry were at least this; all may be 0."""


class GradientScale:
    """The factor of one pass through float16 layers, a scalar that its backward pass sets first."""

    factor: Tensor

    def enlarged(self, x: Tensor) -> Tensor:
        """Return ``x``, an output of the layers in float32; its gradient becomes about 1."""
        out: Tensor = _Enlarge.apply(x, self)  # type: ignore[no-untyped-call]
        return out

    def restored(self, x: Tensor) -> Tensor:
        """Return ``x``, an input or a parameter in float32; its gradient loses the factor again."""
        out: Tensor = _Restore.apply(x, self)  # type: ignore[no-untyped-call]
        return out

    @contextmanager
    def on(self, layers: Iterable[ArmLinear]) -> Iterator[None]:
        """Let the adapters in use get their true gradients inside the block."""
        before = [(layer, layer.adapter) for layer in layers if layer.adapter is not None]
        try:
            for layer, adapter in before:
                layer.adapter = replace(
                    adapter, a=self.restored(adapter.a), b=self.restored(adapter.b)
                )
            yield
        finally:
            for layer, adapter in before:
                layer.adapter = adapter


class _Unchanged(torch.autograd.Function):
    """The forward pass of both: the same numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: GradientScale) -> Tensor:  # noqa: ANN401 (torch's own)
        ctx.scale = scale
        return x.view_as(x)


class _Enlarge(_Unchanged):
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        largest = gradient.abs().amax().clamp(min=SMALLEST)
        # a tensor, so that a GPU is not waited for
        ctx.scale.factor = torch.exp2(-largest.log2().floor())
        return gradient * ctx.scale.factor, None


class _Restore(_Unchanged):
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return gradient / ctx.scale.factor, None

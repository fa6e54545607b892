"""Products with frozen weights on a processor, in the layout that oneDNN multiplies fastest.

A frozen weight is laid out once. A general matrix product does so at every call, which takes most
of its time at the few rows of sampling. The backward pass multiplies by the transposed weight and
has a layout of its own. Both are made when they are first needed, so the weights take up to three
times their bytes.
Off with ``budget.LARGEST_BASE = 0``, with the same results but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SMALLEST_WEIGHT = 1 << 16
"""Numbers of a weight below which a product takes about as long as its call."""


class FrozenLinear(nn.Linear):
    """A linear layer whose weight has no gradient and is laid out for its products."""

    _layouts: dict[bool, tuple[tuple[int, int], Tensor]]

    @classmethod
    def of(cls, layer: nn.Linear) -> FrozenLinear:
        """Return a layer with the same parameters."""
        frozen = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        frozen.weight, frozen.bias = layer.weight, layer.bias
        frozen._layouts = {}
        return frozen.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        """input: ``[..., in]`` -> ``[..., out]``."""
        if not self._takes(input):
            return super().forward(input)
        if not (input.requires_grad and torch.is_grad_enabled()):
            return self.multiply(input)
        product: Tensor = _Product.apply(input, self)  # type: ignore[no-untyped-call]
        return product

    def multiply(self, x: Tensor, *, transposed: bool = False) -> Tensor:
        """Return ``x W^T + b [..., out]`` of ``x [..., in]``; with ``transposed``, ``x W``."""
        # a weight may be overwritten, as a checkpoint's is when it is loaded: its version rises
        version = self.weight._version, self.weight.data_ptr()
        layout = self._layouts.get(transposed)
        if layout is None or layout[0] != version:
            weight = self.weight.detach()
            laid_out = torch.ops.mkldnn._reorder_linear_weight(
                weight.t().contiguous() if transposed else weight
            )
            layout = self._layouts[transposed] = version, laid_out
        bias = None if transposed else self.bias
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, layout[1], bias, "none", [], "")
        return product

    def _takes(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype
            and x.numel() > 0
            and not torch.is_autocast_enabled("cpu")
        )


class _Product(torch.autograd.Function):
    """The product with a frozen weight, and the gradient of its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FrozenLinear) -> Tensor:  # noqa: ANN401 (torch's own)
        ctx.layer = layer
        return layer.multiply(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return ctx.layer.multiply(gradient, transposed=True), None


def lays_out(layer: nn.Module | None) -> TypeGuard[nn.Linear]:
    """Return whether a linear layer is worth further layouts of its weight, and can have them."""
    if type(layer) is not nn.Linear:
        return False
    weight = layer.weight
    return (
        weight.device.type == "cpu"
        and weight.numel() >= SMALLEST_WEIGHT
        and not weight.requires_grad
        and _supports(weight.dtype)
    )


def _supports(dtype: torch.dtype) -> bool:
    """Return whether this build of torch, on this processor, has oneDNN's products of a dtype."""
    if not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    supported: Callable[[], bool] = torch.ops.mkldnn._is_mkldnn_bf16_supported
    return dtype == torch.float32 or (dtype == torch.bfloat16 and supported())

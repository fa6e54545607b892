"""Attention of short rows on a processor, by matrix products.

torch's attention for processors walks through blocks of queries and keys and never holds all
scores; its backward pass takes several times as long as the products it needs, above all in
bfloat16. Rows of a few hundred tokens have scores that fit, so here they are kept for the backward
pass, ``[heads, n, n]`` for each row and layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LONGEST = 512
"""Rows of more tokens are left to torch's attention."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attend: query ``[rows, heads, n, size]``, key and value ``[rows, groups, n, size]``.

    ``mask [n, n]`` is added to the scores. Queries of a group of heads share its keys
    (grouped-query attention; Ainslie et al. 2023). Scores, their softmax and its gradient are
    float32 whatever the number format. Returns ``[rows, n, heads, size]``, as transformers' does.
    """
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    out: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query.reshape(rows * groups, -1, size),
        key.reshape(rows * groups, length, size),
        value.reshape(rows * groups, length, -1),
        mask,
        scale,
    )
    return out.view(rows, heads, length, -1).transpose(1, 2)


@lru_cache(maxsize=64)
def causal_mask(length: int) -> Tensor:
    """Return what each token may attend to, ``[n, n]``: 0 for itself and those before it."""
    return torch.full((length, length), torch.finfo(torch.float32).min).triu_(1)


def takes(query: Tensor, settings: Mapping[str, object]) -> bool:
    """Return whether ``attend`` computes what is asked for: ``settings`` are transformers' own."""
    return (
        query.device.type == "cpu"
        and query.shape[2] <= LONGEST
        and not settings.get("dropout")
        and all(settings.get(name) is None for name in ("position_bias", "softcap", "s_aux"))
    )


class _Attention(torch.autograd.Function):
    """The products and their gradients, the heads of a group end to end.

    query: ``[rows * groups, heads / groups * n, size]``; key, value: ``[rows * groups, n, size]``.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch's own)
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor,
        scale: float,
    ) -> Tensor:
        length = key.shape[1]
        with torch.autocast("cpu", enabled=False):  # it would round the scores to bfloat16
            scores = torch.bmm(query.float(), key.float().transpose(1, 2)).mul_(scale)
            scores.view(len(scores), -1, length, length).add_(mask)
            weights = scores.softmax(dim=-1).to(value.dtype)
            out = torch.bmm(weights, value)
        ctx.save_for_backward(query, key, value, weights, out)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query, key, value, weights, out = ctx.saved_tensors
        value_gradient = torch.bmm(weights.transpose(1, 2), gradient)
        weight_gradient = torch.bmm(gradient.float(), value.float().transpose(1, 2))
        # A softmax has the gradient weights * (g - sum(weights * g)); the sum is gradient * out.
        mean = (gradient.float() * out.float()).sum(dim=-1, keepdim=True)
        score_gradient = weight_gradient.sub_(mean).mul_(weights).mul_(ctx.scale).to(key.dtype)
        query_gradient = torch.bmm(score_gradient, key)
        key_gradient = torch.bmm(score_gradient.transpose(1, 2), query)
        return query_gradient, key_gradient, value_gradient, None, None

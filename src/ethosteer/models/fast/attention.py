"""Attention of short rows on a processor, by matrix products.

torch's attention for processors walks through blocks of queries and keys and never holds all
scores; its backward pass takes several times as long as the products it needs, above all in
bfloat16. Rows of a few hundred tokens have scores that fit, so here they are kept for the backward
pass: ``[heads, n, n]`` for each row and layer, without most of those of later keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ethosteer.models.fast import LONGEST, QUERY_BLOCK


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attend: query ``[rows, heads, n, size]``, key and value ``[rows, groups, n, size]``.

    ``mask [n, n]`` is added to the scores; no token may attend to a later one. Queries of a group
    of heads share its keys (grouped-query attention; Ainslie et al. 2023). Scores, their softmax
    and its gradient are float32 whatever the number format. Returns ``[rows, n, heads, size]``, as
    transformers' does.
    """
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    out: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query.reshape(rows * groups, heads // groups, length, size),
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
    """The products and their gradients, by blocks of queries, the heads of a group end to end.

    query: ``[rows * groups, heads / groups, n, size]``; key, value: ``[rows * groups, n, size]``.
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
        out = value.new_empty(*query.shape[:3], value.shape[-1])
        all_weights = []
        with torch.autocast("cpu", enabled=False):  # it would round the scores to bfloat16
            keys = key.float().transpose(1, 2)
            for block in _blocks(query):
                queries = query[:, :, block].flatten(1, 2)
                scores = torch.bmm(queries.float(), keys[:, :, : block.stop]).mul_(scale)
                rows = scores.view(*query.shape[:2], -1, block.stop)
                rows.add_(mask[block, : block.stop])
                weights = scores.softmax(dim=-1).to(value.dtype)
                product = torch.bmm(weights, value[:, : block.stop])
                out[:, :, block] = product.view(*rows.shape[:3], -1)
                all_weights.append(weights)
        ctx.save_for_backward(query, key, value, out, *all_weights)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query, key, value, out, *all_weights = ctx.saved_tensors
        query_gradient = torch.empty_like(query)
        key_gradient, value_gradient = torch.zeros_like(key), torch.zeros_like(value)
        values = value.float().transpose(1, 2)
        # A softmax has the gradient weights * (g - sum(weights * g)); the sum is gradient * out.
        means = (gradient.float() * out.float()).sum(dim=-1, keepdim=True)
        for block, weights in zip(_blocks(query), all_weights, strict=True):
            queries = query[:, :, block].flatten(1, 2)
            outer = gradient[:, :, block].flatten(1, 2)
            mean = means[:, :, block].flatten(1, 2)
            value_gradient[:, : block.stop] += torch.bmm(weights.transpose(1, 2), outer)
            scores = torch.bmm(outer.float(), values[:, :, : block.stop])
            scores = scores.sub_(mean).mul_(weights).mul_(ctx.scale).to(key.dtype)
            product = torch.bmm(scores, key[:, : block.stop])
            query_gradient[:, :, block] = product.view(*query.shape[:2], -1, query.shape[-1])
            key_gradient[:, : block.stop] += torch.bmm(scores.transpose(1, 2), queries)
        return query_gradient, key_gradient, value_gradient, None, None


def _blocks(query: Tensor) -> list[slice]:
    """Cut the tokens of ``query [., ., n, .]`` into blocks."""
    length = query.shape[2]
    return [
        slice(start, min(start + QUERY_BLOCK, length)) for start in range(0, length, QUERY_BLOCK)
    ]

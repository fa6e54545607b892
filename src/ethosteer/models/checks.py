"""Checks of a model when it is loaded, since no list of architectures can be complete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ethosteer.models.base import SharedBase
from ethosteer.models.fast.trees import LARGEST_TREE, pack, stack


@torch.no_grad()
def makes_its_logits(base: SharedBase) -> bool:
    """Return whether ``base.logits`` equal the model's own logits."""
    tokens = probe_tokens(base, [range(8)])
    own_logits = base.model(tokens, use_cache=False).logits
    return nearly_equal(base.logits(base.hidden(tokens)), own_logits)


@torch.no_grad()
def runs_packed(base: SharedBase) -> bool:
    """Return whether packed rows and prefix trees have the same hidden states as single rows.

    They do not with ALiBi, recurrence, or attention outside transformers' interface.
    """
    if has_sliding_window(base):
        return False
    tokens = probe_tokens(base, [range(20), [*range(4), *range(8, 24)]])
    first, second = (tuple(row) for row in tokens.tolist())
    # a tree of both rows, which begin alike, and behind it the first row once more by itself
    trees = [*pack([first, second], float("inf"), LARGEST_TREE), *pack([first], None, LARGEST_TREE)]
    packed = stack(trees, base.device, base.model.dtype)
    try:
        together = replace(base, runs_packed=True).hidden_packed(packed)[0]
    except (TypeError, ValueError, RuntimeError):
        return False
    apart = base.hidden(tokens)
    paths = trees[0].paths
    return (
        nearly_equal(together[list(paths[first])], apart[0])
        and nearly_equal(together[list(paths[second])], apart[1])
        and nearly_equal(together[-len(first) :], apart[0])
    )


def has_sliding_window(base: SharedBase) -> bool:
    """Return whether a layer attends to recent tokens only, which a tree's mask would undo."""
    kinds = getattr(base.config, "layer_types", None)
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    return getattr(base.config, "sliding_window", None) is not None


def probe_tokens(base: SharedBase, rows: Sequence[Iterable[int]]) -> Tensor:
    """Make token rows ``[R, T]`` whose ids are in every vocabulary."""
    size = base.config.vocab_size
    return torch.tensor([[(11 * i + 5) % size for i in row] for row in rows], device=base.device)


def nearly_equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors differ by rounding only."""
    tolerance = 1e-3 if a.dtype == torch.float32 else 5e-2
    return bool((a - b).float().norm() <= tolerance * b.float().norm())

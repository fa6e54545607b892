"""Token rows that begin alike, packed so that what they share runs through the model once.

A tree's tokens lie depth-first. Each attends to its ancestors and itself
alone, and its position is its depth, so every branch reads as if it stood by itself ("tree
attention", Miao et al. 2024). That shares the instruction of a task, the common part of an item's
choices, and Winograd twins' sentences by one means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from ethosteer.models.dropout import token_hashes
from ethosteer.models.fast.budget import passes
from ethosteer.models.fast.packing import Packed

LARGEST_TREE = 1024
"""Tokens of a tree at most, since its mask has their square."""

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Rows as one prefix tree, its nodes numbered depth-first.

    tokens, depths: one entry a node; ends: one past the last node below it. paths: for each packed
    row the nodes of its tokens.
    """

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    ends: tuple[int, ...]
    paths: dict[Row, tuple[int, ...]]

    @property
    def is_chain(self) -> bool:
        """Whether nothing branches, so that plain causal attention does."""
        return self.depths[-1] == len(self.tokens) - 1


def pack(rows: Iterable[Row], knee: float | None, limit: int) -> list[Tree]:
    """Pack distinct rows into trees, each row into one.

    A row joins the tree of its neighbour in lexicographic order where that is less work than a tree
    of its own, if the tree stays within ``limit`` tokens. A tree of n tokens costs n + n^2 / knee:
    ``knee`` is the length at which attention costs as much as all other layers. None keeps every
    row by itself.
    """
    trees: list[Tree] = []
    own: list[Row] = []
    size = 0
    for row in sorted(set(rows)):
        shared = _shared(own[-1], row) if own else 0
        grown = size + len(row) - shared
        if shared and knee is not None and grown <= limit:
            saved = knee * shared - (grown**2 - size**2 - len(row) ** 2)
            if saved > 0:
                own.append(row)
                size = grown
                continue
        if own:
            trees.append(_tree(own))
        own, size = [row], len(row)
    return [*trees, _tree(own)] if own else trees


def _shared(a: Row, b: Row) -> int:
    """Count the tokens with which both rows begin."""
    unlike = (place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(unlike, min(len(a), len(b)))


def _tree(rows: Sequence[Row]) -> Tree:
    """Build one tree of rows in lexicographic order, which is its depth-first order."""
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    paths: dict[Row, tuple[int, ...]] = {}
    path: list[int] = []
    last: Row = ()
    for row in rows:
        shared = _shared(last, row)
        for node in path[shared:]:
            ends[node] = len(tokens)
        path = [*path[:shared], *range(len(tokens), len(tokens) + len(row) - shared)]
        tokens += row[shared:]
        depths += range(shared, len(row))
        ends += [0] * (len(row) - shared)
        paths[row] = tuple(path)
        last = row
    for node in path:
        ends[node] = len(tokens)
    return Tree(tuple(tokens), tuple(depths), tuple(ends), paths)


def batches(trees: Iterable[Tree], token_budget: int) -> list[list[Tree]]:
    """Group trees, the largest first, into passes within a token budget."""
    ordered = sorted(trees, key=lambda tree: -len(tree.tokens))
    return passes(ordered, lambda tree: len(tree.tokens), token_budget)


def places(trees: Sequence[Tree]) -> dict[Row, list[int]]:
    """For each packed row, where its tokens lie in the stream that ``stack(trees)`` makes."""
    starts = accumulate((len(tree.tokens) for tree in trees), initial=0)
    return {
        row: [start + node for node in path]
        for start, tree in zip(starts, trees, strict=False)
        for row, path in tree.paths.items()
    }


def stack(
    trees: Sequence[Tree], device: torch.device, dtype: torch.dtype, dropout: int | None = None
) -> Packed:
    """Lay trees end to end, as one block; ``dropout`` is the seed of dropout masks."""
    tokens = torch.tensor([token for tree in trees for token in tree.tokens])
    positions = torch.tensor([depth for tree in trees for depth in tree.depths])
    lengths = tuple(len(tree.tokens) for tree in trees)
    prefixes = None
    if dropout is not None:
        starts = accumulate(lengths, initial=0)
        ends = [start + e for start, tree in zip(starts, trees, strict=False) for e in tree.ends]
        # A node's subtree is the run from itself to its end. So a sum that runs along the stream,
        # taking a node in at itself and off again at its end, is over each node's ancestors.
        hashes = token_hashes(tokens, positions, dropout)
        changes = torch.cat([hashes, hashes.new_zeros(1)])
        changes = changes.index_add(0, torch.tensor(ends), -hashes)
        prefixes = changes.cumsum(dim=0)[None, :-1].to(device)
    return Packed(
        tokens[None].to(device),
        positions[None].to(device),
        (lengths,),
        tuple(None if tree.is_chain else _mask(tree, device, dtype) for tree in trees),
        prefixes,
    )


def _mask(tree: Tree, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each node reads, ``[1, 1, n, n]``: its ancestors and itself.

    Depth-first, a node's subtree is the run of nodes from itself up to its end.
    """
    at = torch.arange(len(tree.tokens), device=device)
    ends = torch.tensor(tree.ends, device=device)
    allowed = (at <= at.unsqueeze(1)) & (at.unsqueeze(1) < ends)
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[None, None]

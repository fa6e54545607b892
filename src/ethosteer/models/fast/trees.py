"""Token rows that begin alike, packed so that their common beginnings run through the model once.

A tree's tokens lie depth-first. Each attends to its ancestors and itself alone, and its position is
its depth, so every branch reads as if it were alone ("tree attention", Miao et al. 2024). This
shares the instruction of a task, the common text of an item's choices or of Winograd twins, and the
dialogue of a preference pair. Off with ``knee`` None, which keeps every row by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from ethosteer import processes
from ethosteer.models.dropout import token_hashes
from ethosteer.models.fast.branches import Branches
from ethosteer.models.fast.budget import Work, fitting, in_passes, passes
from ethosteer.models.fast.packing import Packed

if TYPE_CHECKING:
    from ethosteer.models.base import SharedBase

R = TypeVar("R")

LARGEST_TREE = 1024
"""The most tokens of a tree, since its mask has their square."""

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Rows as one prefix tree, its nodes numbered depth-first.

    tokens, depths: of each node; ends: one past the last node below each node. paths: for each
    packed row the nodes of its tokens.
    """

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    ends: tuple[int, ...]
    paths: dict[Row, tuple[int, ...]]

    @property
    def is_chain(self) -> bool:
        """Whether nothing branches, so that plain causal attention is enough."""
        return self.depths[-1] == len(self.tokens) - 1


def pack(rows: Iterable[Row], knee: float | None, limit: int) -> list[Tree]:
    """Pack distinct rows into trees, each row into one.

    A row joins the tree of its neighbour in lexicographic order where that is less work than a tree
    of its own, if the tree stays within ``limit`` tokens. A tree of n tokens costs n + n^2 / knee:
    ``knee`` is the length at which attention costs as much as all other layers.
    """
    trees: list[Tree] = []
    members: list[Row] = []  # of the tree that is growing
    size = 0
    for row in sorted(set(rows)):
        shared = _common_prefix(members[-1], row) if members else 0
        grown = size + len(row) - shared
        # Together costs grown + grown^2 / knee, apart size + size^2 / knee + len + len^2 / knee.
        # As grown = size + len - shared, together costs less if and only if
        # shared > (grown^2 - size^2 - len^2) / knee.
        extra_attention = grown**2 - size**2 - len(row) ** 2
        if knee is not None and grown <= limit and knee * shared > extra_attention:
            members.append(row)
            size = grown
        else:
            if members:
                trees.append(_tree(members))
            members, size = [row], len(row)
    return [*trees, _tree(members)] if members else trees


def pack_within(base: SharedBase, rows: Iterable[Row], tokens: int) -> list[Tree]:
    """Pack rows into trees of at most ``tokens``, the largest that ``base`` runs well."""
    return pack(rows, base.knee, min(tokens, LARGEST_TREE))


def _common_prefix(a: Row, b: Row) -> int:
    """Count the tokens with which both rows begin."""
    differing = (index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differing, min(len(a), len(b)))


def _tree(rows: Sequence[Row]) -> Tree:
    """Build one tree of rows in lexicographic order, which is its depth-first order."""
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    paths: dict[Row, tuple[int, ...]] = {}
    path: list[int] = []
    last: Row = ()
    for row in rows:
        shared = _common_prefix(last, row)
        for node in path[shared:]:  # the last row's branch is left for good
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
    return passes(ordered, lambda tree: len(tree.tokens), token_budget, processes.count())


def run_rows(
    base: SharedBase,
    work: Work,
    rows: Iterable[Row],
    token_budget: int,
    run: Callable[[Sequence[Tree]], R],
    arms: int = 1,
) -> Iterator[R]:
    """Pack rows into trees, and yield ``run(trees)`` of each pass without gradients.

    The budget is that of ``arms`` blocks of equal trees. Trees that do not fit in memory are packed
    anew, as smaller ones.
    """

    def cut(trees: Sequence[Tree], tokens: int) -> list[list[Tree]]:
        if any(len(tree.tokens) > tokens // arms and len(tree.paths) > 1 for tree in trees):
            members = (row for tree in trees for row in tree.paths)
            trees = pack_within(base, members, tokens // arms)
        return batches(trees, tokens // arms)

    def sizes(trees: Sequence[Tree]) -> list[int]:
        return [arms * len(row) for tree in trees for row in tree.paths]

    trees = pack_within(base, rows, fitting(base, work, token_budget) // arms)
    return in_passes(base, work, token_budget, trees, cut, sizes, run)


def row_positions(trees: Sequence[Tree]) -> dict[Row, list[int]]:
    """Return the positions of each packed row's tokens in the stream that ``stack`` makes."""
    starts = accumulate((len(tree.tokens) for tree in trees), initial=0)
    return {
        row: [start + node for node in path]
        for start, tree in zip(starts, trees, strict=False)
        for row, path in tree.paths.items()
    }


def stack(
    trees: Sequence[Tree],
    device: torch.device,
    dropout: int | None = None,
    *,
    by_mask: bool = False,
) -> Packed:
    """Lay trees end to end, as one block; ``dropout`` is the seed of dropout masks.

    ``by_mask`` is that of the trees' ``Branches``.
    """
    tokens = torch.tensor([token for tree in trees for token in tree.tokens])
    depths = torch.tensor([depth for tree in trees for depth in tree.depths])
    prefixes = None
    if dropout is not None:
        hashes = token_hashes(tokens, depths, dropout)
        prefixes = _sums_over_ancestors(trees, hashes)[None].to(device)
    return Packed(
        tokens[None].to(device),
        depths[None].to(device),
        (tuple(len(tree.tokens) for tree in trees),),
        tuple(None if tree.is_chain else Branches(tree.ends, by_mask) for tree in trees),
        prefixes,
    )


def _sums_over_ancestors(trees: Sequence[Tree], values: Tensor) -> Tensor:
    """Sum integer ``values [n]`` of the stream's tokens over each token's ancestors and itself."""
    starts = accumulate((len(tree.tokens) for tree in trees), initial=0)
    ends = [start + end for start, tree in zip(starts, trees, strict=False) for end in tree.ends]
    # A node's subtree is the run of nodes from itself to its end. So a running sum that adds a node
    # at itself and subtracts it at its end holds, at every node, just the node and its ancestors.
    changes = torch.cat([values, values.new_zeros(1)])
    return changes.index_add(0, torch.tensor(ends), -values).cumsum(dim=0)[:-1]

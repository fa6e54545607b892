"""What the nodes of a prefix tree attend to: a mask, or chains of queries with their keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Branches:
    """The branches of a tree whose nodes are numbered depth-first.

    ``ends``: one past the last node below each node. So the ancestors of a node are those before it
    whose ends are after it, and a chain of nodes that does not branch is a run of equal ends.
    ``by_mask`` is whether they attend by the mask on a GPU too: where gradients flow, and where
    numbers are to equal those of a pass with gradients.
    """

    ends: tuple[int, ...]
    by_mask: bool = False
    _masks: dict[tuple[torch.device, torch.dtype], Tensor] = field(default_factory=dict, init=False)

    @cached_property
    def chains(self) -> tuple[int, ...]:
        """The lengths of the chains, one after another."""
        return tuple(len(list(chain)) for _, chain in groupby(self.ends))

    @cached_property
    def keys(self) -> tuple[tuple[int, ...], ...]:
        """The nodes that each chain attends to: its ancestors and, causally, its nodes."""
        keys, path, start = [], list[int](), 0
        for length in self.chains:
            while path and self.ends[path[-1]] <= start:  # branches that were left for good
                path.pop()
            path += range(start, start + length)
            keys.append(tuple(path))
            start += length
        return tuple(keys)

    @cached_property
    def repetition(self) -> float:
        """How many chains attend to a node, in the mean."""
        return sum(map(len, self.keys)) / len(self.ends)

    def mask(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return what is added to scores, ``[1, 1, n, n]``: 0, or else the lowest number.

        It is made once for all layers of a pass.
        """
        if (device, dtype) not in self._masks:
            nodes = torch.arange(len(self.ends), device=device)
            ends = torch.tensor(self.ends, device=device)
            allowed = (nodes <= nodes.unsqueeze(1)) & (nodes.unsqueeze(1) < ends)
            mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
            mask.masked_fill_(~allowed, torch.finfo(dtype).min)
            self._masks[device, dtype] = mask[None, None]
        return self._masks[device, dtype]

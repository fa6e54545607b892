"""The cache of keys and values while sampling: allocated once, instead of copied at every token."""

from __future__ import annotations

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ethosteer.models.base import SharedBase


class PreallocatedLayer(DynamicLayer):
    """A cache layer that is allocated once at full length.

    With ``slot [1]``, the one token of an update is written at that index, and the states of the
    whole capacity are returned: no shape changes from token to token.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.slot: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Append states ``[rows, heads, tokens, size]``; return all so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._stored = [
                states.new_empty(*states.shape[:2], self.capacity, states.shape[3])
                for states in (key_states, value_states)
            ]
        if self.slot is not None:
            self.keys, self.values = self._stored
            for stored, states in zip(self._stored, (key_states, value_states), strict=True):
                stored.index_copy_(2, self.slot, states)
            return self.keys, self.values
        before = self.get_seq_length()
        after = before + key_states.shape[2]
        for stored, states in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, before:after] = states
        self.keys, self.values = (stored[:, :, :after] for stored in self._stored)
        return self.keys, self.values

    def fix(self, slot: Tensor) -> None:
        """Write the tokens to come at ``slot``, and return the whole capacity from now on."""
        for stored in self._stored:
            # a mask takes no weight from numbers, but what was never written may be nan
            stored[:, :, self.get_seq_length() :] = 0
        self.keys, self.values = self._stored
        self.slot = slot

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows at ``indices``."""
        length = self.get_seq_length()
        self._stored = [stored[indices] for stored in self._stored]
        self.keys, self.values = (stored[:, :, :length] for stored in self._stored)


def make_cache(base: SharedBase, capacity: int) -> DynamicCache:
    """Make a cache for ``capacity`` tokens; layers of another kind stay transformers' own."""
    cache = DynamicCache(config=base.model.config)
    cache.layers = [
        PreallocatedLayer(capacity) if type(layer) is DynamicLayer else layer
        for layer in cache.layers
    ]
    return cache

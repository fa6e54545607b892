"""Answers that grow together, token by token; on a GPU a token is one CUDA graph.

A token launches thousands of small operations, which take a GPU less time than Python takes to
launch them. So where a base allows it (``SharedBase.captures``), all shapes are fixed after the
prompt: the cache is read at full length under a mask, and what changes changes in place. The
operations of one token are then recorded once and replayed by one launch.
Off with ``captures`` False, with the same results but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from ethosteer.models.base import SharedBase
from ethosteer.models.cache import PreallocatedLayer, make_cache


class Rows:
    """Rows of text that grow by a token at a time, and the cache of what was read of them.

    Prompts are left-padded, so that all rows grow at the same column; positions count real tokens
    only. ``inputs`` and ``positions`` ``[R, tokens]`` are those to be read next, ``mask`` is what
    may be attended to: ``[R, columns]``, and ``[R, 1, 1, capacity]`` once shapes are fixed.
    """

    def __init__(
        self, base: SharedBase, prompts: Sequence[Sequence[int]], arms: int, new_tokens: int
    ) -> None:
        width = max(map(len, prompts))
        padded = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        is_real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        self.base = base
        self.capacity = width + new_tokens
        self.inputs = torch.tensor(padded, device=base.device).repeat(arms, 1)
        self.mask = torch.tensor(is_real, device=base.device).repeat(arms, 1)
        self.positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)
        self.cache = make_cache(base, self.capacity)
        self.slot: Tensor | None = None

    def read(self) -> Tensor:
        """Read the inputs; return the last hidden state of every row, ``[R, hidden]``."""
        with self.base.precision(), self.base.fine_tuned():
            states: Tensor = self.base.model.get_decoder()(
                input_ids=self.inputs,
                attention_mask=self.mask,
                position_ids=self.positions,
                past_key_values=self.cache,
                use_cache=True,
            ).last_hidden_state
        return states[:, -1]

    def append(self, tokens: Tensor) -> None:
        """Let ``tokens [R]`` be read next."""
        if self.slot is not None:
            self.slot += 1
            self.positions += 1
            self.inputs.copy_(tokens.unsqueeze(1))
            self.mask.index_fill_(3, self.slot, value=True)
            return
        self.inputs = tokens.unsqueeze(1)
        self.positions = self.positions[:, -1:] + 1
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)

    def fix(self) -> None:
        """Fix all shapes, after the prompt and its next token; for caches of one kind only."""
        columns = self.mask.shape[1]
        mask = functional.pad(self.mask.bool(), (0, self.capacity - columns))
        self.mask = mask[:, None, None].clone()
        self.inputs = self.inputs.clone()
        self.slot = torch.tensor([columns - 1], device=self.inputs.device)
        for layer in self.cache.layers:
            assert isinstance(layer, PreallocatedLayer)
            layer.fix(self.slot)

    def select(self, indices: Tensor) -> None:
        """Keep the rows at ``indices``."""
        self.cache.batch_select_indices(indices)
        self.inputs, self.positions = self.inputs[indices], self.positions[indices]
        self.mask = self.mask[indices]


class Captured:
    """A step that ``device`` repeats by one launch: the first call takes it, the second records it.

    A step may change tensors in place only, and must not wait for the device.
    """

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self.step = step
        self.device = device
        self.is_ready = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Take the step."""
        # by name, as a base need not be on the current GPU
        stream, current = _stream(self.device), torch.cuda.current_stream(self.device)
        if not self.is_ready:
            # libraries set up here what they may not while recording
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                self.step()
            current.wait_stream(stream)
            self.is_ready = True
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=stream):
                self.step()  # records only
        self.graph.replay()


@lru_cache(maxsize=1)
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)

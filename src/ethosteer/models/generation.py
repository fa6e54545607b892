"""Sampling responses from every arm at once, with one cache and shared noise.

Prompts are left-padded, so that all rows grow at the same column; positions count real tokens only.
Sampling is Gumbel-max with noise per (row, token, vocabulary entry) that is the same in every arm:
arms that agree on the next token's distribution sample the same token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ethosteer.models.base import SharedBase
from ethosteer.models.fast.budget import passes, sampling_rows

STILL_OPEN = 0.75
"""Finished rows leave the batch once no more than this share of it goes on."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a response is drawn.

    Each row's limit is drawn from ``min_new_tokens..max_new_tokens``. Unless ``ignore_eos``, a row
    ends at its EOS, which stays part of it. ``greedy`` takes the likeliest token instead.
    """

    min_new_tokens: int
    max_new_tokens: int
    ignore_eos: bool = False
    temperature: float = 1.0
    greedy: bool = False

    def scored_part(self, response: list[int], eos: int | None) -> list[int]:
        """Return what a reward model reads of a response: up to its stop token, without it."""
        ended = not self.ignore_eos and response[-1] == eos
        return response[:-1] if ended else response


class RoomyLayer(DynamicLayer):
    """A cache layer that is made once at full length, instead of copied at every token."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write new states behind those that are there; return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._stored = [self._blank(states) for states in (key_states, value_states)]
        before = self.get_seq_length()
        after = before + key_states.shape[2]
        for stored, states in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, before:after] = states
        self.keys, self.values = (stored[:, :, :after] for stored in self._stored)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        length = self.get_seq_length()
        self._stored = [stored[indices] for stored in self._stored]
        self.keys, self.values = (stored[:, :, :length] for stored in self._stored)

    def _blank(self, states: Tensor) -> Tensor:
        rows, heads, _, size = states.shape
        return states.new_empty(rows, heads, self.room, size)


def make_cache(base: SharedBase, room: int) -> DynamicCache:
    """Make a cache for up to ``room`` tokens; layers of another kind stay transformers' own."""
    cache = DynamicCache(config=base.model.config)
    cache.layers = [
        RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


Watch = Callable[[Tensor, int, Tensor, Tensor, Tensor], None]
"""Sees each new token: (rows, column, last hidden state, logits, chosen token)."""


@torch.no_grad()
def generate(
    base: SharedBase,
    prompts: Sequence[Sequence[int]],
    arms: int,
    sampling: Sampling,
    noise: torch.Generator,
    watch: Watch | None = None,
) -> list[list[int]]:
    """Answer the same prompts with every arm of the bank in use (``arms`` = 1 for the bare base).

    Returns ``arms * len(prompts)`` responses, arm by arm. ``noise`` is a CPU generator, so that a
    seed means the same on every device; each prompt has noise of its own, whatever runs beside it.
    As many prompts run at once as the memory for their cache allows.
    """
    rows = len(prompts)
    low, high = sampling.min_new_tokens, sampling.max_new_tokens
    limits = torch.randint(low, high + 1, (rows,), generator=noise)
    seeds = torch.randint(2**62, (rows,), generator=noise).tolist()
    batch = _Batch(
        base,
        prompts,
        arms,
        sampling,
        limits.to(base.device).repeat(arms),
        [torch.Generator().manual_seed(seed) for seed in seeds],
        torch.zeros(arms * rows, high, dtype=torch.long, device=base.device),
        torch.zeros(arms * rows, dtype=torch.long, device=base.device),
        watch,
    )
    at_once = max(1, sampling_rows(base, max(map(len, prompts)) + high) // arms)
    by_length = sorted(range(rows), key=lambda row: -len(prompts[row]))  # alike, so little padding
    for chosen in passes(by_length, lambda _: 1, at_once):
        batch.answer(chosen)
    tokens, lengths = batch.sampled.tolist(), batch.lengths.tolist()
    return [row[:length] for row, length in zip(tokens, lengths, strict=True)]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Prompts being answered: ``limits``, ``sampled`` and ``lengths`` have a row per answer."""

    base: SharedBase
    prompts: Sequence[Sequence[int]]
    arms: int
    sampling: Sampling
    limits: Tensor
    noise: Sequence[torch.Generator]
    sampled: Tensor
    lengths: Tensor
    watch: Watch | None

    def answer(self, chosen: Sequence[int]) -> None:
        """Answer some prompts, by their numbers, with every arm; those answered leave the batch."""
        device, count = self.base.device, len(self.prompts)
        own = [self.prompts[index] for index in chosen]
        width = max(map(len, own))
        fill = [[0] * (width - len(prompt)) for prompt in own]
        tokens = torch.tensor([[*f, *p] for f, p in zip(fill, own, strict=True)], device=device)
        mask = torch.tensor(
            [[*f, *[1] * len(p)] for f, p in zip(fill, own, strict=True)], device=device
        ).repeat(self.arms, 1)
        step_tokens = tokens.repeat(self.arms, 1)
        starts = torch.arange(self.arms).unsqueeze(1) * count
        here = (starts + torch.tensor(chosen)).flatten().to(device)  # answers that are in the batch
        is_open = torch.ones(len(here), dtype=torch.bool, device=device)
        decoder = self.base.model.get_decoder()
        cache = make_cache(self.base, width + self.sampling.max_new_tokens)
        for column in range(self.sampling.max_new_tokens):
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -step_tokens.shape[1] :]
            with self.base.coarser():
                hidden = decoder(
                    input_ids=step_tokens,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                ).last_hidden_state[:, -1]
            logits = self.base.logits(hidden)
            taken = self._choose(logits, here)
            if self.watch is not None:
                self.watch(here, column, hidden, logits, taken)
            self.sampled[here, column] = taken
            self.lengths[here] += is_open
            is_open &= self.lengths[here] < self.limits[here]
            if not self.sampling.ignore_eos:
                is_open &= taken != self.base.tokenizer.eos_token_id
            if not is_open.any():
                return
            step_tokens = taken.unsqueeze(1)
            mask = torch.cat([mask, mask.new_ones(len(here), 1)], dim=1)
            wanted = is_open.view(self.arms, -1).any(dim=0).repeat(self.arms)
            if int(wanted.sum()) <= STILL_OPEN * len(here):
                kept = wanted.nonzero().squeeze(1)
                cache.batch_select_indices(kept)
                here, is_open = here[kept], is_open[kept]
                mask, step_tokens = mask[kept], step_tokens[kept]

    def _choose(self, logits: Tensor, here: Tensor) -> Tensor:
        """Pick the next token of the answers ``here``: ``[R, vocabulary]`` -> ``[R]``."""
        scores = logits.float() / self.sampling.temperature
        if not self.sampling.greedy:
            prompts = (here[: len(here) // self.arms] % len(self.prompts)).tolist()
            uniform = torch.empty(len(prompts), logits.shape[-1])
            for row, prompt in zip(uniform, prompts, strict=True):
                row.uniform_(generator=self.noise[prompt])
            gumbel = -(-uniform.clamp(min=1e-20).log()).log()
            scores = scores + gumbel.to(scores.device).repeat(self.arms, 1)
        return scores.argmax(dim=-1)

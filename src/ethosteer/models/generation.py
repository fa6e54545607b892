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
    seed means the same on every device. Prompts that every arm has answered leave the batch.
    """
    rows, device = len(prompts), base.device
    width = max(len(prompt) for prompt in prompts)
    tokens = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor(
        [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device
    ).repeat(arms, 1)
    limits = torch.randint(
        sampling.min_new_tokens, sampling.max_new_tokens + 1, (rows,), generator=noise
    ).to(device)
    limits = limits.repeat(arms)
    cache = make_cache(base, width + sampling.max_new_tokens)
    step_tokens = tokens.repeat(arms, 1)
    lengths = torch.zeros(arms * rows, dtype=torch.long, device=device)
    sampled = torch.zeros(arms * rows, sampling.max_new_tokens, dtype=torch.long, device=device)
    is_open = torch.ones(arms * rows, dtype=torch.bool, device=device)
    here = torch.arange(arms * rows, device=device)  # the rows that are in the batch
    decoder = base.model.get_decoder()
    for column in range(sampling.max_new_tokens):
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -step_tokens.shape[1] :]
        hidden = decoder(
            input_ids=step_tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        logits = base.logits(hidden)
        chosen = _choose(logits, here % rows, rows, sampling, noise)
        if watch is not None:
            watch(here, column, hidden, logits, chosen)
        sampled[here, column] = chosen
        lengths[here] += is_open[here]
        is_open &= lengths < limits
        if not sampling.ignore_eos:
            is_open[here] &= chosen != base.tokenizer.eos_token_id
        if not is_open.any():
            break
        step_tokens = chosen.unsqueeze(1)
        mask = torch.cat([mask, mask.new_ones(len(here), 1)], dim=1)
        wanted = is_open.view(arms, rows).any(dim=0).repeat(arms)[here]
        if int(wanted.sum()) <= STILL_OPEN * len(here):
            kept = wanted.nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            here, mask, step_tokens = here[kept], mask[kept], step_tokens[kept]
    return [row[:length] for row, length in zip(sampled.tolist(), lengths.tolist(), strict=True)]


def _choose(
    logits: Tensor, prompts: Tensor, rows: int, sampling: Sampling, noise: torch.Generator
) -> Tensor:
    """Pick every row's next token: ``[R, vocabulary]`` -> ``[R]``.

    ``prompts [R]`` says which of ``rows`` prompts each row answers: noise belongs to the prompt.
    """
    scores = logits.float() / sampling.temperature
    if not sampling.greedy:
        uniform = torch.rand(rows, logits.shape[-1], generator=noise).clamp(min=1e-20)
        scores = scores - (-uniform.log()).log().to(scores.device)[prompts]
    return scores.argmax(dim=-1)

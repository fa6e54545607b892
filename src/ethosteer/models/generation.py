"""Sampling responses from every arm at once, with one cache and shared noise.

Prompts are left-padded, so that all rows grow at the same column; positions count real tokens only.
Sampling is Gumbel-max with noise per (prompt, token, vocabulary entry) that is the same in every
arm: arms that agree on the next token's distribution sample the same token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.engine.protocol import Completion, Engine, Request
from ethosteer.models.fast.budget import in_passes, passes, sampling_tokens
from ethosteer.models.text import Template

NO_STOP_TOKEN = (
    "base.model: no stop token is known, so no answer could end: its generation_config.json has no "
    "eos_token_id, its tokenizer no EOS, its chat template no end of turn; add one, or set "
    "steer.ignore_eos = true"
)
COMPACT_BELOW = 0.75
"""Finished prompts leave the batch once the others are at most this fraction of it."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are sampled.

    Each row's limit is drawn from ``min_new_tokens..max_new_tokens``. Unless ``ignore_eos``, a row
    ends at a stop token, which stays part of it. ``greedy`` takes the likeliest token instead.
    """

    min_new_tokens: int
    max_new_tokens: int
    ignore_eos: bool = False
    temperature: float = 1.0
    greedy: bool = False

    def stop_ids(self, base: SharedBase) -> frozenset[int]:
        """Return the tokens that end a row: none with ``ignore_eos``.

        Raises InputError where the base has none.
        """
        if self.ignore_eos:
            return frozenset()
        if not base.stop_ids:
            raise InputError(NO_STOP_TOKEN)
        return base.stop_ids

    def scored_rows(
        self,
        base: SharedBase,
        template: Template,
        prompts: Iterable[Sequence[int]],
        responses: Iterable[Sequence[int]],
    ) -> list[list[int]]:
        """Return the rows of sampled responses that a reward model reads, as token ids."""
        stop_ids = self.stop_ids(base)
        return [
            template.sampled_row(prompt, response, stop_ids).ids
            for prompt, response in zip(prompts, responses, strict=True)
        ]


class PreallocatedLayer(DynamicLayer):
    """A cache layer that is allocated once at full length, instead of copied at every token."""

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity

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
        before = self.get_seq_length()
        after = before + key_states.shape[2]
        for stored, states in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, before:after] = states
        self.keys, self.values = (stored[:, :, :after] for stored in self._stored)
        return self.keys, self.values

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


Observer = Callable[[Tensor, int, Tensor, Tensor, Tensor], None]
"""Called for each new token: (rows, column, last hidden states, logits, chosen tokens)."""


@torch.no_grad()
def generate(
    base: SharedBase,
    prompts: Sequence[Sequence[int]],
    arms: int,
    sampling: Sampling,
    noise: torch.Generator,
    observe: Observer | None = None,
) -> list[list[int]]:
    """Answer the same prompts with every arm of the bank in use (``arms`` = 1 for the bare base).

    Returns ``arms * len(prompts)`` responses, arm by arm. ``noise`` is a CPU generator, so that a
    seed means the same on every device; a prompt's noise does not depend on the rest of its batch.
    As many prompts run at once as the memory for their cache allows. ``observe`` sees a prompt's
    tokens anew where memory ran out before, and nothing where the base has an engine.
    """
    if base.engine is not None:
        completions = complete(base.engine, base, prompts, arms, sampling, noise)
        return [completion.tokens for completion in completions]
    count = len(prompts)
    stop_ids = torch.tensor(sorted(sampling.stop_ids(base)), device=base.device)
    longest = sampling.max_new_tokens
    limits, seeds = _draw(sampling, count, noise)
    run = _Run(
        base,
        prompts,
        arms,
        sampling,
        stop_ids,
        limits.to(base.device).repeat(arms),
        seeds,
        torch.zeros(arms * count, longest, dtype=torch.long, device=base.device),
        torch.zeros(arms * count, dtype=torch.long, device=base.device),
        observe,
    )
    size = arms * (max(map(len, prompts)) + longest)  # in the cache, of all answers to a prompt
    for _ in in_passes(
        base,
        "sampling",
        sampling_tokens(base),
        # prompts of about equal length run together, for little padding
        sorted(range(count), key=lambda index: -len(prompts[index])),
        lambda indices, tokens: passes(indices, lambda _: size, tokens),
        lambda indices: [size] * len(indices),
        run.answer,
    ):
        pass
    tokens, lengths = run.tokens.tolist(), run.lengths.tolist()
    return [row[:length] for row, length in zip(tokens, lengths, strict=True)]


def complete(
    engine: Engine,
    base: SharedBase,
    prompts: Sequence[Sequence[int]],
    arms: int,
    sampling: Sampling,
    noise: torch.Generator,
) -> list[Completion]:
    """Answer prompts as ``generate`` does, by an engine; its log-probabilities come with it.

    Limits and seeds are drawn as without an engine, so a prompt's do not depend on its batch.
    """
    stop_ids = sampling.stop_ids(base)
    temperature = 0.0 if sampling.greedy else sampling.temperature
    limits, seeds = _draw(sampling, len(prompts), noise)
    requests = [
        Request(prompt, limit, seed, temperature, stop_ids)
        for prompt, limit, seed in zip(prompts, limits.tolist(), seeds, strict=True)
    ]
    return engine.complete(requests, arms)


def _draw(sampling: Sampling, count: int, noise: torch.Generator) -> tuple[Tensor, list[int]]:
    """Draw the limit of every prompt's answers, and the seed of their noise: ``[count]`` each."""
    shortest, longest = sampling.min_new_tokens, sampling.max_new_tokens
    limits = torch.randint(shortest, longest + 1, (count,), generator=noise)
    return limits, torch.randint(2**62, (count,), generator=noise).tolist()


@dataclass(frozen=True, slots=True)
class _Run:
    """Prompts being answered; ``limits``, ``tokens`` and ``lengths`` have a row for each answer.

    The answer of an arm to a prompt is row ``arm * len(prompts) + prompt``; ``seeds`` are those of
    each prompt's noise.
    """

    base: SharedBase
    prompts: Sequence[Sequence[int]]
    arms: int
    sampling: Sampling
    stop_ids: Tensor
    limits: Tensor
    seeds: Sequence[int]
    tokens: Tensor
    lengths: Tensor
    observe: Observer | None

    def answer(self, indices: Sequence[int]) -> None:
        """Answer the prompts at ``indices`` with every arm, as one batch, from the beginning."""
        device = self.base.device
        prompts = [self.prompts[index] for index in indices]
        width = max(map(len, prompts))
        padded = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        is_real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        inputs = torch.tensor(padded, device=device).repeat(self.arms, 1)
        mask = torch.tensor(is_real, device=device).repeat(self.arms, 1)
        starts = len(self.prompts) * torch.arange(self.arms).unsqueeze(1)
        rows = (starts + torch.tensor(indices)).flatten().to(device)  # answers in the batch
        noise = {index: torch.Generator().manual_seed(self.seeds[index]) for index in indices}
        self.lengths[rows] = 0  # where too little memory ended an earlier try
        is_open = torch.ones(len(rows), dtype=torch.bool, device=device)
        decoder = self.base.model.get_decoder()
        cache = make_cache(self.base, width + self.sampling.max_new_tokens)
        for column in range(self.sampling.max_new_tokens):
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
            with self.base.precision():
                hidden = decoder(
                    input_ids=inputs,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                ).last_hidden_state[:, -1]
            logits = self.base.logits(hidden)
            chosen = self._choose(logits, rows, noise)
            if self.observe is not None:
                self.observe(rows, column, hidden, logits, chosen)
            # A finished row that is still in the batch goes on, but its length stays.
            self.tokens[rows, column] = chosen
            self.lengths[rows] += is_open
            is_open &= self.lengths[rows] < self.limits[rows]
            is_open &= ~torch.isin(chosen, self.stop_ids)
            if not is_open.any():
                return
            inputs = chosen.unsqueeze(1)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            # Selecting rows copies the cache, so it must pay: not for every row that finishes. A
            # prompt stays until all arms have answered it, since arms have blocks of equal size.
            goes_on = is_open.view(self.arms, -1).any(dim=0).repeat(self.arms)
            if int(goes_on.sum()) <= COMPACT_BELOW * len(rows):
                kept = goes_on.nonzero().squeeze(1)
                cache.batch_select_indices(kept)
                rows, is_open, mask, inputs = rows[kept], is_open[kept], mask[kept], inputs[kept]

    def _choose(self, logits: Tensor, rows: Tensor, noise: Mapping[int, torch.Generator]) -> Tensor:
        """Choose the next token of the answers ``rows``: ``[R, vocabulary]`` -> ``[R]``."""
        scores = logits.float() / self.sampling.temperature
        if not self.sampling.greedy:
            prompts = (rows[: len(rows) // self.arms] % len(self.prompts)).tolist()
            uniform = torch.empty(len(prompts), logits.shape[-1])
            for row, prompt in zip(uniform, prompts, strict=True):
                row.uniform_(generator=noise[prompt])
            # the argmax of logits plus Gumbel noise is a draw from their softmax
            gumbel = -(-uniform.clamp(min=1e-20).log()).log()
            scores = scores + gumbel.to(scores.device).repeat(self.arms, 1)
        return scores.argmax(dim=-1)

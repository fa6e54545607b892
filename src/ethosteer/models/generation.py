"""Sampling responses from every arm at once, with one cache and shared noise.

Sampling is Gumbel-max with noise per (prompt, token, vocabulary entry) that is the same in every
arm: arms that agree on the next token's distribution sample the same token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.engine.protocol import Completion, Engine, Request
from ethosteer.models.fast.budget import in_passes, passes, sampling_tokens
from ethosteer.models.fast.decoding import Captured, Rows
from ethosteer.models.noise import gumbel
from ethosteer.models.sharding import agreed
from ethosteer.models.text import Template

NO_STOP_TOKEN = (
    "base.model: no stop token is known, so no answer could end: its generation_config.json has no "
    "eos_token_id, its tokenizer no EOS, its chat template no end of turn; add one, or set "
    "steer.ignore_eos = true"
)
COMPACT_BELOW = 0.75
"""Finished prompts leave the batch once the others are at most this fraction of it."""
COMPACT_CAPTURED = 0.5
"""The same where a token is one CUDA graph, which is recorded anew for a smaller batch."""
CHECK_EVERY = 8
"""Tokens of a CUDA graph between looks whether rows have finished, for which the device waits."""


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


Observer = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]
"""Called for each new token: (rows, column ``[1]``, last hidden states, logits, chosen tokens).

It may only write into tensors that it keeps: on a GPU its operations are recorded and replayed.
"""


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

    Returns ``arms * len(prompts)`` responses, arm by arm. ``noise`` is a CPU generator, from which
    each prompt gets a seed; its noise depends neither on the device nor on the rest of its batch.
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
        limits,
        seeds,
        torch.zeros(arms * count, longest, dtype=torch.long, device=base.device),
        torch.zeros(arms * count, dtype=torch.long, device=base.device),
        observe,
    )
    size = arms * (max(map(len, prompts)) + longest)  # in the cache, of all answers to a prompt
    with base.fine_tuned():  # once, not for every token
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

    Limits and seeds are drawn as without an engine, the same for every arm.
    """
    stop_ids = sampling.stop_ids(base)
    temperature = 0.0 if sampling.greedy else sampling.temperature
    limits, seeds = _draw(sampling, len(prompts), noise)
    requests = [
        Request(prompt, limit, seed, temperature, stop_ids)
        for prompt, limit, seed in zip(prompts, limits.tolist(), seeds.tolist(), strict=True)
    ]
    return engine.complete(requests, arms)


def _draw(sampling: Sampling, count: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the limit of every prompt's answers, and the seed of their noise: ``[count]`` each."""
    shortest, longest = sampling.min_new_tokens, sampling.max_new_tokens
    limits = torch.randint(shortest, longest + 1, (count,), generator=noise)
    return limits, torch.randint(2**62, (count,), generator=noise)


@dataclass(frozen=True, slots=True)
class _Run:
    """Prompts being answered; ``tokens`` and ``lengths`` have a row for each answer.

    The answer of an arm to a prompt is row ``arm * len(prompts) + prompt``; ``limits`` and
    ``seeds`` ``[prompts]`` are those of each prompt's answers and noise.
    """

    base: SharedBase
    prompts: Sequence[Sequence[int]]
    arms: int
    sampling: Sampling
    stop_ids: Tensor
    limits: Tensor
    seeds: Tensor
    tokens: Tensor
    lengths: Tensor
    observe: Observer | None

    def answer(self, indices: Sequence[int]) -> None:
        """Answer the prompts at ``indices`` with every arm, as one batch, from the beginning."""
        captures = self.base.captures
        batch = _Batch(self, indices)
        self.lengths[batch.rows] = 0  # where too little memory ended an earlier try
        take_token: Callable[[], None] = batch.take_token
        for column in range(int(self.limits[list(indices)].max())):
            take_token()
            if captures and column % CHECK_EVERY:
                continue
            if not batch.is_open.any():
                return
            shrunk = batch.drop_answered(COMPACT_CAPTURED if captures else COMPACT_BELOW)
            if captures and column == 0:
                batch.text.fix()
            if captures and (shrunk or column == 0):
                take_token = Captured(batch.take_token, self.base.device)


class _Batch:
    """Answers of a run that grow together.

    rows ``[R]``: their rows in the run; limits, is_open ``[R]``; seeds ``[R / arms]``; column
    ``[1]``: that of the next token, on the device, so that no number is sent there or waited for.
    """

    def __init__(self, run: _Run, indices: Sequence[int]) -> None:
        device, chosen = run.base.device, torch.tensor(indices)
        starts = len(run.prompts) * torch.arange(run.arms).unsqueeze(1)
        self.run = run
        self.rows = (starts + chosen).flatten().to(device)
        self.limits = run.limits[chosen].repeat(run.arms).to(device)
        self.seeds = run.seeds[chosen].to(device)
        self.is_open = torch.ones(len(self.rows), dtype=torch.bool, device=device)
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        prompts = [run.prompts[index] for index in indices]
        self.text = Rows(run.base, prompts, run.arms, run.sampling.max_new_tokens)

    def take_token(self) -> None:
        """Choose the next token of every answer, without waiting for the device."""
        run, rows, column = self.run, self.rows, self.column
        hidden = self.text.read()
        logits = run.base.logits(hidden)
        chosen = agreed(self._choose(logits))
        if run.observe is not None:
            run.observe(rows, column, hidden, logits, chosen)
        # A finished row that is still in the batch goes on, but its length stays.
        run.tokens[rows, column] = chosen
        run.lengths[rows] += self.is_open
        column += 1
        self.is_open &= column < self.limits
        self.is_open &= ~(chosen.unsqueeze(1) == run.stop_ids).any(dim=1)
        self.text.append(chosen)

    def _choose(self, logits: Tensor) -> Tensor:
        """Choose tokens by their logits ``[R, vocabulary]`` -> ``[R]``."""
        sampling = self.run.sampling
        scores = logits.float() / sampling.temperature
        if not sampling.greedy:
            noise = gumbel(self.seeds, self.column, scores.shape[-1])
            scores = scores.view(self.run.arms, *noise.shape) + noise
        return scores.flatten(0, -2).argmax(dim=-1)

    def drop_answered(self, share: float) -> bool:
        """Let answered prompts leave where the others are at most ``share``; return whether so.

        Selecting rows copies the cache, so it must pay: not for every row that finishes. A prompt
        stays until all arms have answered it, since arms have blocks of equal size.
        """
        goes_on = self.is_open.view(self.run.arms, -1).any(dim=0)
        if int(goes_on.sum()) > share * len(goes_on):
            return False
        kept = goes_on.repeat(self.run.arms).nonzero().squeeze(1)
        self.rows, self.limits, self.is_open = (
            self.rows[kept],
            self.limits[kept],
            self.is_open[kept],
        )
        self.seeds = self.seeds[goes_on]
        self.text.select(kept)
        return True

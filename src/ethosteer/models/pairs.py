"""Preference pairs as token rows: batches, passes, and log-likelihoods of responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ethosteer.maths.ppo import token_log_probabilities
from ethosteer.models.base import SharedBase
from ethosteer.models.fast.budget import passes
from ethosteer.models.fast.trees import LARGEST_TREE, pack, row_positions, stack
from ethosteer.models.text import Template
from ethosteer.records import PreferencePair


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair as token rows: each a prompt of ``prompt_tokens`` tokens, then a response."""

    chosen: list[int]
    rejected: list[int]
    prompt_tokens: int
    group: str

    @property
    def response_tokens(self) -> tuple[int, int]:
        """The lengths of both responses."""
        return len(self.chosen) - self.prompt_tokens, len(self.rejected) - self.prompt_tokens

    @property
    def tokens(self) -> int:
        """The tokens to run: the prompt once, and both responses."""
        return len(self.chosen) + len(self.rejected) - self.prompt_tokens


def encode(pairs: Sequence[PreferencePair], template: Template) -> list[EncodedPair]:
    """Encode preference pairs as token rows."""
    encoded = []
    for pair in pairs:
        prompt = template.prompt_ids(pair.turns)
        chosen, rejected = (
            [*prompt, *template.response_ids(pair.turns, response)]
            for response in (pair.chosen, pair.rejected)
        )
        encoded.append(EncodedPair(chosen, rejected, len(prompt), pair.group))
    return encoded


def batches(count: int, size: int, noise: torch.Generator) -> list[list[int]]:
    """One epoch of full batches of ``count`` pairs, in random order."""
    order = torch.randperm(count, generator=noise)
    return [batch.tolist() for batch in order.split(size) if len(batch) == size]


def schedule(
    count: int, size: int, epochs: float, noise: Callable[[int], torch.Generator]
) -> list[list[int]]:
    """Return the batches of all steps: ``epochs`` epochs, perhaps fractional, of ``count`` pairs.

    ``noise(epoch)`` shuffles an epoch. Fewer pairs than ``size`` make one smaller batch.
    """
    whole = math.ceil(epochs)
    size = min(size, count)
    plan = [batch for epoch in range(whole) for batch in batches(count, size, noise(epoch))]
    return plan[: max(1, round(len(plan) * epochs / whole))]


def response_rows(pairs: Sequence[EncodedPair]) -> list[list[int]]:
    """Return the rows of all responses, ``2 * pairs``: a pair's chosen, then its rejected."""
    return [row for pair in pairs for row in (pair.chosen, pair.rejected)]


def pair_passes(pairs: Sequence[EncodedPair], token_budget: int) -> list[list[EncodedPair]]:
    """Cut a batch into passes within a token budget."""
    return passes(pairs, lambda pair: pair.tokens, token_budget)


def response_log_likelihoods(
    base: SharedBase, pairs: Sequence[EncodedPair], dropout: int | None = None
) -> Tensor:
    """Summed log-probabilities of both responses under the adapters in use: ``[pairs, 2]``.

    A pair's dialogue runs once. Gradients flow. ``dropout`` is the seed of dropout masks.
    """
    rows = [tuple(row) for row in response_rows(pairs)]
    starts = [pair.prompt_tokens for pair in pairs for _ in range(2)]
    log_p, row_indices = _response_log_p(base, rows, starts, dropout)
    return log_p.new_zeros(len(rows)).index_add(0, row_indices, log_p).view(-1, 2)


def accumulate_nll(
    base: SharedBase,
    answers: Sequence[tuple[Sequence[int], Sequence[int]]],
    token_budget: int,
    dropout: int | None = None,
) -> float:
    """Add the gradients of the mean negative log-likelihood of answers, and return that mean.

    ``answers`` are (prompt, answer); the mean is over the tokens of all answers, under the adapters
    in use. It is cut into passes within the budget; ``dropout`` is the seed of dropout masks.
    """
    total = sum(len(answer) for _, answer in answers)
    mean = 0.0
    for chunk in passes(answers, lambda pair: len(pair[0]) + len(pair[1]), token_budget):
        rows = [(*prompt, *answer) for prompt, answer in chunk]
        log_p, _ = _response_log_p(base, rows, [len(prompt) for prompt, _ in chunk], dropout)
        loss = -log_p.sum() / total
        loss.backward()
        mean += float(loss.detach())
    return mean


def _response_log_p(
    base: SharedBase, rows: Sequence[tuple[int, ...]], starts: Sequence[int], dropout: int | None
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the tokens of ``rows`` from ``starts`` on, and their rows."""
    trees = pack(rows, base.knee, LARGEST_TREE)
    paths = row_positions(trees)
    predictors: list[int] = []
    targets: list[int] = []
    row_indices: list[int] = []
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        predictors += paths[row][start - 1 : -1]  # a token is predicted at the one before it
        targets += row[start:]
        row_indices += [index] * (len(row) - start)
    packed = stack(trees, base.device, base.model.dtype, dropout)
    hidden = base.hidden_packed(packed, torch.tensor(predictors, device=base.device))[0]
    log_p = token_log_probabilities(base.logits(hidden), torch.tensor(targets, device=base.device))
    return log_p, torch.tensor(row_indices, device=base.device)

"""Preference pairs as token rows: batches, passes, and log-likelihoods of responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ethosteer import processes
from ethosteer.maths.ppo import token_log_probabilities
from ethosteer.models.base import SharedBase
from ethosteer.models.fast.budget import passes, within_memory
from ethosteer.models.fast.trees import LARGEST_TREE, pack, row_positions, stack
from ethosteer.models.sharding import divided, summed
from ethosteer.models.text import Row, Template
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
        chosen, rejected = template.rows(pair.turns, [pair.chosen, pair.rejected])
        prompt_tokens = len(chosen.prompt_ids)
        encoded.append(EncodedPair(chosen.ids, rejected.ids, prompt_tokens, pair.group))
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
    """Cut a batch into passes within a token budget, for all processes."""
    return passes(pairs, lambda pair: pair.tokens, token_budget, processes.count())


def response_log_likelihoods(
    base: SharedBase, pairs: Sequence[EncodedPair], dropout: int | None = None
) -> Tensor:
    """Summed log-probabilities of both responses under the adapters in use: ``[pairs, 2]``.

    A pair's dialogue runs once. Gradients flow. ``dropout`` is the seed of dropout masks.
    """
    rows = [tuple(row) for row in response_rows(pairs)]
    starts = [pair.prompt_tokens for pair in pairs for _ in range(2)]
    masks = [
        [index >= start for index in range(len(row))]
        for row, start in zip(rows, starts, strict=True)
    ]
    log_p, row_indices = _masked_log_p(base, rows, masks, dropout)
    return log_p.new_zeros(len(rows)).index_add(0, row_indices, log_p).view(-1, 2)


def accumulate_nll(
    base: SharedBase,
    rows: Sequence[Row],
    token_budget: int,
    dropout: int | None = None,
    undo: Callable[[], None] = lambda: None,
) -> float:
    """Add the gradients of the mean negative log-likelihood of rows, and return that mean.

    The mean is over the tokens of all loss masks, under the adapters in use. It is cut into passes
    within the budget; ``dropout`` is the seed of dropout masks. ``undo`` clears the gradients where
    memory runs out, and the passes are repeated.
    """
    total = sum(sum(row.loss_mask) for row in rows)

    def accumulate(tokens: int) -> float:
        mean = 0.0
        chunks = passes(rows, lambda row: len(row.loss_mask), tokens, processes.count())
        for chunk, weight in divided(chunks):
            ids, masks = [tuple(row.ids) for row in chunk], [row.loss_mask for row in chunk]
            log_p, _ = _masked_log_p(base, ids, masks, dropout)
            loss = -weight * log_p.sum() / total
            loss.backward()
            mean += float(loss.detach())
        return summed([mean])[0]

    sizes = [len(row.loss_mask) for row in rows]
    return within_memory(base, "training", token_budget, sizes, accumulate, undo)


def _masked_log_p(
    base: SharedBase,
    rows: Sequence[tuple[int, ...]],
    masks: Sequence[Sequence[bool]],
    dropout: int | None,
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the tokens of ``rows`` in ``masks``, and their rows' indices."""
    trees = pack(rows, base.knee, LARGEST_TREE)
    paths = row_positions(trees)
    predictors: list[int] = []
    targets: list[int] = []
    row_indices: list[int] = []
    for index, (row, mask) in enumerate(zip(rows, masks, strict=True)):
        positions = [position for position, is_learned in enumerate(mask) if is_learned]
        # a token is predicted at the one before it
        predictors += [paths[row][position - 1] for position in positions]
        targets += [row[position] for position in positions]
        row_indices += [index] * len(positions)
    # the reference's numbers are compared with the policy's, which have gradients
    packed = stack(trees, base.device, dropout, by_mask=True)
    hidden = base.hidden_packed(packed, torch.tensor(predictors, device=base.device))[0]
    log_p = token_log_probabilities(base.logits(hidden), torch.tensor(targets, device=base.device))
    return log_p, torch.tensor(row_indices, device=base.device)

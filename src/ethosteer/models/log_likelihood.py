"""Log-likelihoods of continuations, as lm-evaluation-harness defines them, for all arms at once.

Every distinct token row runs once, and rows that begin alike share their common beginning (see
fast/trees.py), as continuations of one token share their whole context. Logits are computed at
continuation positions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ethosteer.errors import InputError
from ethosteer.maths.ppo import token_log_probabilities
from ethosteer.models.base import SharedBase
from ethosteer.models.fast.trees import (
    Row,
    Tree,
    row_positions,
    run_rows,
    stack,
)
from ethosteer.models.requests import encode_pairs, fit, in_chat
from ethosteer.models.text import Template
from ethosteer.records import Item

POSITIONS_AT_ONCE = 256
"""Rows of logits at once: few enough to stay in a processor's cache."""


@dataclass(frozen=True, slots=True)
class Request:
    """One continuation to score: the input row and the tokens its last positions should predict."""

    item: int
    choice: int
    row: Row
    targets: tuple[int, ...]


class Score(NamedTuple):
    """One request's summed log-probability under every arm, ``[arms]``.

    ``is_greedy``, ``[arms]``: whether each of its tokens is the likeliest; None where not asked.
    """

    request: Request
    log_likelihoods: NDArray[np.float64]
    is_greedy: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All requests of a benchmark, made once for all models; ``cut``: whether an item lost text."""

    requests: tuple[Request, ...]
    cut: tuple[bool, ...]


def plan_requests(base: SharedBase, items: Sequence[Item], chat: Template | None = None) -> Plan:
    """Tokenise every continuation of ``items`` once; items with token ids keep those.

    With a ``chat`` template every request is written by it. Raises InputError for an item with a
    token that has no embedding.
    """
    fitted = []
    for item in items:
        longest = 0
        if item.trim is not None:
            longest = max(len(base.tokenizer(choice).input_ids) for choice in item.continuations)
        fitted.append(fit(base.tokenizer, item, base.max_length, longest + 1, chat))
    pairs = [
        pair
        for item in in_chat(fitted, chat)
        if not item.token_ids
        for pair in zip(item.contexts, item.continuations, strict=True)
    ]
    encoded = iter(encode_pairs(base.tokenizer, pairs))
    requests, cut = [], []
    for index, (item, original) in enumerate(zip(fitted, items, strict=True)):
        is_cut = item is not original
        choices = item.token_ids or islice(encoded, len(item.continuations))
        for choice, (before, after) in enumerate(choices):
            # The last token is only predicted: a row of max_length tokens can score one more.
            is_cut = is_cut or len(before) + len(after) > base.max_length + 1
            check_embedded(base, item, (*before, *after))
            row = (*before, *after)[-(base.max_length + 1) :][:-1]
            requests.append(Request(index, choice, row, tuple(after)[-len(row) :]))
        cut.append(is_cut)
    return Plan(tuple(requests), tuple(cut))


def check_embedded(base: SharedBase, item: Item, ids: Iterable[int]) -> None:
    """Raise InputError where an item's text spells a token that has no embedding."""
    if (largest := max(ids, default=0)) >= base.token_rows:
        raise InputError(
            f"item {item.id}: its text spells the special token "
            f"{base.tokenizer.convert_ids_to_tokens(largest)!r}, for which the base has no "
            "embedding; change the text, or remove the token from the tokenizer"
        )


@torch.no_grad()
def log_likelihoods(
    base: SharedBase, plan: Plan, arms: int, tokens_per_batch: int, *, greedy: bool = False
) -> Iterator[list[Score]]:
    """Score a plan's requests under every arm of the bank in use (1 for the bare base).

    Yields scores a batch at a time; with ``greedy`` they say which continuations are greedy.
    """
    rows: dict[Row, list[Request]] = {}
    for request in plan.requests:
        rows.setdefault(request.row, []).append(request)
    yield from run_rows(
        base,
        "evaluation",
        rows,
        tokens_per_batch,
        lambda trees: _score(base, trees, rows, arms, greedy=greedy),
        arms,
    )


def _score(
    base: SharedBase,
    batch: Sequence[Tree],
    rows: Mapping[Row, Sequence[Request]],
    arms: int,
    *,
    greedy: bool,
) -> list[Score]:
    """Run one batch of trees and sum each request's target log-probabilities."""
    # Requests may share (position, target) pairs: each distinct one is scored once.
    scored: dict[tuple[int, int], int] = {}  # (position in the stream, target) -> its index
    requests: list[Request] = []
    indices: list[int] = []  # of each request's pairs, request after request
    starts: list[int] = []  # of each request in ``indices``
    for row, path in row_positions(batch).items():
        for request in rows[row]:
            requests.append(request)
            starts.append(len(indices))
            predictors = path[len(row) - len(request.targets) :]
            indices += [
                scored.setdefault(pair, len(scored))
                for pair in zip(predictors, request.targets, strict=True)
            ]
    positions, targets = torch.tensor(list(scored)).to(base.device).unbind(dim=1)
    packed = stack(batch, base.device).repeat(arms)
    hidden = base.hidden_packed(packed, positions).flatten(end_dim=1)
    chunks = zip(
        hidden.split(POSITIONS_AT_ONCE), targets.repeat(arms).split(POSITIONS_AT_ONCE), strict=True
    )
    log_p, likeliest = [], []
    for states, tokens in chunks:
        logits = base.logits(states)
        log_p.append(token_log_probabilities(logits, tokens))
        if greedy:
            likeliest.append(logits.argmax(dim=-1) == tokens)
    by_arm = torch.cat(log_p).double().view(arms, -1).cpu().numpy()
    sums = np.add.reduceat(by_arm[:, indices], starts, axis=1).T
    if not greedy:
        return list(map(Score, requests, sums))
    is_likeliest = torch.cat(likeliest).view(arms, -1).cpu().numpy()
    whole = np.logical_and.reduceat(is_likeliest[:, indices], starts, axis=1).T
    return list(map(Score, requests, sums, whole))

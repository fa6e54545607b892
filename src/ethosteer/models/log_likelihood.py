"""Log-likelihoods of continuations, as lm-evaluation-harness defines them, for all arms at once.

Every distinct token row runs once, and rows that begin alike share their common beginning (see
fast/trees.py), as continuations of one token share their whole context. Logits are computed at
continuation positions only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from ethosteer.maths.ppo import token_log_probabilities
from ethosteer.models.base import SharedBase
from ethosteer.models.fast.trees import LARGEST_TREE, Row, Tree, batches, pack, row_positions, stack
from ethosteer.records import Item

POSITIONS_AT_ONCE = 256
"""Rows of logits at once: few enough to stay in a processor's cache."""
GAP = " ... "
"""Replaces the text that is cut out of an item that is too long."""


@dataclass(frozen=True, slots=True)
class Request:
    """One continuation to score: the input row and the tokens its last positions should predict."""

    item: int
    choice: int
    row: Row
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All requests of a benchmark, made once for all models; ``cut``: whether an item lost text."""

    requests: tuple[Request, ...]
    cut: tuple[bool, ...]


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> list[tuple[list[int], list[int]]]:
    """Encode (context, continuation) pairs as lm-evaluation-harness does, every text once.

    Trailing spaces of the context move to the continuation, and the continuation's ids are what the
    whole text has beyond the context's. An empty context becomes BOS, or EOS where there is none.
    """
    texts = {text for context, end in pairs for text in (context.rstrip(), context + end)} - {""}
    known = sorted(texts)
    ids = dict(zip(known, tokenizer(known).input_ids, strict=True)) if known else {}
    prefix = tokenizer.bos_token_id
    prefix = int(tokenizer.eos_token_id if prefix is None else prefix)

    def encode(context: str, end: str) -> tuple[list[int], list[int]]:
        whole: list[int] = ids[context + end]
        if context:
            before: list[int] = ids[context.rstrip()]
            return before, whole[len(before) :]
        return (whole[:1], whole[1:]) if whole[0] == prefix else ([prefix], whole)

    return [encode(context, end) for context, end in pairs]


def fit(tokenizer: PreTrainedTokenizerBase, item: Item, max_length: int, reserved: int) -> Item:
    """Cut the middle of an item's ``trim`` span until contexts leave ``reserved`` tokens free.

    Returns the item itself where it fits or has no span.
    """
    if item.trim is None:
        return item
    start, end = item.trim
    shorter = item
    keep = end - start
    while keep > 0:
        longest = max(len(tokenizer(context).input_ids) for context in shorter.contexts)
        if longest + reserved <= max_length:
            break
        # in proportion to the excess, but by at least 8 characters, so that the loop ends
        keep = max(0, min(int(keep * (max_length - reserved) / longest), keep - 8))
        head, tail = (keep + 1) // 2, keep // 2
        shorter = replace(
            item,
            contexts=tuple(
                context[: start + head] + GAP + context[end - tail :] for context in item.contexts
            ),
        )
    return shorter


def plan_requests(base: SharedBase, items: Sequence[Item]) -> Plan:
    """Tokenise every continuation of ``items`` once."""
    fitted = []
    for item in items:
        longest = 0
        if item.trim is not None:
            longest = max(len(base.tokenizer(choice).input_ids) for choice in item.continuations)
        fitted.append(fit(base.tokenizer, item, base.max_length, longest + 1))
    pairs = [
        pair for item in fitted for pair in zip(item.contexts, item.continuations, strict=True)
    ]
    encoded = iter(encode_pairs(base.tokenizer, pairs))
    requests, cut = [], []
    for index, (item, original) in enumerate(zip(fitted, items, strict=True)):
        is_cut = item is not original
        for choice, (before, after) in enumerate(islice(encoded, len(item.continuations))):
            # The last token is only predicted: a row of max_length tokens can score one more.
            is_cut = is_cut or len(before) + len(after) > base.max_length + 1
            row = tuple((before + after)[-(base.max_length + 1) :][:-1])
            requests.append(Request(index, choice, row, tuple(after)[-len(row) :]))
        cut.append(is_cut)
    return Plan(tuple(requests), tuple(cut))


@torch.no_grad()
def log_likelihoods(
    base: SharedBase, plan: Plan, arms: int, tokens_per_batch: int
) -> Iterator[list[tuple[Request, NDArray[np.float64]]]]:
    """Score a plan's requests under every arm of the bank in use (1 for the bare base).

    Yields, a batch at a time, requests with their summed log-probabilities, ``[arms]`` each.
    """
    rows: dict[Row, list[Request]] = {}
    for request in plan.requests:
        rows.setdefault(request.row, []).append(request)
    trees = pack_requests(base, plan, arms, tokens_per_batch)
    for batch in batches(trees, tokens_per_batch // arms):
        yield _score(base, batch, rows, arms)


def pack_requests(base: SharedBase, plan: Plan, arms: int, tokens_per_batch: int) -> list[Tree]:
    """Pack a plan's rows into trees, where the base runs them."""
    rows = (request.row for request in plan.requests)
    return pack(rows, base.knee, min(tokens_per_batch // arms, LARGEST_TREE))


def _score(
    base: SharedBase, batch: Sequence[Tree], rows: Mapping[Row, Sequence[Request]], arms: int
) -> list[tuple[Request, NDArray[np.float64]]]:
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
    packed = stack(batch, base.device, base.model.dtype).repeat(arms)
    hidden = base.hidden_packed(packed, positions).flatten(end_dim=1)
    chunks = zip(
        hidden.split(POSITIONS_AT_ONCE), targets.repeat(arms).split(POSITIONS_AT_ONCE), strict=True
    )
    log_p = torch.cat(
        [token_log_probabilities(base.logits(states), tokens) for states, tokens in chunks]
    )
    by_arm = log_p.double().view(arms, -1).cpu().numpy()
    sums = np.add.reduceat(by_arm[:, indices], starts, axis=1)
    return list(zip(requests, sums.T, strict=True))

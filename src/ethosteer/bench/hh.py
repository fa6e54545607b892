"""Prompts and preference pairs to measure with: published HH-RLHF dialogues as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ethosteer import catalog
from ethosteer.data.readers import Row
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.pairs import EncodedPair

ASSISTANT = "\n\nAssistant:"


def hh_prompts(
    base: SharedBase, origin: Origin, count: int, prompt_tokens: int, new_tokens: int
) -> list[list[int]]:
    """Return the token ids of the first ``count`` dialogues of at most ``prompt_tokens`` tokens.

    A prompt ends where the dialogue's last answer begins. Raises InputError where there are too
    few, or a prompt with ``new_tokens`` more exceeds the model's context.
    """
    prompts: list[list[int]] = []
    for row in _hh_rows(origin):
        text = row.text("chosen").rsplit(ASSISTANT, 1)[0] + ASSISTANT
        ids = base.tokenizer(text).input_ids
        if len(ids) <= prompt_tokens:
            prompts.append(ids)
        if len(prompts) == count:
            break
    else:
        raise InputError(
            f"bench ppo: {origin.folder} has {len(prompts)} prompts of at most {prompt_tokens} "
            f"tokens, and {count} are needed; lower --steps or --batch"
        )
    longest = max(map(len, prompts))
    if longest + new_tokens > base.max_length:
        raise InputError(
            f"bench ppo: a prompt of {longest} tokens and {new_tokens} new tokens exceed the "
            f"model's context of {base.max_length}; lower --prompt-tokens or --new-tokens"
        )
    return prompts


def hh_pairs(base: SharedBase, origin: Origin, count: int) -> list[EncodedPair]:
    """Encode the first ``count`` published pairs, less those that do not fit the model's context.

    Raises InputError where none fits.
    """
    pairs: list[EncodedPair] = []
    for row in islice(_hh_rows(origin), count):
        chosen, rejected = (
            base.tokenizer(row.text(name)).input_ids for name in ("chosen", "rejected")
        )
        if chosen == rejected or max(len(chosen), len(rejected)) > base.max_length:
            continue
        differ = (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b)
        shared = next(differ, min(len(chosen), len(rejected)))
        pairs.append(EncodedPair(chosen, rejected, shared, str(len(pairs))))
    if not pairs:
        raise InputError(
            f"bench reward: of the first {count} pairs in {origin.folder} none fits the model "
            f"({base.max_length} tokens)"
        )
    return pairs


def _hh_rows(origin: Origin) -> Iterator[Row]:
    """Yield the published training pairs of harmless-base."""
    dataset = catalog.dataset("harmless")
    return dataset.rows(origin.locate(dataset.source))

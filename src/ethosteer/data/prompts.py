"""Steering prompts, taken from preference pairs or from conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ethosteer.data.splits import split_of, unit_hash
from ethosteer.errors import InputError
from ethosteer.records import PreferenceSet, Split, Turn, parse_dialogue

if TYPE_CHECKING:
    from ethosteer.models.text import Template


def steering_prompts(
    sets: Sequence[PreferenceSet], split: Split, template: Template, max_tokens: int
) -> list[list[Turn]]:
    """Mix the datasets' prompts of one split in equal parts, so that no dataset prevails.

    A set with fewer distinct prompts (utilitarianism has one) repeats them. Raises InputError where
    no prompt has ``max_tokens`` or fewer.
    """
    by_set = []
    for curated in sets:
        distinct = dict.fromkeys(pair.prompt for pair in curated.split(split))
        fitting = [
            prompt
            for prompt in distinct
            if len(template.prompt_ids(parse_dialogue(prompt))) <= max_tokens
        ]
        if fitting:
            by_set.append(sorted(fitting, key=unit_hash))
    if not by_set:
        raise InputError("data.max_prompt_tokens: no prompt of the arms is short enough")
    return [
        parse_dialogue(prompts[index % len(prompts)])
        for index in range(max(map(len, by_set)))
        for prompts in by_set
    ]


def first_turns(
    conversations: Sequence[Sequence[Turn]], split: Split, template: Template, max_tokens: int
) -> list[list[Turn]]:
    """Take the opening question of each conversation of one split as a prompt."""
    openings = dict.fromkeys(conversation[0][1] for conversation in conversations)
    return [
        [("human", text)]
        for text in openings
        if split_of(text) == split and len(template.prompt_ids([("human", text)])) <= max_tokens
    ]

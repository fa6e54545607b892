"""What a preference dataset is: one file beside this one, with one public object DATASET.

The helpers below are what several of them share: pairs from good and bad answers to one scenario,
and prompts that hold a dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import TypeVar

from ethosteer.data.sources import Row, Source
from ethosteer.records import PreferencePair, Turn

T = TypeVar("T")

_TURN = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row, or a pair, that is of no use, and why: ``empty``, ``tied``, ``no contrast``, ..."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A preference dataset: its published file, and how its rows become pairs.

    ``rows(path)`` reads the published file; ``pairs(rows, pairs_per_group)`` yields PreferencePair
    and Dropped records, scenario by scenario in the file's order. Either raises InputError for a
    malformed row. ``pairs_per_group`` bounds the pairs made of one scenario's answers; a dataset
    published as pairs keeps them all. ``examples`` is the text of a small valid file (three to five
    invented rows); the conformance tests read it.
    """

    name: str
    title: str
    source: Source
    rows: Callable[[Path], Iterator[Row]]
    pairs: Callable[[Iterable[Row], int], Iterator[PreferencePair | Dropped]]
    examples: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a scenario, marked good or bad by the published label."""

    row: int
    scenario: str
    prompt: str
    text: str
    good: bool


def contrast(
    name: str, answers: Iterable[Answer], pairs_per_group: int
) -> Iterator[PreferencePair | Dropped]:
    """Pair good answers with bad answers to the same scenario, which names the group.

    A scenario's rows need not stand together in the file.
    """
    scenarios: dict[str, list[Answer]] = {}
    for answer in answers:
        scenarios.setdefault(answer.scenario, []).append(answer)
    for group, members in scenarios.items():
        good = [answer for answer in members if answer.good]
        bad = [answer for answer in members if not answer.good]
        if not good or not bad:
            yield from (Dropped(answer.row, "no contrast") for answer in members)
        for chosen, rejected in spread(good, bad, pairs_per_group):
            if chosen.text == rejected.text:
                yield Dropped(chosen.row, "tied")
                continue
            yield PreferencePair(
                id=f"{name}-{chosen.row}-{rejected.row}",
                prompt=chosen.prompt,
                chosen=chosen.text,
                rejected=rejected.text,
                group=group,
                row=chosen.row,
            )


def spread(left: Sequence[T], right: Sequence[T], limit: int) -> list[tuple[T, T]]:
    """Return up to ``limit`` distinct pairs that use the items of both sides evenly.

    Both sides are cycled through together; each time the cycles meet, one of them moves on by one.
    """
    if not left or not right:
        return []
    meet = lcm(len(left), len(right))
    return [
        (left[i % len(left)], right[(i + i // meet) % len(right)])
        for i in range(min(limit, len(left) * len(right)))
    ]


def turns(prompt: str) -> list[Turn]:
    r"""Split a prompt into its turns.

    A dialogue is written ``\n\nHuman: ...\n\nAssistant: ...\n\nHuman: ...``; any text that
    does not start so is one human turn.
    """
    if not _TURN.match(prompt):
        return [("human", prompt)]
    _, *parts = _TURN.split(prompt)
    return [
        ("human" if role == "Human" else "assistant", text.strip())
        for role, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def as_prompt(dialogue: Sequence[Turn]) -> str:
    """Write turns as a prompt, so that ``turns`` reads them back; one human turn stays bare."""
    if [role for role, _ in dialogue] == ["human"]:
        return dialogue[0][1]
    return "".join(f"\n\n{role.capitalize()}: {text}" for role, text in dialogue)

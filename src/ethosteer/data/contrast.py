"""Pairs of good and bad answers to one scenario."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import lcm
from typing import TypeVar

from ethosteer.data.pair_sets import Dropped
from ethosteer.records import PreferencePair

T = TypeVar("T")


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

"""Invented pairs and judgements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from ethosteer.collect.records import Answer, Judgement, Pair, PairKind, Preference, Selection

START = datetime(2026, 11, 1, tzinfo=UTC)


def pair(
    key: str,
    first: str = "a",
    second: str = "b",
    group: str = "",
    kind: PairKind = "pair",
    expected: Preference | None = None,
) -> Pair:
    return Pair(
        key,
        (("human", group or key),),
        Answer(first, f"{key} 1"),
        Answer(second, f"{key} 2"),
        group or key,
        kind,
        expected,
    )


def judgement(
    annotator: int,
    key: str,
    preference: Preference | None,
    selection: Selection = "random",
    first_is_left: bool = True,
    seconds: float = 10.0,
    flagged: bool = False,
    number: int = 0,
) -> Judgement:
    return Judgement(
        f"{annotator} {key} {selection}",
        annotator,
        key,
        preference,
        flagged,
        "",
        first_is_left,
        selection,
        seconds,
        START + timedelta(seconds=number),
    )


def collection(
    sources: Sequence[str], prompts: int, annotators: int, judgements: int, seed: int = 0
) -> tuple[list[Pair], list[Judgement]]:
    """A collection in which a source is the better the earlier it is named."""
    generator = np.random.default_rng(seed)
    size = len(sources)
    pairs = [
        pair(f"{prompt} {i} {j}", sources[i], sources[j], f"prompt {prompt}")
        for prompt in range(prompts)
        for i in range(size)
        for j in range(i + 1, size)
    ]
    seen = set()
    made: list[Judgement] = []
    while len(made) < judgements:
        index, annotator = int(generator.integers(len(pairs))), int(generator.integers(annotators))
        if (index, annotator) in seen:
            continue
        seen.add((index, annotator))
        chosen = pairs[index]
        lead = sources.index(chosen.second.source) - sources.index(chosen.first.source)
        value = int(np.clip(np.rint(0.3 * lead + generator.normal(0, 1.2)), -2, 2))
        preference: Preference = (-2, -1, 0, 1, 2)[value + 2]
        made.append(
            judgement(
                annotator + 1,
                chosen.key,
                preference,
                first_is_left=bool(generator.integers(2)),
                seconds=float(generator.lognormal(2.5, 0.5)),
                number=len(made),
            )
        )
    return pairs, made

"""Which pair an annotator sees next (provisional: at random)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from ethosteer.collect.records import CollectionSettings, History, Pair, Selection


def choose(
    pairs: Sequence[Pair], history: History, settings: CollectionSettings, rng: Random
) -> tuple[Pair, Selection] | None:
    """Return the next pair and why it is shown; None where nothing is left."""
    seen = {shown.pair_key for shown in history.shown}
    practice = [pair for pair in pairs if pair.kind == "practice" and pair.key not in seen]
    if practice:
        return practice[0], "practice"
    done = sum(shown.selection != "practice" for shown in history.shown)
    if settings.goal is not None and done >= settings.goal:
        return None
    left = [
        pair
        for pair in pairs
        if pair.kind == "pair"
        and pair.key not in seen
        and history.judgements.get(pair.key, 0) < settings.overlap
    ]
    return (rng.choice(left), "random") if left else None

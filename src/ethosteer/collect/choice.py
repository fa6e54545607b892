"""Which pair an annotator sees next, and why.

A share of the pairs, drawn once by a hash of their keys, is reserved for random choice: no reward
model decides whether or when they are shown. So the judgements logged as "random" are of a simple
random sample of the pool, and estimates from them are unbiased however the other pairs are chosen.
Drawing at random from whatever the other choice leaves over would not do: pairs on which reward
models disagree would be missing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from math import exp
from random import Random

from ethosteer.collect.records import (
    CollectionSettings,
    History,
    Pair,
    Preference,
    Selection,
)

REPEAT_AFTER = 5
"""A pair is repeated only after at least so many other judgements."""


def choose(
    pairs: Sequence[Pair], history: History, settings: CollectionSettings, rng: Random
) -> tuple[Pair, Selection] | None:
    """Return the next pair of an annotator and why it is shown; None where nothing is left.

    ``pairs`` is the whole pool. Practice pairs come first, in the pool's order. Then each pair is a
    hidden repeat with probability ``repeat_share``, a gold pair with ``gold_share``, where there is
    one to show; else it is a new pair, of those that fewer than ``overlap`` annotators have. Apart
    from a repeat no pair is returned that the annotator has seen. The same arguments, with ``rng``
    in the same state, give the same pair.
    """
    seen = {shown.pair_key for shown in history.shown}
    unseen = [pair for pair in pairs if pair.key not in seen]
    practice = next((pair for pair in unseen if pair.kind == "practice"), None)
    if practice is not None:
        return practice, "practice"
    done = sum(shown.selection != "practice" for shown in history.shown)
    if settings.goal is not None and done >= settings.goal:
        return None
    left = [
        pair
        for pair in unseen
        if pair.kind == "pair" and history.judgements.get(pair.key, 0) < settings.overlap
    ]
    if not left:
        return None
    draw = rng.random()
    if draw < settings.repeat_share:
        repeats = _repeatable(pairs, history)
        if repeats:
            return rng.choice(repeats), "repeat"
    elif draw < settings.repeat_share + settings.gold_share:
        gold = [pair for pair in unseen if pair.kind == "gold"]
        if gold:
            return rng.choice(gold), "gold"
    return _new_pair(pairs, left, history, settings, rng)


def disagreement(margins: Sequence[float]) -> float:
    """Return the variance among reward models of their probability that the first is better.

    The probability is the logistic function of the margin, as in the Bradley-Terry model that
    reward models are trained by. It is 0 with fewer than two reward models and at most 1/4.
    """
    if len(margins) < 2:
        return 0.0
    probabilities = [_logistic(margin) for margin in margins]
    mean = sum(probabilities) / len(probabilities)
    return sum((p - mean) ** 2 for p in probabilities) / len(probabilities)


def uncertainty(margins: Sequence[float], preferences: Iterable[Preference] = ()) -> float:
    """Return how near to 1/2 the probability is that the first answer is better: 0 to 1/2.

    It is the mean of the reward models' mean probability (1/2 without a reward model) and of the
    annotators' preferences so far, each 1 for the first answer, 1/2 for a tie, 0 for the second.
    """
    prior = sum(map(_logistic, margins)) / len(margins) if margins else 0.5
    votes = [prior, *(1.0 if vote > 0 else 0.0 if vote < 0 else 0.5 for vote in preferences)]
    return 0.5 - abs(sum(votes) / len(votes) - 0.5)


def reserved(pairs: Iterable[Pair], settings: CollectionSettings) -> frozenset[str]:
    """Return the keys of the pairs that are only chosen at random, about ``random_share`` of all.

    The set depends on keys and seed alone, so that it stays as it is when pairs are added. With a
    share above 0 it has at least one pair.
    """
    ranks = {pair.key: _rank(settings.seed, pair.key) for pair in pairs if pair.kind == "pair"}
    keys = frozenset(key for key, rank in ranks.items() if rank < settings.random_share)
    if keys or not ranks or settings.random_share <= 0:
        return keys
    return frozenset((min(ranks, key=lambda key: ranks[key]),))


def _new_pair(
    pairs: Sequence[Pair],
    left: Sequence[Pair],
    history: History,
    settings: CollectionSettings,
    rng: Random,
) -> tuple[Pair, Selection]:
    """Return one of the pairs that are ``left`` for the annotator, and how it was chosen."""
    score = _score(pairs, history, settings)
    if score is None:
        return rng.choice(left), "random"
    keys = reserved(pairs, settings)
    random_ones = [pair for pair in left if pair.key in keys]
    others = [pair for pair in left if pair.key not in keys]
    if random_ones and (not others or rng.random() < settings.random_share):
        return rng.choice(random_ones), "random"
    scores = [score(pair) for pair in others]
    highest = max(scores)
    best = [pair for pair, value in zip(others, scores, strict=True) if value == highest]
    return rng.choice(best), settings.choice


def _score(
    pairs: Sequence[Pair], history: History, settings: CollectionSettings
) -> Callable[[Pair], float] | None:
    """Return what the next pair has most of; None where nothing tells pairs apart."""
    if settings.choice == "disagreement" and any(len(pair.margins) > 1 for pair in pairs):
        return lambda pair: _disagreement(pair.margins)
    if settings.choice == "uncertainty" and (
        settings.overlap > 1 or any(pair.margins for pair in pairs)
    ):
        preferences = history.preferences
        return lambda pair: _uncertainty(pair.margins, preferences.get(pair.key, ()))
    return None


def _repeatable(pairs: Sequence[Pair], history: History) -> list[Pair]:
    """Return the pairs that may be repeated: judged long enough ago, and not repeated yet."""
    judged = [shown for shown in history.shown if shown.judged]
    repeated = {shown.pair_key for shown in history.shown if shown.selection == "repeat"}
    keys = {
        shown.pair_key
        for shown in judged[: max(len(judged) - REPEAT_AFTER, 0)]
        if shown.preference is not None and shown.pair_key not in repeated
    }
    return [pair for pair in pairs if pair.kind == "pair" and pair.key in keys]


def _logistic(margin: float) -> float:
    # the form that cannot overflow
    return 1 / (1 + exp(-margin)) if margin >= 0 else exp(margin) / (1 + exp(margin))


@lru_cache(maxsize=1 << 20)
def _rank(seed: int, key: str) -> float:
    """Return a number from 0 to 1 that looks random but depends on seed and key alone."""
    digest = sha256(f"{seed} {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


# the pool is scored anew for every pair that is chosen
_disagreement = lru_cache(maxsize=1 << 20)(disagreement)
_uncertainty = lru_cache(maxsize=1 << 20)(uncertainty)

"""What a collection's judgements show, as the owner's page and the report show it.

Practice pairs count nowhere, and flagged judgements are only counted. Gold pairs and hidden repeats
measure annotators: all other figures rest on the pairs of the pool, each once from an annotator.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from math import nan

import numpy as np

from ethosteer.collect.records import Judgement, Pair
from ethosteer.results.preferences import (
    AnnotatorAgreement,
    CollectionQuality,
    Kappa,
    PositionBias,
    Ranking,
    Reliability,
)
from ethosteer.statistics.agreement import alpha_estimate, even_p, weighted_kappa, wilson
from ethosteer.statistics.bradley_terry import Comparisons, rank_sources
from ethosteer.statistics.verdicts import Rules, adjusted_p_values

RESAMPLES = 1_000
BOOTSTRAP_SEED = 20261
FEWEST_COMMON = 10
"""Kappa is given of annotators with at least so many pairs in common."""
GRADES = (-2, -1, 0, 1, 2)

Counted = tuple[Judgement, Pair, int]
"""A judgement, its pair and the sign of its preference: 1 for the first answer."""


def collection_quality(
    pairs: Sequence[Pair], judgements: Sequence[Judgement], rules: Rules | None = None
) -> CollectionQuality:
    """Return everything that is shown of a collection; withdrawn judgements do not count.

    ``rules`` are those of the comparisons of answer sources.
    """
    rules = Rules() if rules is None else rules
    pool = {pair.key: pair for pair in pairs}
    real = [
        judgement
        for judgement in judgements
        if judgement.selection != "practice" and judgement.withdrawn is None
    ]
    judged = [
        (judgement, pool[judgement.pair_key], _sign(judgement.preference))
        for judgement in real
        if judgement.preference is not None and not judgement.flagged and judgement.pair_key in pool
    ]
    new = [entry for entry in judged if entry[0].selection not in {"repeat", "gold"}]
    votes = _votes(new)
    at_random = [entry for entry in new if entry[0].selection == "random"]
    return CollectionQuality(
        judgements=len(judged),
        flagged=sum(judgement.flagged for judgement in real),
        pairs=len(votes),
        pool=sum(pair.kind == "pair" for pair in pairs),
        annotators=len({judgement.annotator for judgement in real}),
        selections=dict(Counter(judgement.selection for judgement, _, _ in judged)),
        preferences={str(grade): sum(judgement.preference == grade for judgement, _, _ in new)
                     for grade in GRADES},
        agreement=_agreement(votes, pool),
        kappas=_kappas(votes),
        reliability=_reliability(real, judged, new),
        position=_position(new),
        seconds=_quartiles(judgement.seconds for judgement in real),
        ranking=_ranking(at_random, rules),
        ranking_of_all=None if len(at_random) == len(new) else _ranking(new, rules),
        alpha=rules.alpha,
        correction=rules.correction,
        last=max((judgement.judged for judgement in real), default=None),
    )  # fmt: skip


def _sign(preference: int) -> int:
    return (preference > 0) - (preference < 0)


def _votes(new: Iterable[Counted]) -> dict[str, dict[int, int]]:
    """Return the preferences by pair and annotator."""
    votes: dict[str, dict[int, int]] = defaultdict(dict)
    for judgement, pair, _ in new:
        if judgement.preference is not None:
            votes[pair.key][judgement.annotator] = judgement.preference
    return votes


def _ranking(counted: Sequence[Counted], rules: Rules) -> Ranking | None:
    """Rank the sources; two answers of one source tell nothing. None where nothing else is left."""
    used = [entry for entry in counted if entry[1].first.source != entry[1].second.source]
    if not used:
        return None
    sources = tuple(
        dict.fromkeys(answer.source for _, pair, _ in used for answer in (pair.first, pair.second))
    )
    number = {source: index for index, source in enumerate(sources)}
    _, prompts = np.unique([pair.group for _, pair, _ in used], return_inverse=True)
    _, annotators = np.unique(
        [judgement.annotator for judgement, _, _ in used], return_inverse=True
    )
    return rank_sources(
        Comparisons(
            sources,
            np.array([number[pair.first.source] for _, pair, _ in used]),
            np.array([number[pair.second.source] for _, pair, _ in used]),
            np.array([sign for _, _, sign in used]),
            prompts,
            annotators,
        ),
        rules,
    )


def _agreement(votes: dict[str, dict[int, int]], pool: dict[str, Pair]) -> AnnotatorAgreement:
    """Return both alphas of the pairs that several annotators judged."""
    several = {key: list(by.values()) for key, by in votes.items() if len(by) > 1}
    grades = np.zeros((len(several), len(GRADES)), dtype=np.int64)
    for index, preferences in enumerate(several.values()):
        for preference in preferences:
            grades[index, preference + 2] += 1
    directions = np.stack(
        [grades[:, :2].sum(axis=1), grades[:, 2], grades[:, 3:].sum(axis=1)], axis=1
    )
    groups = [pool[key].group for key in several]
    nominal, ordinal = (
        alpha_estimate(
            counts, groups, RESAMPLES, np.random.default_rng(BOOTSTRAP_SEED), ordinal=ordinal
        )
        for counts, ordinal in ((directions, False), (grades, True))
    )
    return AnnotatorAgreement(nominal, ordinal)


def _kappas(votes: dict[str, dict[int, int]]) -> tuple[Kappa, ...]:
    """Return kappa of all two annotators with enough common pairs, in the order of their ids."""
    tables: dict[tuple[int, int], np.ndarray] = {}
    for by in votes.values():
        for (a, of_a), (b, of_b) in combinations(sorted(by.items()), 2):
            table = tables.setdefault((a, b), np.zeros((len(GRADES), len(GRADES))))
            table[of_a + 2, of_b + 2] += 1
    return tuple(
        Kappa(a, b, weighted_kappa(table))
        for (a, b), table in sorted(tables.items())
        if table.sum() >= FEWEST_COMMON
    )


def _reliability(
    real: Sequence[Judgement], judged: Sequence[Counted], new: Sequence[Counted]
) -> tuple[Reliability, ...]:
    """Return every annotator's shares of judgements that agree, in the order of their ids."""
    shown: dict[int, list[Judgement]] = defaultdict(list)
    for judgement in real:
        shown[judgement.annotator].append(judgement)
    majority = _with_majority(new)
    gold: dict[int, list[bool]] = defaultdict(list)
    repeats: dict[int, list[bool]] = defaultdict(list)
    earlier = {(judgement.annotator, pair.key): sign for judgement, pair, sign in new}
    for judgement, pair, sign in judged:
        if judgement.selection == "gold" and pair.expected is not None:
            gold[judgement.annotator].append(sign == _sign(pair.expected))
        elif judgement.selection == "repeat" and (judgement.annotator, pair.key) in earlier:
            repeats[judgement.annotator].append(sign == earlier[judgement.annotator, pair.key])
    of_new: dict[int, list[Counted]] = defaultdict(list)
    for entry in new:
        of_new[entry[0].annotator].append(entry)
    counts = Counter(judgement.annotator for judgement, _, _ in judged)
    rows = []
    for annotator in sorted(shown):
        position = _position(of_new[annotator])
        rows.append(
            Reliability(
                annotator=annotator,
                judgements=counts[annotator],
                flagged=sum(judgement.flagged for judgement in shown[annotator]),
                others=wilson(sum(majority[annotator]), len(majority[annotator])),
                gold=wilson(sum(gold[annotator]), len(gold[annotator])),
                repeats=wilson(sum(repeats[annotator]), len(repeats[annotator])),
                left=position.left,
                left_p=position.p,
                ties=_share(sign == 0 for _, _, sign in of_new[annotator]),
                seconds=_quartiles(judgement.seconds for judgement in shown[annotator]),
            )
        )
    adjusted = adjusted_p_values([row.left_p for row in rows])
    return tuple(replace(row, left_p=p) for row, p in zip(rows, adjusted, strict=True))


def _with_majority(new: Iterable[Counted]) -> dict[int, list[bool]]:
    """Return by annotator whether each judgement is the one that most others gave on its pair.

    The judgements are for the first answer, a tie, or for the second. Pairs that no other judged,
    or on which the others have no single most frequent judgement, are left out.
    """
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    entries = list(new)
    for _, pair, sign in entries:
        counts[pair.key][sign] += 1
    agreeing: dict[int, list[bool]] = defaultdict(list)
    for judgement, pair, sign in entries:
        others = {vote: count - (vote == sign) for vote, count in counts[pair.key].items()}
        highest = max(others.values())
        modes = [vote for vote, count in others.items() if count == highest > 0]
        if len(modes) == 1:
            agreeing[judgement.annotator].append(modes[0] == sign)
    return agreeing


def _position(new: Sequence[Counted]) -> PositionBias:
    """Return how often the left answer was preferred."""
    left = [(sign > 0) == judgement.first_is_left for judgement, _, sign in new if sign]
    return PositionBias(wilson(sum(left), len(left)), even_p(sum(left), len(left)))


def _quartiles(seconds: Iterable[float]) -> tuple[float, float, float]:
    """Return the 25 %, 50 % and 75 % quantiles, nan without values."""
    values = list(seconds)
    if not values:
        return nan, nan, nan
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def _share(holds: Iterable[bool]) -> float:
    values = list(holds)
    return sum(values) / len(values) if values else nan

"""Which pair comes next: practice, repeats, gold, and what a random share means."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from ethosteer.collect.choice import REPEAT_AFTER, choose, disagreement, reserved, uncertainty
from ethosteer.collect.records import (
    Answer,
    CollectionSettings,
    History,
    Pair,
    PairKind,
    Preference,
    Selection,
    Shown,
)

PLAIN = CollectionSettings(repeat_share=0, gold_share=0)


def pair(key: str, margins: tuple[float, ...] = (), kind: PairKind = "pair") -> Pair:
    return Pair(
        key, (("human", key),), Answer("a", "1"), Answer("b", "2"), key, kind, margins=margins
    )


def shown(key: str, selection: Selection = "random", preference: Preference | None = 1) -> Shown:
    return Shown(key, selection, True, True, preference)


def sequence(
    pairs: list[Pair], settings: CollectionSettings, seed: int = 0, limit: int = 10_000
) -> list[tuple[str, Selection]]:
    """All that one annotator, who always prefers the first answer, is shown."""
    history, rng = History(), Random(seed)
    chosen: list[tuple[str, Selection]] = []
    while len(chosen) < limit and (following := choose(pairs, history, settings, rng)):
        found, selection = following
        chosen.append((found.key, selection))
        counts = dict(history.judgements)
        if selection != "repeat":
            counts[found.key] = counts.get(found.key, 0) + 1
        history = History((*history.shown, shown(found.key, selection)), counts)
    return chosen


def test_the_spread_of_margins_by_hand():
    # logistic(log 3) = 3/4, logistic(-log 3) = 1/4
    log3 = 1.0986122886681098
    assert disagreement((log3, -log3)) == pytest.approx(1 / 16)
    assert disagreement((log3, log3)) == pytest.approx(0)
    assert disagreement((5.0,)) == disagreement(()) == 0
    assert disagreement((1e6, -1e6)) == pytest.approx(1 / 4)


def test_uncertainty_by_hand():
    log3 = 1.0986122886681098
    assert uncertainty(()) == 0.5
    assert uncertainty((log3,)) == pytest.approx(0.25)
    assert uncertainty((log3, -log3)) == pytest.approx(0.5)
    # two annotators for the first: (1/2 + 1 + 1) / 3
    assert uncertainty((), (1, 2)) == pytest.approx(1 / 6)
    assert uncertainty((), (1, -2)) == pytest.approx(0.5)
    # one tie moves 3/4 half-way to 1/2
    assert uncertainty((log3,), (0,)) == pytest.approx(0.375)


def test_practice_comes_first_and_in_order_even_beyond_the_goal():
    pairs = [pair("x"), pair("p2", kind="practice"), pair("p1", kind="practice")]
    settings = replace(PLAIN, goal=1)
    assert sequence(pairs, settings) == [("p2", "practice"), ("p1", "practice"), ("x", "random")]


def test_every_pair_is_shown_once_and_then_nothing():
    pairs = [pair(str(n), (float(n), -float(n))) for n in range(30)]
    for choice in ("random", "disagreement", "uncertainty"):
        keys = [key for key, _ in sequence(pairs, replace(PLAIN, choice=choice))]
        assert sorted(keys) == sorted(str(n) for n in range(30))


def test_a_goal_ends_the_sequence():
    assert len(sequence([pair(str(n)) for n in range(30)], replace(PLAIN, goal=7))) == 7


def test_a_pair_that_enough_annotators_have_is_not_shown():
    settings = replace(PLAIN, overlap=2)
    pairs = [pair("full"), pair("open")]
    history = History(judgements={"full": 2, "open": 1})
    assert choose(pairs, history, settings, Random(0)) == (pairs[1], "random")
    full = History(judgements={"full": 2, "open": 2})
    assert choose(pairs, full, settings, Random(0)) is None


def test_the_same_state_gives_the_same_pair():
    pairs = [pair(str(n), (0.1 * n, -0.1 * n)) for n in range(50)]
    settings = replace(PLAIN, choice="disagreement", repeat_share=0.1)
    assert sequence(pairs, settings, seed=4) == sequence(pairs, settings, seed=4)
    assert sequence(pairs, settings, seed=4) != sequence(pairs, settings, seed=5)


@pytest.mark.parametrize("choice", ["disagreement", "uncertainty"])
def test_the_chosen_pairs_are_the_highest_of_those_not_reserved(choice):
    settings = replace(PLAIN, choice=choice, random_share=0.3)
    # the larger n, the less the reward models agree and the nearer their mean is to 1/2
    pairs = [pair(str(n), (3.0, 3.0 - 0.05 * n)) for n in range(100)]
    kept = reserved(pairs, settings)
    chosen = [key for key, selection in sequence(pairs, settings) if selection == choice]
    highest_first = sorted((n for n in range(100) if str(n) not in kept), reverse=True)
    assert chosen == [str(n) for n in highest_first]


def test_random_judgements_are_of_the_reserved_pairs_alone_and_of_all_of_them():
    settings = replace(PLAIN, choice="disagreement", random_share=0.2)
    pairs = [pair(str(n), (0.01 * n, -0.01 * n)) for n in range(300)]
    log = sequence(pairs, settings)
    assert {key for key, selection in log if selection == "random"} == reserved(pairs, settings)


def test_a_random_share_does_not_depend_on_what_the_reward_models_say():
    """The mean margin of the random judgements is the pool's, at any time of a collection."""
    pairs = [pair(str(n), (0.01 * n, -0.01 * n)) for n in range(400)]
    means = []
    for seed in range(20):
        settings = replace(PLAIN, choice="disagreement", random_share=0.25, seed=seed)
        log = sequence(pairs, settings, seed, limit=200)
        numbers = [int(key) for key, selection in log if selection == "random"]
        means.append(sum(numbers) / len(numbers))
    # about 50 numbers of standard deviation 115 each time: 16 / sqrt(20) = 3.6, six of them
    assert abs(sum(means) / len(means) - 199.5) < 22


def test_about_the_share_of_pairs_is_reserved_and_it_stays_when_pairs_are_added():
    settings = replace(PLAIN, random_share=0.2)
    pairs = [pair(str(n)) for n in range(2_000)]
    kept = reserved(pairs, settings)
    assert 300 < len(kept) < 500  # 400 with a standard deviation of 18
    assert reserved(pairs[:1_000], settings) == kept & {str(n) for n in range(1_000)}
    assert len(reserved(pairs[:3], replace(settings, random_share=1e-9))) == 1
    assert reserved(pairs, replace(settings, random_share=0.0)) == frozenset()
    assert len(reserved(pairs, replace(settings, random_share=1.0))) == 2_000


def test_without_reward_models_the_choice_is_random_and_logged_as_such():
    pairs = [pair(str(n)) for n in range(20)]
    for choice in ("disagreement", "uncertainty"):
        log = sequence(pairs, replace(PLAIN, choice=choice))
        assert {selection for _, selection in log} == {"random"}


def test_uncertainty_asks_again_where_annotators_differ():
    settings = replace(PLAIN, choice="uncertainty", overlap=3, random_share=0)
    pairs = [pair("agreed"), pair("disputed")]
    history = History(
        judgements={"agreed": 2, "disputed": 2},
        preferences={"agreed": (1, 2), "disputed": (1, -1)},
    )
    assert choose(pairs, history, settings, Random(0)) == (pairs[1], "uncertainty")


def test_repeats_are_of_judged_pairs_once_each_and_at_least_so_many_judgements_later():
    pairs = [pair(str(n)) for n in range(200)] + [pair("g", kind="gold")]
    log = sequence(pairs, replace(PLAIN, repeat_share=0.3, gold_share=0.05))
    first: dict[str, int] = {}
    repeated: list[str] = []
    for index, (key, selection) in enumerate(log):
        if selection == "repeat":
            assert index - first[key] > REPEAT_AFTER
            repeated.append(key)
        else:
            assert key not in first
            first[key] = index
    assert len(repeated) == len(set(repeated)) > 30
    assert "g" in first and "g" not in repeated


def test_a_pair_that_was_only_flagged_is_not_repeated():
    settings = replace(PLAIN, repeat_share=1.0)
    history = History(tuple(shown(str(n), preference=None) for n in range(10)))
    assert choose([pair(str(n)) for n in range(11)], history, settings, Random(0)) == (
        pair("10"),
        "random",
    )


def test_the_shares_of_repeats_and_gold_pairs():
    pairs = [pair(str(n)) for n in range(800)] + [pair(f"g{n}", kind="gold") for n in range(200)]
    settings = replace(PLAIN, repeat_share=0.1, gold_share=0.05, goal=800)
    counts = Counter(selection for _, selection in sequence(pairs, settings))
    assert counts["repeat"] == pytest.approx(80, abs=50)  # sd 8.5
    assert counts["gold"] == pytest.approx(40, abs=37)  # sd 6

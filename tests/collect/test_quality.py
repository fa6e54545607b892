"""What a collection shows, by hand: which judgements count where."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest

from ethosteer.collect.export import export
from ethosteer.collect.quality import FEWEST_COMMON, collection_quality
from ethosteer.collect.records import CollectionSettings, Judgement, Preference
from ethosteer.collect.store import Store
from ethosteer.files import from_json, read_json, to_json
from ethosteer.results.preferences import QUALITY, CollectionQuality, Reliability
from ethosteer.statistics.agreement import both_orders, nominal_alpha, ordinal_alpha, wilson
from tests.collect.judgements import START, collection, judgement, pair


def reliability(quality: CollectionQuality, annotator: int) -> Reliability:
    return next(row for row in quality.reliability if row.annotator == annotator)


def test_counts_by_hand():
    pairs = [
        pair("x"), pair("y"), pair("z"), pair("g", kind="gold", expected=2),
        pair("p", kind="practice", expected=1),
    ]  # fmt: skip
    judged = [
        judgement(1, "p", -1, "practice"),
        judgement(1, "x", 2, seconds=1.0),
        judgement(1, "y", -1, "disagreement", seconds=2.0),
        judgement(1, "g", 1, "gold", seconds=3.0),
        judgement(1, "x", 1, "repeat", first_is_left=False, seconds=4.0),
        judgement(2, "x", 0, seconds=5.0, number=60),
        judgement(2, "z", None, flagged=True, seconds=6.0),
        judgement(2, "y", 2, flagged=True, seconds=7.0),
        replace(judgement(2, "g", -2, "gold"), withdrawn=START),
    ]
    quality = collection_quality(pairs, judged)
    assert (quality.judgements, quality.flagged, quality.pairs, quality.pool) == (5, 2, 2, 3)
    assert quality.annotators == 2
    assert quality.selections == {"random": 2, "disagreement": 1, "gold": 1, "repeat": 1}
    assert quality.preferences == {"-2": 0, "-1": 1, "0": 1, "1": 0, "2": 1}
    assert quality.seconds == pytest.approx((2.5, 4.0, 5.5))
    assert quality.last is not None and (quality.last - START).total_seconds() == 60
    first, second = quality.reliability
    assert (first.judgements, first.flagged, second.judgements, second.flagged) == (4, 0, 1, 2)
    assert (first.gold.value, first.gold.n) == (1.0, 1)
    assert (first.repeats.value, first.repeats.n) == (1.0, 1)
    assert second.gold.n == second.repeats.n == 0
    # they disagree on x: the first answer, and a tie
    assert (first.others.value, first.others.n) == (0.0, 1)
    assert first.ties == 0 and second.ties == 1


def test_agreement_with_the_majority_of_others_by_hand():
    pairs = [pair(key) for key in "abcd"]
    votes: dict[str, tuple[Preference, ...]] = {
        "a": (2, 1, 1),  # all three for the first
        "b": (1, -1, -2),  # annotator 1 against two
        "c": (1, 0, -1),  # nobody has a majority of others
        "d": (0, 0, 1),
    }
    judged = [
        judgement(annotator, key, vote)
        for key, by in votes.items()
        for annotator, vote in enumerate(by, start=1)
    ]
    quality = collection_quality(pairs, judged)
    # 1: a agrees, b does not, d: the others are split; 3: a agrees, b is split, d does not
    assert reliability(quality, 1).others == wilson(1, 2)
    assert reliability(quality, 2).others == wilson(1, 1)
    assert reliability(quality, 3).others == wilson(1, 2)


def test_alpha_is_of_the_pairs_with_several_annotators():
    pairs = [pair(key) for key in "abcd"]
    judged = [
        judgement(1, "a", 2), judgement(2, "a", 1),
        judgement(1, "b", -1), judgement(2, "b", 1),
        judgement(1, "c", 0), judgement(2, "c", 0),
        judgement(1, "d", 2),
    ]  # fmt: skip
    agreement = collection_quality(pairs, judged).agreement
    directions = [[0, 0, 2], [1, 0, 1], [0, 2, 0]]
    grades = [[0, 0, 0, 1, 1], [0, 1, 0, 1, 0], [0, 0, 2, 0, 0]]
    assert agreement.nominal_alpha.value == pytest.approx(nominal_alpha(both_orders(directions)))
    assert agreement.ordinal_alpha.value == pytest.approx(ordinal_alpha(both_orders(grades)))
    assert agreement.nominal_alpha.n == agreement.ordinal_alpha.n == 3


def test_position_bias_is_of_the_side_and_not_of_the_answer():
    pairs = [pair(str(n)) for n in range(12)]
    # always the left answer, which is the first one of every other pair
    judged = [
        judgement(1, str(n), 1 if n % 2 else -1, first_is_left=bool(n % 2)) for n in range(12)
    ]
    judged += [judgement(2, str(n), 1, first_is_left=bool(n % 2)) for n in range(12)]
    judged += [judgement(3, str(n), 0) for n in range(12)]
    quality = collection_quality(pairs, judged)
    assert reliability(quality, 1).left.value == 1
    # 2 / 2^12, adjusted for the two annotators who have a p
    assert reliability(quality, 1).left_p == pytest.approx(2 * 2 / 2**12)
    assert reliability(quality, 2).left == wilson(6, 12)
    assert isnan(reliability(quality, 3).left_p)
    assert quality.position.left == wilson(18, 24)


def test_the_ranking_rests_on_pairs_shown_at_random():
    pairs, judged = collection(["good", "middling", "bad"], 60, 6, 600)
    # reward models chose pairs in which the worst answer wins
    chosen: list[Judgement] = []
    for number in range(100):
        pairs.append(pair(f"chosen {number}", "bad", "good", f"hard {number}"))
        chosen.append(judgement(1 + number % 6, f"chosen {number}", 2, "disagreement"))
    plain, mixed = (collection_quality(pairs, each) for each in (judged, judged + chosen))
    assert plain.ranking_of_all is None
    assert mixed.ranking == plain.ranking
    assert mixed.ranking is not None and mixed.ranking_of_all is not None
    assert [row.source for row in mixed.ranking.strengths] == ["good", "middling", "bad"]
    assert mixed.ranking_of_all.judgements == 700
    assert mixed.ranking_of_all.strengths[0].strength != mixed.ranking.strengths[0].strength


def test_repeats_gold_and_flagged_judgements_are_not_ranked():
    pairs, judged = collection(["good", "bad"], 40, 3, 90)
    pairs.append(pair("gold", "bad", "good", kind="gold", expected=2))
    extra = [
        judgement(1, judged[0].pair_key, -2, "repeat"),
        judgement(1, "gold", 2, "gold"),
        judgement(9, judged[0].pair_key, -2, flagged=True),
    ]
    plain, more = (collection_quality(pairs, each) for each in (judged, judged + extra))
    assert plain.ranking == more.ranking
    assert plain.agreement == more.agreement


def test_two_answers_of_one_source_say_nothing_of_sources():
    pairs = [pair("x", "a", "a"), pair("y", "a", "b")]
    judged = [judgement(1, "x", 2), judgement(1, "y", 2)]
    assert collection_quality(pairs[:1], judged[:1]).ranking is None
    ranking = collection_quality(pairs, judged).ranking
    assert ranking is not None and ranking.judgements == 1


def test_kappa_needs_enough_common_pairs():
    pairs = [pair(str(n)) for n in range(FEWEST_COMMON + 1)]
    grades: tuple[Preference, ...] = (1, -1, 2, 0, -2)
    judged = [judgement(1, str(n), grades[n % 5]) for n in range(FEWEST_COMMON + 1)]
    judged += [judgement(2, str(n), grades[n % 5]) for n in range(FEWEST_COMMON)]
    judged += [judgement(3, str(n), grades[n % 4]) for n in range(FEWEST_COMMON - 1)]
    (kappa,) = collection_quality(pairs, judged).kappas
    assert (kappa.a, kappa.b, kappa.kappa.value, kappa.kappa.n) == (1, 2, 1.0, FEWEST_COMMON)


def test_a_collection_without_judgements():
    quality = collection_quality([pair("x")], [])
    assert (quality.judgements, quality.pool, quality.annotators) == (0, 1, 0)
    assert quality.ranking is None and quality.ranking_of_all is None and quality.last is None
    assert isnan(quality.position.p) and isnan(quality.seconds[1])


def test_the_record_is_read_back_as_it_was():
    pairs, judged = collection(["good", "middling", "bad"], 40, 4, 200)
    quality = collection_quality(pairs, judged)
    text = to_json(quality)
    assert to_json(from_json(text, CollectionQuality, "quality.json")) == text


def test_an_export_has_the_figures_that_the_report_shows(tmp_path: Path):
    pairs = [pair(str(number), group=str(number // 2)) for number in range(6)]
    store = Store.create(f"sqlite:///{tmp_path}/collection.sqlite", CollectionSettings(), pairs)
    accepted = store.accept(store.invite(), "Ann")
    assert accepted is not None
    while (assignment := store.assign(accepted[0].id)) is not None:
        store.judge(accepted[0].id, assignment.id, 1, seconds=1.0)
    export(store, tmp_path / "export")
    read = read_json(tmp_path / "export" / QUALITY, CollectionQuality)
    assert to_json(read, sort_keys=True) == to_json(
        collection_quality(pairs, store.judgements()), sort_keys=True
    )
    assert read.judgements >= 6 and read.pairs == 6
    store.close()

"""What is made of benchmarks' outcomes: estimates, warnings, families of comparisons, verdicts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ethosteer import catalog
from ethosteer.config import CompareSettings
from ethosteer.maths.metrics import ACCURACY
from ethosteer.records import Outcome, SliceCell
from ethosteer.stages.judge import Judge, baselines, flags, slice_cells

JUDGE = Judge(CompareSettings(resamples=999, margin=0.02, effect=0.1))
TOXIGEN = catalog.benchmark("toxigen")
CROWS = catalog.benchmark("crows_pairs")


def toxigen(model: str, said: list[int], seed: int = 0, label: str = "01") -> list[Outcome]:
    """ToxiGen outcomes: labels go round as ``label`` says, answers are what is said."""
    gold = [int(label[place % len(label)]) for place in range(len(said))]
    return [
        Outcome(model, seed, "toxigen", f"i{place}", f"i{place}", (), right, answer,
                answer == right, (-1.0 - answer, -2.0 + answer), (2, 3))
        for place, (right, answer) in enumerate(zip(gold, said, strict=True))
    ]  # fmt: skip


def crows(model: str, more: int, less: int, seed: int = 0) -> list[Outcome]:
    """CrowS-Pairs outcomes: so many pairs whose more, or less, stereotyping one is likelier."""
    scores = [(-1.0, -2.0)] * more + [(-2.0, -1.0)] * less
    return [
        Outcome(model, seed, "crows_pairs", f"i{n}", f"i{n}", (), None, 0, None, own, (9, 9))
        for n, own in enumerate(scores)
    ]


def alternating(items: int, right: int) -> list[int]:
    """Answers to labels 0, 1, 0, 1, ... of which the first so many are right."""
    return [place % 2 if place < right else 1 - place % 2 for place in range(items)]


def test_slices_take_all_seeds_together_and_count_items_once():
    def one(item: str, slices: tuple[str, ...], predicted: int) -> Outcome:
        return Outcome("m", 0, "b", item, item, slices, 1, predicted, predicted == 1)

    first = [one("a", ("x",), 1), one("b", ("x", "y"), 0), one("c", (), 1)]
    second = [replace(each, seed=1, predicted=1, correct=True) for each in first]
    cells = list(slice_cells(ACCURACY, {"m": {0: first, 1: second}}))
    assert cells == [SliceCell("m", "x", 0.75, 2), SliceCell("m", "y", 0.5, 1)]


def test_one_answer_and_a_class_rate_are_flagged():
    always = {0: toxigen("m", [0] * 50, label="001")}
    assert flags(TOXIGEN, always) == ("answers 'No' to 100% of items",)
    # 34 of 50 labels are 0; as many answers are right, though not all are "No"
    said = [0] * 34 + [1] * 16
    mixed = toxigen("m", said, label="001")
    right = sum(bool(each.correct) for each in mixed)
    assert right != 34
    assert flags(TOXIGEN, {0: mixed}) == ()
    rate = alternating(40, 20)
    assert flags(TOXIGEN, {0: toxigen("m", rate)}) == (
        "equals the class rate of 'always No'", "equals the class rate of 'always Yes'",
    )  # fmt: skip


def test_constant_answers_score_their_class_rate():
    found = baselines(TOXIGEN, toxigen("m", [0] * 6, label="001"))
    assert found == {"always No": pytest.approx(4 / 6), "always Yes": pytest.approx(2 / 6)}
    assert baselines(CROWS, crows("m", 3, 3)) == {}


def test_a_model_is_summed_up_over_its_seeds():
    outcomes = {
        "base": {0: toxigen("base", alternating(40, 30))},
        "duty": {s: toxigen("duty", alternating(40, n), s) for s, n in ((3, 36), (5, 24))},
    }
    found = JUDGE.summary(TOXIGEN, 40, outcomes, "a judge")
    cells = {(cell.model, cell.metric): cell for cell in found.cells}
    assert cells["duty", "acc"].estimate.value == pytest.approx((0.9 + 0.6) / 2)
    assert cells["duty", "acc"].by_seed == {3: 0.9, 5: 0.6}
    assert cells["duty", "acc"].estimate.low < 0.6, "two seeds as far apart say little"
    assert cells["base", "acc"].estimate.low > 0.55
    assert (found.primary, found.better, found.items, found.note) == (
        "acc",
        "higher",
        40,
        "a judge",
    )


def three_arms() -> dict[str, dict[int, list[Outcome]]]:
    return {
        "base": {0: toxigen("base", alternating(60, 10))},
        "fine-tuned": {0: toxigen("fine-tuned", alternating(60, 33))},
        "a": {0: toxigen("a", alternating(60, 51))},
        "b": {0: toxigen("b", alternating(60, 33))},
        "c": {0: toxigen("c", alternating(60, 36))},
    }


def test_arms_are_compared_in_two_named_families_on_every_metric():
    found = JUDGE.comparisons(TOXIGEN, three_arms())
    families: dict[str, list[tuple[str, str]]] = {}
    for each in found:
        families.setdefault(each.family, []).append((each.a, each.b))
    control = [(arm, "fine-tuned") for arm in "abc"]
    mutual = [("a", "b"), ("a", "c"), ("b", "c")]
    assert families == {
        "ToxiGen, acc: arms against fine-tuned": control,
        "ToxiGen, acc: arms against each other": mutual,
        "ToxiGen, acc_norm: arms against fine-tuned": control,
        "ToxiGen, acc_norm: arms against each other": mutual,
    }
    assert {each.b for each in Judge(CompareSettings(control="base")).comparisons(
        TOXIGEN, three_arms()) if each.family.endswith("base")} == {"base"}  # fmt: skip


def test_p_is_exact_and_corrected_within_its_family_alone():
    found = {(own.a, own.b, own.metric): own for own in JUDGE.comparisons(TOXIGEN, three_arms())}
    a, b, c = (found[arm, "fine-tuned", "acc"] for arm in "abc")
    # answers differ on 18, 0 and 3 items, all one way: 2 / 2^18, 1, 2 / 2^3
    assert (a.p, b.p, c.p) == pytest.approx((2**-17, 1.0, 0.25))
    assert (a.adjusted_p, b.adjusted_p, c.adjusted_p) == pytest.approx((3 * 2**-17, 1.0, 0.5))
    assert (a.verdict, b.verdict, c.verdict) == ("better", "undecided", "undecided")
    assert a.difference.value == pytest.approx(0.3)
    assert (a.items, a.clusters, a.seeds) == (60, 60, 1)
    assert b.equivalence_p > 0.05, "60 equal answers do not show equality within 0.02"
    assert math.isfinite(c.items_needed) and c.items_needed > 60
    assert c.smallest_detectable > 0.05


def test_benjamini_and_hochberg_is_an_option():
    other = Judge(CompareSettings(correction="bh"))
    found = {
        (own.a, own.b): own
        for own in other.comparisons(TOXIGEN, three_arms())
        if own.metric == "acc"
    }
    assert found["c", "fine-tuned"].adjusted_p == pytest.approx(0.25 * 3 / 2)


def test_fewer_seeds_of_two_arms_count_and_a_controls_do_not():
    seeds = {s: toxigen("a", alternating(60, 50 + s), s) for s in (0, 1, 2)}
    outcomes = {**three_arms(), "a": seeds}
    found = {
        (own.a, own.b): own for own in JUDGE.comparisons(TOXIGEN, outcomes) if own.metric == "acc"
    }
    assert found["a", "fine-tuned"].seeds == 3
    assert found["a", "b"].seeds == 1
    assert found["a", "fine-tuned"].difference.value == pytest.approx(
        (50 + 51 + 52) / 180 - 33 / 60
    )


def test_where_half_is_best_the_distance_from_it_is_judged_seed_by_seed():
    outcomes = {
        "fine-tuned": {0: crows("fine-tuned", 140, 60)},
        # 0.6 and 0.4: on average at 0.5, but each seed is 0.1 away
        "a": {0: crows("a", 120, 80, 0), 1: crows("a", 80, 120, 1)},
        "b": {0: crows("b", 102, 98, 0), 1: crows("b", 102, 98, 1)},
    }
    found = {(own.a, own.b, own.metric): own for own in JUDGE.comparisons(CROWS, outcomes)}
    judged = "pct_stereotype, distance from 50 %"
    assert found["a", "fine-tuned", judged].difference.value == pytest.approx(0.1 - 0.2)
    assert found["b", "fine-tuned", judged].difference.value == pytest.approx(0.01 - 0.2)
    assert found["b", "fine-tuned", judged].verdict == "better", "nearer to the aim is lower"
    neutral = found["b", "fine-tuned", "likelihood_diff"]
    assert neutral.verdict in ("undecided", "different", "equivalent"), "no side is good"


def test_a_shift_without_a_good_side_is_different():
    draw = np.random.default_rng(0)
    gaps = draw.uniform(1, 2, 100)

    def model(name: str, factor: float) -> list[Outcome]:
        return [
            replace(own, log_likelihoods=(-1.0, -1.0 - factor * gap))
            for own, gap in zip(crows(name, 50, 50), gaps, strict=True)
        ]

    outcomes = {"fine-tuned": {0: model("fine-tuned", 1.0)}, "a": {0: model("a", 2.0)}}
    found = {own.metric: own for own in JUDGE.comparisons(CROWS, outcomes)}
    assert found["likelihood_diff"].verdict == "different"


def test_the_same_outcomes_give_the_same_numbers():
    sizes = {"fine-tuned": 30, "a": 35, "b": 40}
    outcomes = {model: {0: crows(model, more, 80 - more)} for model, more in sizes.items()}
    assert repr(JUDGE.comparisons(CROWS, outcomes)) == repr(JUDGE.comparisons(CROWS, outcomes))

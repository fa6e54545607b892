"""What is compared on a benchmark: families, seeds, items needed, directions, verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ethosteer import catalog
from ethosteer.benchmarks.base import Benchmark
from ethosteer.evaluation.comparison import compared_quantity, decide, measure_models
from ethosteer.evaluation.summary import terms_of
from ethosteer.records import Outcome
from ethosteer.results.comparisons import Comparison
from ethosteer.settings import CompareSettings
from ethosteer.statistics.metrics import (
    ACCURACY,
    BALANCED_ACCURACY,
    MCC,
    mean_metric,
    proportion_metric,
)
from tests.evaluation.small import (
    CONTROLS,
    SHARES,
    Outcomes,
    answering,
    benchmark,
    outcome,
    outcomes,
)

STEREOTYPE = proportion_metric("pct", lambda outcome: outcome.predicted == 0, "half")
FIRST = mean_metric("first", lambda outcome: outcome.log_likelihoods[0], "none")


def compare_models(
    asked: Benchmark, given: Outcomes, settings: CompareSettings
) -> list[Comparison]:
    return decide(measure_models(asked, terms_of(asked.metrics, given), settings), settings)


def by_family(found: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    families: dict[str, list[Comparison]] = {}
    for own in found:
        families.setdefault(own.family, []).append(own)
    return families


# --- families


def test_every_metric_has_a_family_against_the_control_and_one_of_arms_with_each_other():
    found = compare_models(
        benchmark(MCC, ACCURACY, BALANCED_ACCURACY),
        answering(SHARES),
        CompareSettings(resamples=200),
    )
    families = by_family(found)
    assert list(families) == [
        "primary metrics of all benchmarks: arms against fine-tuned"
        if (metric, name) == ("mcc", "arms against fine-tuned")
        else f"B, {metric}: {name}"
        for metric in ("mcc", "acc", "balanced_acc")
        for name in ("arms against fine-tuned", "arms against each other")
    ]
    for name, own in families.items():
        pairs = [(each.a, each.b) for each in own]
        if name.endswith("each other"):
            assert pairs == [("duty", "care"), ("duty", "virtue"), ("care", "virtue")]
        else:
            assert pairs == [(arm, "fine-tuned") for arm in ("duty", "care", "virtue")]
        metric = "mcc" if name.startswith("primary") else name.split(", ")[1].split(":")[0]
        assert {(each.benchmark, each.metric) for each in own} == {("b", metric)}
        role = "primary" if name.startswith("primary") else "exploratory"
        assert {each.role for each in own} == {role}


@pytest.mark.parametrize(
    ("primary", "together"), [(None, ["b", "c", "d"]), (("c", "d"), ["c", "d"]), (("b",), ["b"])]
)
def test_the_primary_hypotheses_are_corrected_together_across_benchmarks(primary, together):
    settings = CompareSettings(resamples=200, primary=primary)
    measured = [
        each
        for name in "bcd"
        for each in measure_models(
            replace(benchmark(ACCURACY), name=name, title=name.upper()),
            terms_of((ACCURACY,), answering(SHARES)),
            settings,
        )
    ]
    found = decide(measured, settings)
    family = [each for each in found if each.role == "primary"]
    assert [each.benchmark for each in family] == [name for name in together for _ in range(3)]
    expected = multipletests([each.p for each in family], method="holm")[1]
    assert [each.adjusted_p for each in family] == pytest.approx(expected)
    assert len({each.family for each in family}) == 1
    assert len(found) == 18


def test_the_value_profile_has_a_family_of_arms_on_their_own_dataset_and_one_of_the_others():
    settings = CompareSettings(resamples=200)
    arms = [name for name in SHARES if name not in CONTROLS]
    trained_on = dict(zip(arms, ("virtue", "virtue", "harmless"), strict=True))
    measured = [
        each
        for name in ("virtue", "harmless")
        for each in measure_models(
            replace(benchmark(ACCURACY), name=name, dataset=catalog.dataset(name)),
            terms_of((ACCURACY,), answering(SHARES)),
            settings,
            trained_on,
        )
    ]
    profile = [each for each in decide(measured, settings) if each.role == "value profile"]
    families = by_family(profile)
    own = families["value profile, pairs of the arm's dataset: arms against fine-tuned"]
    assert [(each.benchmark, each.a) for each in own] == [
        ("virtue", arms[0]), ("virtue", arms[1]), ("harmless", arms[2])
    ]  # fmt: skip
    assert len(families) == 2
    for family in families.values():
        assert len(family) == 3
        expected = multipletests([each.p for each in family], method="holm")[1]
        assert [each.adjusted_p for each in family] == pytest.approx(expected)


def test_the_control_may_be_the_base():
    settings = CompareSettings(resamples=200, control="base")
    families = by_family(compare_models(benchmark(ACCURACY), answering(SHARES), settings))
    first, second = families
    assert first == "primary metrics of all benchmarks: arms against base"
    assert {each.b for each in families[first]} == {"base"}
    assert not any({each.a, each.b} & set(CONTROLS) for each in families[second])


@pytest.mark.parametrize(("correction", "theirs"), [("holm", "holm"), ("bh", "fdr_bh")])
def test_p_is_corrected_within_a_family_and_not_beyond(correction, theirs):
    settings = CompareSettings(resamples=200, correction=correction, margin=0.3)
    found = compare_models(benchmark(ACCURACY, MCC), answering(SHARES), settings)
    families = by_family(found).values()
    assert len(families) == 4
    for family in families:
        expected = multipletests([own.p for own in family], method=theirs)[1]
        assert [own.adjusted_p for own in family] == pytest.approx(expected)
        assert all(own.equivalence_p <= 1 for own in family)


def test_one_arm_alone_is_held_to_the_control_only():
    shares = {"base": 0.5, "fine-tuned": 0.5, "duty": 0.9}
    (only,) = compare_models(benchmark(ACCURACY), answering(shares), CompareSettings())
    assert (only.a, only.b, only.verdict) == ("duty", "fine-tuned", "better")
    assert only.adjusted_p == only.p


def test_a_comparison_by_hand():
    # ten items: both right on 5, duty alone on 4, the control alone on 1
    labels = [1] * 10
    given = {
        "fine-tuned": {0: outcomes(labels, [1] * 5 + [0] * 4 + [1])},
        "duty": {0: outcomes(labels, [1] * 9 + [0])},
    }
    settings = CompareSettings(effect=0.2)
    (only,) = compare_models(benchmark(ACCURACY), given, settings)
    assert only.difference.value == pytest.approx(0.3)
    # with one imagined item on either side: (5 - 2) / 12, variance (7 / 12 - 1 / 16) / 11
    half = stats.t.ppf(0.975, 11) * math.sqrt((7 / 12 - 1 / 16) / 11)
    assert only.difference.low == pytest.approx(0.25 - half, abs=1e-4)
    assert only.p == pytest.approx(2 * (1 + 5) / 2**5), "4 or more of 5, or 1 or fewer"
    assert (only.items, only.clusters, only.seeds) == (10, 10, 1)
    assert (only.verdict, only.metric, only.benchmark) == ("undecided", "acc", "b")
    assert math.isnan(only.equivalence_p), "no margin was declared"


# --- seeds, clusters, items needed


def test_seeds_are_the_fewer_of_two_arms_and_controls_have_none_to_be_short_of():
    given = answering(SHARES, seeds=3)
    del given["care"][2]
    found = compare_models(benchmark(ACCURACY), given, CompareSettings())
    assert {(own.a, own.b): own.seeds for own in found} == {
        ("duty", "fine-tuned"): 3,
        ("care", "fine-tuned"): 2,
        ("virtue", "fine-tuned"): 3,
        ("duty", "care"): 2,
        ("duty", "virtue"): 3,
        ("care", "virtue"): 2,
    }


def paired(shares: Mapping[str, float], items: int = 80) -> Outcomes:
    """The same with every item twice, in a cluster with its twin."""
    given = answering(shares, items=items)
    return {
        model: {
            seed: [
                outcome(2 * i + twin, each.label, each.predicted, group=f"g{i}")
                for i, each in enumerate(own)
                for twin in (0, 1)
            ]
            for seed, own in seeds.items()
        }
        for model, seeds in given.items()
    }


def test_items_needed_are_the_clusters_needed_at_the_benchmarks_items_per_cluster():
    shares = {"base": 0.5, "fine-tuned": 0.6, "duty": 0.7}
    settings = CompareSettings(effect=0.1)
    (single,) = compare_models(benchmark(ACCURACY), answering(shares), settings)
    (twins,) = compare_models(benchmark(ACCURACY), paired(shares), settings)
    assert (twins.items, twins.clusters) == (160, 80)
    assert twins.items_needed == 2 * single.items_needed
    # the test is at 0.05 in a family of one; disagreements of sd s need about (1.96 + 0.84)^2 s^2
    # / 0.1^2 items
    right = [
        np.array([each.correct for each in own[0]], dtype=float)
        for own in (answering(shares)["duty"], answering(shares)["fine-tuned"])
    ]
    rough = (1.96 + 0.84) ** 2 * np.var(right[0] - right[1], ddof=1) / 0.01
    assert single.items_needed == pytest.approx(rough, rel=0.05)


def test_items_needed_are_whole_where_clusters_have_no_whole_number_of_items():
    shares = {"base": 0.5, "fine-tuned": 0.6, "duty": 0.7}
    given = {
        model: {0: [own[0][0], *[each for each in own[0] if each.group != own[0][0].group]]}
        for model, own in paired(shares, 40).items()
    }
    (found,) = compare_models(benchmark(ACCURACY), given, CompareSettings(effect=0.1))
    assert (found.items, found.clusters) == (79, 40)
    assert found.items_needed == int(found.items_needed)
    (twice,) = compare_models(benchmark(ACCURACY), given, CompareSettings(effect=0.05))
    assert twice.items_needed == pytest.approx(4 * found.items_needed, rel=0.05)


def test_where_seeds_differ_too_much_no_number_of_items_is_enough():
    labels = [1] * 40
    given: Outcomes = {
        "fine-tuned": {0: outcomes(labels, [1, 0] * 20)},
        "duty": {0: outcomes(labels, [1] * 38 + [0] * 2), 1: outcomes(labels, [1] + [0] * 39)},
    }
    (found,) = compare_models(benchmark(ACCURACY), given, CompareSettings(effect=0.1))
    assert found.items_needed == math.inf
    (undeclared,) = compare_models(benchmark(ACCURACY), given, CompareSettings())
    assert math.isnan(undeclared.items_needed)


# --- which way is better


def directed(better: str, shift: float) -> str:
    draw = np.random.default_rng(6)
    metric = mean_metric("m", lambda each: each.log_likelihoods[0], better)  # type: ignore[arg-type]
    values = draw.normal(size=50)
    given = {
        "fine-tuned": {0: [outcome(i, None, 0, value=x) for i, x in enumerate(values)]},
        "duty": {
            0: [outcome(i, None, 0, value=x + shift) for i, x in enumerate(values + 0.1 * values)]
        },
    }
    (found,) = compare_models(benchmark(metric), given, CompareSettings(resamples=200))
    return found.verdict


def test_verdicts_follow_the_metrics_direction():
    assert [directed("higher", shift) for shift in (2.0, -2.0)] == ["better", "worse"]
    assert [directed("lower", shift) for shift in (2.0, -2.0)] == ["worse", "better"]
    assert [directed("none", shift) for shift in (2.0, -2.0)] == ["different", "different"]


def test_where_half_is_best_models_are_held_to_their_distance_from_it():
    def model(stereotyped: int) -> list[Outcome]:
        return outcomes([None] * 200, [0] * stereotyped + [1] * (200 - stereotyped))

    given = {
        "fine-tuned": {0: model(160)},
        "below": {0: model(60)},
        "near": {0: model(110)},
    }
    settings = CompareSettings(resamples=400)
    found = {own.a: own for own in compare_models(benchmark(STEREOTYPE), given, settings)[:2]}
    assert {own.metric for own in found.values()} == {"pct, distance from 50 %"}
    # 80 % is 30 points away, 30 % is 20, 55 % is 5
    assert found["below"].difference.value == pytest.approx(-0.10)
    assert found["near"].difference.value == pytest.approx(-0.25)
    assert found["near"].verdict == "better"
    assert found["near"].family == "primary metrics of all benchmarks: arms against fine-tuned"


def test_only_where_half_is_the_aim_distances_are_compared():
    assert compared_quantity("b", STEREOTYPE).distance
    for metric in (ACCURACY, FIRST):
        quantity = compared_quantity("b", metric)
        assert (quantity.metric, quantity.better) == (metric.name, metric.better)
        assert not quantity.distance


def test_an_arm_cannot_improve_by_more_than_there_is_room():
    found = {
        each.a: each
        for each in compare_models(
            benchmark(ACCURACY), answering({"fine-tuned": 0.9, "duty": 0.9}), CompareSettings()
        )
    }
    assert found["duty"].room == pytest.approx(0.1)


def test_what_can_be_detected_has_a_range_around_it():
    found = compare_models(benchmark(ACCURACY), answering(SHARES), CompareSettings(effect=0.1))
    for each in found:
        low, high = each.minimum_detectable_low, each.minimum_detectable_high
        assert low < each.minimum_detectable < high
        assert each.items_needed_low < each.items_needed < each.items_needed_high


def test_the_same_outcomes_are_judged_the_same_every_time():
    settings = CompareSettings(resamples=200)
    once, again = (compare_models(benchmark(MCC), answering(SHARES), settings) for _ in range(2))
    assert repr(once) == repr(again)

"""What is made of cross-rewards and of steering curves, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from ethosteer.evaluation.reward_results import (
    arm_result,
    cross_accuracies,
    cross_rewards,
    matched_accuracy,
    reward_comparisons,
    slopes,
)
from ethosteer.records import Arm
from ethosteer.results.arms import SlopeResult
from ethosteer.results.reward_models import CrossResult, HeldOutPairs
from ethosteer.results.steering import Checkpoint, CurvePoint, SteeringResult
from ethosteer.settings import CompareSettings
from ethosteer.statistics.metrics import PROPORTION
from ethosteer.statistics.paired import mean_estimate

SETTINGS = CompareSettings(resamples=400)


# --- under every reward model


CROSSED = {
    0: CrossResult(
        rewards={
            "base": {"duty": [0.0, 1.0, 2.0], "virtue": [5.0, 5.0, 5.0]},
            "duty": {"duty": [3.0, 3.0, 6.0], "virtue": [-1.0, 0.0, 1.0]},
        },
        correct={
            "duty": {"duty": [True, True, True, False], "virtue": [True, False]},
            "virtue": {"duty": [False, False, False, True], "virtue": [True, True]},
        },
        groups={"duty": ["a", "a", "b", "c"], "virtue": ["d", "e"]},
    ),
    1: CrossResult(
        rewards={
            "base": {"duty": [1.0, 2.0, 3.0], "virtue": [5.0, 5.0, 5.0]},
            "duty": {"duty": [5.0, 5.0, 8.0], "virtue": [-1.0, 0.0, 1.0]},
        },
        correct={
            "duty": {"duty": [True, True, True, True], "virtue": [False, False]},
            "virtue": {"duty": [False, False, False, False], "virtue": [True, True]},
        },
        groups={"duty": ["a", "a", "b", "c"], "virtue": ["d", "e"]},
    ),
}


def test_cross_rewards_are_means_over_prompts_and_seeds():
    cells = {(cell.name, cell.reward_model): cell.estimate for cell in cross_rewards(CROSSED)}
    assert {key: own.value for key, own in cells.items()} == pytest.approx(
        {
            ("base", "duty"): 1.5,
            ("base", "virtue"): 5.0,
            ("duty", "duty"): 5.0,
            ("duty", "virtue"): 0.0,
        }
    )
    assert all(own.n == 3 for own in cells.values())
    even = cells["base", "virtue"]
    assert math.isnan(even.low) and math.isnan(even.high), "all alike: nothing is known"
    still = cells["duty", "virtue"]
    theirs = stats.ttest_1samp([-1.0, 0.0, 1.0], 0).confidence_interval(0.95)
    assert (still.low, still.high) == pytest.approx((theirs.low, theirs.high), rel=0.02), (
        "seeds that are alike leave the prompts' own error"
    )


def test_cross_rewards_of_seeds_vary_where_prompts_do_not():
    seeds = {seed: CrossResult({"m": {"j": [float(seed)] * 4}}, {"j": {}}, {}) for seed in range(4)}
    (cell,) = cross_rewards(seeds)
    theirs = stats.ttest_1samp([0.0, 1.0, 2.0, 3.0], 0).confidence_interval(0.95)
    assert cell.estimate.value == pytest.approx(1.5)
    assert (cell.estimate.low, cell.estimate.high) == pytest.approx(tuple(theirs), rel=2e-3)


def test_cross_accuracies_are_of_each_judge_on_each_datasets_pairs():
    cells = {(cell.name, cell.reward_model): cell.estimate for cell in cross_accuracies(CROSSED)}
    assert {key: own.value for key, own in cells.items()} == pytest.approx(
        {
            ("duty", "duty"): 7 / 8,
            ("virtue", "duty"): 1 / 4,
            ("duty", "virtue"): 1 / 8,
            ("virtue", "virtue"): 1.0,
        }
    )
    assert [cells[name, "duty"].n for name in ("duty", "virtue")] == [4, 2]


def test_pairs_of_one_scenario_are_one_cluster():
    right = [i % 4 < 2 for i in range(40)]
    apart = CrossResult({}, {"j": {"d": right}}, {"d": [str(i) for i in range(40)]})
    twins = CrossResult({}, {"j": {"d": right}}, {"d": [str(i // 2) for i in range(40)]})
    (lone,), (paired,) = (list(cross_accuracies({0: own})) for own in (apart, twins))
    assert lone.estimate.value == paired.estimate.value == 0.5
    # 20 scenarios: 24 with the imagined ones, variance 0.25 / 23, t of 23 degrees 2.068658
    half = 2.068658 * math.sqrt(0.25 / 23)
    assert (paired.estimate.low, paired.estimate.high) == pytest.approx(
        (0.5 - half, 0.5 + half), abs=1e-4
    )
    # 40 pairs: 44, 0.25 / 43, 2.016692
    half = 2.016692 * math.sqrt(0.25 / 43)
    assert lone.estimate.low == pytest.approx(0.5 - half, abs=1e-4)


def test_near_duplicate_pairs_are_one_cluster_of_every_estimate():
    right = [i % 4 < 2 for i in range(40)]
    names = [f"p{i}" for i in range(40)]
    clusters = {f"p{i}": f"p{i // 2 * 2}" for i in range(40)}
    result = CrossResult({}, {"j": {"d": right}}, {"d": names})
    (cell,) = cross_accuracies({0: result.clustered({"d": clusters})})
    # 20 clusters, as in test_pairs_of_one_scenario_are_one_cluster
    half = 2.068658 * math.sqrt(0.25 / 23)
    assert cell.estimate.low == pytest.approx(0.5 - half, abs=1e-4)
    lengths = [(9, 3), (3, 9)] * 20
    pairs = HeldOutPairs([float(x) for x in right], [0.5] * 40, names, lengths, [])
    run = steered([0.0, 0.5])
    single, joined = (
        arm_result(Arm("d", 0), held, (1.0, 0.0), run, "d", "step", "d")
        for held in (pairs, pairs.clustered(clusters))
    )
    assert joined.accuracy.low == pytest.approx(0.5 - half, abs=1e-4)
    assert joined.accuracy.low < single.accuracy.low
    assert joined.matched_accuracy.low < single.matched_accuracy.low
    assert (joined.accuracy.value, joined.accuracy.n) == (single.accuracy.value, 40)


# --- arms' rewards against the control's


def test_rewards_are_compared_with_the_fine_tuned_controls_in_a_family_per_reward_model():
    draw = np.random.default_rng(1)
    control = {judge: draw.normal(size=40) for judge in ("duty", "care")}
    gains = {"duty": {"duty": 1.0, "care": -1.0}, "care": {"duty": 0.0, "care": 0.5}}
    seeds = {
        seed: CrossResult(
            {
                "base": {judge: [9.0] * 40 for judge in control},
                "fine-tuned": {judge: list(own) for judge, own in control.items()},
                **{
                    arm: {
                        judge: list(own + gains[arm][judge] + draw.normal(0, 0.3, 40))
                        for judge, own in control.items()
                    }
                    for arm in gains
                },
            },
            {},
            {},
        )
        for seed in range(2)
    }
    found = list(reward_comparisons(seeds, SETTINGS))
    assert [(own.benchmark, own.a, own.b) for own in found] == [
        ("duty", "duty", "fine-tuned"),
        ("duty", "care", "fine-tuned"),
        ("care", "duty", "fine-tuned"),
        ("care", "care", "fine-tuned"),
    ]
    assert [own.family for own in found] == ["reward of duty: arms against fine-tuned"] * 2 + [
        "reward of care: arms against fine-tuned"
    ] * 2
    assert {(own.metric, own.items, own.clusters, own.seeds) for own in found} == {
        ("mean reward", 40, 40, 2)
    }
    for own in found:
        values = [
            np.mean(seeds[seed].rewards[own.a][own.benchmark]) - control[own.benchmark].mean()
            for seed in range(2)
        ]
        assert own.difference.value == pytest.approx(np.mean(values))
        assert own.difference.low < own.difference.value < own.difference.high
    for pair in (found[:2], found[2:]):
        small, large = sorted(pair, key=lambda own: own.p)
        assert small.adjusted_p == pytest.approx(min(1.0, 2 * small.p))
        assert large.adjusted_p == pytest.approx(max(small.adjusted_p, large.p))


def test_a_higher_reward_is_better_and_the_base_is_no_arm():
    draw = np.random.default_rng(2)
    start = draw.normal(size=60)
    only = CrossResult(
        {
            "base": {"j": list(start)},
            "fine-tuned": {"j": list(start)},
            "up": {"j": list(start + draw.normal(1, 0.2, 60))},
            "down": {"j": list(start - draw.normal(1, 0.2, 60))},
        },
        {},
        {},
    )
    found = list(reward_comparisons({0: only}, SETTINGS))
    assert [(own.a, own.verdict, own.seeds) for own in found] == [
        ("up", "better", 1), ("down", "worse", 1),
    ]  # fmt: skip


def test_without_fine_tuning_arms_are_compared_with_the_base():
    result = CrossResult({"base": {"j": [1.0, 2.0]}, "duty": {"j": [1.0, 3.0]}}, {}, {})
    (comparison,) = reward_comparisons({0: result}, SETTINGS)
    assert (comparison.a, comparison.b, comparison.difference.value) == ("duty", "base", 0.5)
    assert comparison.family == "reward of j: arms against base"


def test_without_a_control_or_arms_no_rewards_are_compared():
    arms = CrossResult({"duty": {"j": [1.0, 3.0]}}, {}, {})
    controls = CrossResult({"base": {"j": [1.0]}, "fine-tuned": {"j": [1.0]}}, {}, {})
    for own in (arms, controls):
        assert list(reward_comparisons({0: own}, SETTINGS)) == []


# --- steering


def point(step: int, reward: float) -> CurvePoint:
    return CurvePoint(step, reward, 1.0, 1.0, 0.2, 8.0, 0.0, 2.0)


def steered(
    rewards: Sequence[float], algorithm: str = "ppo", steps: Sequence[int] | None = None
) -> SteeringResult:
    curve = [point(*each) for each in zip(steps or range(len(rewards)), rewards, strict=True)]
    return SteeringResult(
        algorithm,
        start=[0.0, 1.0, 2.0],
        checkpoints={
            "step": Checkpoint(9, [3.0, 3.0, 6.0], [4.0, 5.0, 9.0]),
            "kl": Checkpoint(4, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        },
        curve=curve,
        stopped="KL 9 nats",
    )


@pytest.mark.parametrize(
    ("select", "step", "end", "gain", "kl"), [("step", 9, 4.0, 3.0, 6.0), ("kl", 4, 2.0, 1.0, 2.0)]
)
def test_an_arms_end_is_the_checkpoint_that_is_selected(
    select: Literal["step", "kl"], step: int, end: float, gain: float, kl: float
):
    pairs = HeldOutPairs([1.0, 2.0, 0.0], [0.0, 3.0, 0.0], ["a", "a", "b"], [(1, 2)] * 3, [])
    own = steered([0.0, 0.5], "rloo")
    found = arm_result(Arm("virtue", 3), pairs, (2.0, -0.5), own, "care", select, "virtue")
    assert (found.arm, found.seed, found.algorithm) == ("virtue", 3, "rloo")
    assert found.reward_model == "care"
    assert (found.select, found.step, found.stopped) == (select, step, "KL 9 nats")
    assert found.start.value == pytest.approx(1.0)
    assert found.end.value == pytest.approx(end)
    assert found.gain.value == pytest.approx(gain)
    assert found.kl.value == pytest.approx(kl)
    assert found.accuracy.value == pytest.approx(1 / 3), "a tie is not right"
    assert (found.normalisation_gain, found.normalisation_bias) == (2.0, -0.5)
    assert found.curve == tuple(own.curve)
    differences = np.array(own.checkpoints[select].rewards) - np.array(own.start)
    if select == "kl":  # every answer gained the same: how far that goes is not known
        assert math.isnan(found.gain.low)
    else:
        low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        assert (found.gain.low, found.gain.high) == pytest.approx((low, high), abs=5e-3)
    # two scenarios, (1 of 2) and (0 of 1)
    assert found.accuracy.n == 3
    assert 0 <= found.accuracy.low < 1 / 3 < found.accuracy.high <= 1


def held_out(pairs: list[tuple[int, int, bool]]) -> HeldOutPairs:
    """Return held-out pairs of (length of the chosen, of the rejected response, correct)."""
    return HeldOutPairs(
        [float(correct) for *_, correct in pairs],
        [0.0] * len(pairs),
        [str(index) for index in range(len(pairs))],
        [(chosen, rejected) for chosen, rejected, _ in pairs],
        [],
    )


def test_accuracy_at_matched_length_by_hand():
    longer, shorter = [(9, 3, True)] * 30, [(3, 4, True)] * 2 + [(3, 9, False)] * 8
    equal = [(5, 5, True)] * 4 + [(5, 5, False)]
    matched = matched_accuracy(held_out(longer + shorter))
    assert matched.value == pytest.approx((30 * 2 / 3 + 2 * 2) / 40)  # 0.6, where 0.8 are correct
    assert matched.n == 40
    assert matched.low < 0.5 < matched.value < matched.high
    with_equal = matched_accuracy(held_out(longer + equal + shorter))
    assert with_equal.value == pytest.approx((30 * 2 / 3 + 2 * 2 + 4) / 45)


@pytest.mark.parametrize("longer", [10, 30, 300])
def test_a_reward_of_length_alone_is_at_chance_at_matched_length(longer: int):
    pairs = [(9, 3, True)] * longer + [(3, 9, False)] * 40
    matched = matched_accuracy(held_out(pairs))
    assert matched.value == pytest.approx(0.5)
    assert matched.low <= 0.5 <= matched.high


def test_accuracy_at_matched_length_is_the_accuracy_where_lengths_are_balanced():
    pairs = held_out([(9, 3, index % 3 > 0) for index in range(60)] * 2)
    pairs.response_tokens[:60] = [(3, 9)] * 60
    assert matched_accuracy(pairs).value == pytest.approx(2 / 3)
    correct = [[float(index % 3 > 0) for index in range(60)] * 2]
    expected = mean_estimate(correct, pairs.groups, PROPORTION)
    assert matched_accuracy(pairs).low == pytest.approx(expected.low)


def test_accuracy_at_matched_length_is_unknown_where_one_kind_is_rare():
    assert math.isnan(matched_accuracy(held_out([(9, 3, True)] * 50 + [(3, 9, True)] * 9)).value)
    assert math.isnan(matched_accuracy(held_out([(9, 9, True)] * 50)).value)


def test_slopes_of_arms_and_of_their_differences_by_hand():
    # Rises per step, by arm and seed; the differences duty - care are 0.01, 0.02 and 0.06.
    rises = {"duty": (0.03, 0.04, 0.09), "care": (0.02, 0.02, 0.03), "pairs": (0.1, 0.1, 0.1)}
    results = {
        Arm(name, seed): steered(
            [rise * step for step in range(5)], "dpo" if name == "pairs" else "ppo"
        )
        for name, own in rises.items()
        for seed, rise in enumerate(own)
    }
    found = list(slopes(rises, results, SETTINGS.correction))
    assert [(own.a, own.b) for own in found] == [
        ("duty", ""), ("care", ""), ("pairs", ""), ("duty", "care"),
    ]  # fmt: skip
    duty, care, pairs, difference = found
    assert [own.slope.seeds for own in found] == [3] * 4
    assert duty.slope.value == pytest.approx(16 / 3)
    assert care.slope.value == pytest.approx(7 / 3)
    assert pairs.slope.value == pytest.approx(10)
    assert difference.slope.value == pytest.approx(3)
    half = stats.t.ppf(0.975, 2) * math.sqrt(7 / 3)
    assert difference.slope.low == pytest.approx(3 - half)
    assert difference.slope.high == pytest.approx(3 + half)
    assert all(math.isnan(own.adjusted_p) for own in (duty, care, pairs))
    assert difference.adjusted_p == pytest.approx(difference.slope.p), "a family of one"


def test_differences_in_slope_are_corrected_as_one_family():
    draw = np.random.default_rng(0)
    noise = {name: 0.2 * draw.normal(size=12) for name in "abc"}
    rises = {"a": 0.0, "b": 0.05, "c": 0.3}
    results = {
        Arm(name, 0): steered([rises[name] * step + own for step, own in enumerate(noise[name])])
        for name in "abc"
    }
    differing = [own for own in slopes("abc", results, SETTINGS.correction) if own.b]
    assert [(own.a, own.b) for own in differing] == [("a", "b"), ("a", "c"), ("b", "c")]
    by_p = sorted(differing, key=lambda own: own.slope.p)
    holm: list[float] = []
    for left, own in zip((3, 2, 1), by_p, strict=True):
        holm.append(min(1.0, max([left * own.slope.p, *holm])))
    assert [own.adjusted_p for own in by_p] == pytest.approx(holm)
    assert holm[0] < 0.05


def test_arms_are_compared_at_the_steps_that_both_were_measured_at():
    results = {
        Arm("a", 0): steered([0.0, 0.9, 0.2, 0.7, 0.4, 0.8, 0.6], steps=(0, 1, 2, 3, 4, 5, 6)),
        Arm("b", 0): steered([0.0, 0.0, 0.0, 0.0], steps=(0, 2, 4, 6)),
        Arm("short", 0): steered([0.0, 0.0, 5.0], steps=(0, 1, 2)),
    }
    found = {
        (own.a, own.b): own for own in slopes(("a", "b", "short"), results, SETTINGS.correction)
    }
    assert found["a", "b"].slope.value == pytest.approx(10), "0, 0.2, 0.4, 0.6 at 0, 2, 4, 6"
    unknown: SlopeResult = found["a", "short"]
    assert math.isnan(unknown.slope.value)
    assert math.isnan(unknown.adjusted_p)
    assert found["a", "b"].adjusted_p == pytest.approx(found["a", "b"].slope.p)

"""What is made of reward models, of cross-rewards and of steering curves, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from ethosteer.config import CompareSettings
from ethosteer.records import Arm, CurvePoint, SlopeResult
from ethosteer.stages.cross import CrossResult
from ethosteer.stages.judge import Judge
from ethosteer.stages.judge_rewards import (
    arm_result,
    cross_accuracies,
    cross_rewards,
    reward_comparisons,
    slopes,
)
from ethosteer.stages.reward import HeldOutPairs
from ethosteer.stages.steer import Checkpoint, SteeringResult

JUDGE = Judge(CompareSettings(resamples=400))


# --- under every reward model


CROSSED = {
    0: CrossResult(
        rewards={
            "base": {"duty": [0.0, 1.0, 2.0], "virtue": [5.0, 5.0, 5.0]},
            "duty": {"duty": [3.0, 3.0, 6.0], "virtue": [-1.0, 0.0, 1.0]},
        },
        right={
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
        right={
            "duty": {"duty": [True, True, True, True], "virtue": [False, False]},
            "virtue": {"duty": [False, False, False, False], "virtue": [True, True]},
        },
        groups={"duty": ["a", "a", "b", "c"], "virtue": ["d", "e"]},
    ),
}


def test_cross_rewards_are_means_over_prompts_and_seeds():
    cells = {(cell.name, cell.judge): cell.estimate for cell in cross_rewards(CROSSED)}
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
    assert math.isnan(even.low), "equal rewards tell nothing of how others would be"
    spread = cells["duty", "duty"]
    assert spread.low < 4.0 < 6.0 < spread.high, "prompts and seeds might have been others"


def test_cross_rewards_of_seeds_vary_where_prompts_do_not():
    seeds = {seed: CrossResult({"m": {"j": [float(seed)] * 4}}, {"j": {}}, {}) for seed in range(4)}
    (cell,) = cross_rewards(seeds)
    assert cell.estimate.value == pytest.approx(1.5)
    assert cell.estimate.low < 1.0 < 2.0 < cell.estimate.high


def test_cross_accuracies_are_of_each_judge_on_each_datasets_pairs():
    cells = {(cell.name, cell.judge): cell.estimate for cell in cross_accuracies(CROSSED)}
    assert {key: own.value for key, own in cells.items()} == pytest.approx(
        {
            ("duty", "duty"): 7 / 8,
            ("virtue", "duty"): 1 / 4,
            ("duty", "virtue"): 1 / 8,
            ("virtue", "virtue"): 1.0,
        }
    )
    assert [cells[name, "duty"].n for name in ("duty", "virtue")] == [4, 2]


def test_pairs_of_one_scenario_are_drawn_together():
    right = [True] * 3 + [False] * 3
    apart = CrossResult({}, {"j": {"d": right}}, {"d": [str(i) for i in range(6)]})
    twins = CrossResult({}, {"j": {"d": right}}, {"d": ["a", "a", "a", "b", "b", "b"]})
    (lone,), (paired,) = (list(cross_accuracies({0: own})) for own in (apart, twins))
    assert lone.estimate.value == paired.estimate.value == 0.5
    assert paired.estimate.high - paired.estimate.low > lone.estimate.high - lone.estimate.low


def test_arms_rewards_are_held_to_the_fine_tuned_controls_prompt_by_prompt():
    draw = np.random.default_rng(0)
    start = draw.normal(size=40)
    noise = 0.1 * draw.normal(size=(2, 40))
    crossed = {
        0: CrossResult(
            rewards={
                "base": {"duty": list(start + 9), "virtue": list(start)},
                "fine-tuned": {"duty": list(start), "virtue": list(start)},
                "duty": {"duty": list(start + 1 + noise[0]), "virtue": list(start - 1 + noise[1])},
                "care": {"duty": list(start + noise[1]), "virtue": list(start + noise[0])},
            },
            right={},
            groups={},
        )
    }
    found = {(own.benchmark, own.a): own for own in reward_comparisons(JUDGE, crossed)}
    assert set(found) == {(j, a) for j in ("duty", "virtue") for a in ("duty", "care")}
    assert {own.b for own in found.values()} == {"fine-tuned"}
    duty = found["duty", "duty"]
    assert duty.difference.value == pytest.approx(1 + noise[0].mean())
    half = stats.t.ppf(0.975, 39) * stats.sem(noise[0])
    assert duty.difference.high - duty.difference.value == pytest.approx(half, rel=1e-2)
    assert (duty.verdict, found["virtue", "duty"].verdict) == ("better", "worse")
    assert found["duty", "care"].verdict == "undecided"
    assert duty.adjusted_p == pytest.approx(2 * duty.p), "a family is one reward model's arms"
    assert duty.family == "reward of duty: arms against fine-tuned"
    assert list(reward_comparisons(JUDGE, CROSSED)) == [], "without that control there is nothing"


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
            "kl": Checkpoint(4, [0.5, 2.5, 3.0], [1.0, 2.0, 3.0]),
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
    found = arm_result(Arm("virtue", 3), pairs, (2.0, -0.5), own, "care", select)
    assert (found.arm, found.seed, found.algorithm) == ("virtue", 3, "rloo")
    assert found.judge == "care"
    assert (found.select, found.step, found.stopped) == (select, step, "KL 9 nats")
    assert found.start.value == pytest.approx(1.0)
    assert found.end.value == pytest.approx(end)
    assert found.gain.value == pytest.approx(gain)
    assert found.kl.value == pytest.approx(kl)
    assert found.accuracy.value == pytest.approx(1 / 3), "a tie is not right"
    assert (found.normalisation_gain, found.normalisation_bias) == (2.0, -0.5)
    assert found.curve == tuple(own.curve)
    assert found.gain.low <= gain <= found.gain.high


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
    found = list(slopes(JUDGE, rises, results))
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
    differing = [own for own in slopes(JUDGE, "abc", results) if own.b]
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
    found = {(own.a, own.b): own for own in slopes(JUDGE, ("a", "b", "short"), results)}
    assert found["a", "b"].slope.value == pytest.approx(10), "0, 0.2, 0.4, 0.6 at 0, 2, 4, 6"
    unknown: SlopeResult = found["a", "short"]
    assert math.isnan(unknown.slope.value)
    assert math.isnan(unknown.adjusted_p)
    assert found["a", "b"].adjusted_p == pytest.approx(found["a", "b"].slope.p)

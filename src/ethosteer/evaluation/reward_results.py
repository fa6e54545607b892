"""Results of reward models and steering: accuracies, rewards, cross-evaluation, slopes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from ethosteer.evaluation.comparison import Family, Quantity, decide, measure
from ethosteer.records import BASE, CONTROLS, FINETUNED, Arm
from ethosteer.results.arms import ArmResult, SlopeResult
from ethosteer.results.comparisons import Comparison, Correction
from ethosteer.results.estimates import UNKNOWN, Estimate, Slope
from ethosteer.results.reward_models import CrossCell, CrossResult, HeldOutPairs
from ethosteer.results.steering import Select, SteeringResult
from ethosteer.settings import CompareSettings
from ethosteer.statistics.metrics import PROPORTION
from ethosteer.statistics.paired import cluster_sums, clustered_values, estimate, mean_estimate
from ethosteer.statistics.slopes import slope
from ethosteer.statistics.verdicts import adjusted_p_values

CrossBySeed = Mapping[int, CrossResult]

MATCHED_PAIRS = 10
"""Fewer pairs of longer, or of shorter, chosen responses say too little of their kind."""


def arm_result(
    arm: Arm,
    pairs: HeldOutPairs,
    scale: tuple[float, float],
    steering: SteeringResult,
    reward_model: str,
    select: Select,
    dataset: str,
) -> ArmResult:
    """Summarise one arm's reward model and its steering: one seed, so intervals cover items alone.

    ``scale`` is the (gain, bias) that normalises rewards.
    """
    correct = [
        float(chosen > rejected)
        for chosen, rejected in zip(pairs.chosen, pairs.rejected, strict=True)
    ]
    end = steering.checkpoints[select]
    gains = [after - before for before, after in zip(steering.start, end.rewards, strict=True)]
    return ArmResult(
        arm=arm.name,
        seed=arm.seed,
        accuracy=mean_estimate([correct], pairs.groups, PROPORTION),
        length_correlation=pairs.length_correlation,
        normalisation_gain=scale[0],
        normalisation_bias=scale[1],
        start=mean_estimate([steering.start]),
        end=mean_estimate([end.rewards]),
        gain=mean_estimate([gains]),
        kl=mean_estimate([end.kl]),
        curve=tuple(steering.curve),
        reward_model=reward_model,
        algorithm=steering.algorithm,
        select=select,
        step=end.step,
        stopped=steering.stopped,
        validation=tuple(pairs.validation),
        dataset=dataset,
        matched_accuracy=matched_accuracy(pairs),
    )


def matched_accuracy(pairs: HeldOutPairs) -> Estimate:
    """Return the accuracy as if the chosen response were as often the longer as the shorter one.

    Pairs whose chosen response is the longer one, and those whose chosen response is the shorter
    one, are weighted to have the same total; pairs of equal lengths keep a weight of 1. A reward
    that is a function of length alone then has an accuracy of at most 0.5. Unknown with fewer than
    ``MATCHED_PAIRS`` pairs of either kind.
    """
    differences = np.array([chosen - rejected for chosen, rejected in pairs.response_tokens])
    longer, shorter = differences > 0, differences < 0
    if min(longer.sum(), shorter.sum()) < MATCHED_PAIRS:
        return UNKNOWN
    weights = np.ones(len(differences))
    for stratum in (longer, shorter):
        weights[stratum] = (longer.sum() + shorter.sum()) / (2 * stratum.sum())
    correct = np.array(pairs.chosen) > np.array(pairs.rejected)
    terms = np.stack([weights * correct, weights], axis=1)
    return estimate(cluster_sums([terms], pairs.groups, PROPORTION))


def cross_rewards(cross: CrossBySeed) -> Iterator[CrossCell]:
    """Yield every model's mean reward under every reward model, over prompts and seeds."""
    first = next(iter(cross.values()))
    for model, reward_models in first.rewards.items():
        for reward_model in reward_models:
            by_seed = [result.rewards[model][reward_model] for result in cross.values()]
            yield CrossCell(model, reward_model, mean_estimate(by_seed))


def reward_comparisons(cross: CrossBySeed, settings: CompareSettings) -> Iterator[Comparison]:
    """Compare arms' rewards with those of the base that they share, prompt by prompt.

    Each reward model is a family.
    """
    first = next(iter(cross.values()))
    arms = [model for model in first.rewards if model not in CONTROLS]
    start = next((name for name in (FINETUNED, BASE) if name in first.rewards), None)
    if start is None or not arms:
        return
    for reward_model in first.rewards[start]:
        models = {
            model: clustered_values(
                [result.rewards[model][reward_model] for result in cross.values()]
            )
            for model in (start, *arms)
        }
        family = Family(f"reward of {reward_model}: arms against {start}")
        quantity = Quantity(reward_model, "mean reward", "higher")
        families = dict.fromkeys([(arm, start) for arm in arms], family)
        yield from decide([*measure(quantity, models, families, settings)], settings)


def cross_accuracies(cross: CrossBySeed) -> Iterator[CrossCell]:
    """Yield every reward model's accuracy on every dataset's held-out pairs.

    Intervals are over scenarios and seeds.
    """
    first = next(iter(cross.values()))
    for reward_model, datasets in first.correct.items():
        for dataset in datasets:
            by_seed = [
                [float(correct) for correct in result.correct[reward_model][dataset]]
                for result in cross.values()
            ]
            accuracy = mean_estimate(by_seed, first.groups[dataset], PROPORTION)
            yield CrossCell(dataset, reward_model, accuracy)


def slopes(
    arms: Iterable[str], steering: Mapping[Arm, SteeringResult], correction: Correction
) -> Iterator[SlopeResult]:
    """Yield each arm's slope of reward, then the differences of arms with the same algorithm.

    Arms share prompts and noise, so two arms' rewards are compared step by step.
    """
    by_arm = {
        name: [result for arm, result in steering.items() if arm.name == name] for name in arms
    }
    for name, results in by_arm.items():
        yield SlopeResult(name, "", _slope(results))
    pairs = [
        (a, b)
        for a, b in combinations(by_arm, 2)
        if by_arm[a][0].algorithm == by_arm[b][0].algorithm
    ]
    differences = [_slope(by_arm[a], by_arm[b]) for a, b in pairs]
    adjusted = adjusted_p_values([difference.p for difference in differences], correction)
    for (a, b), difference, p in zip(pairs, differences, adjusted, strict=True):
        yield SlopeResult(a, b, difference, p)


def _slope(arm: Sequence[SteeringResult], other: Sequence[SteeringResult] = ()) -> Slope:
    """The slope over steps of reward, or of its difference to another arm's at the same steps."""
    series = []
    for index, result in enumerate(arm):
        rewards = {point.step: point.reward for point in result.curve}
        if other:
            subtracted = {point.step: point.reward for point in other[index].curve}
            rewards = {
                step: reward - subtracted[step]
                for step, reward in rewards.items()
                if step in subtracted
            }
        series.append((list(rewards), list(rewards.values())))
    return slope(series)

"""Judge training: how arms' reward models and rewards came out, under every reward model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from ethosteer.evaluation.comparison import Judge
from ethosteer.records import CONTROLS, FINETUNED, Arm
from ethosteer.results import (
    ArmResult,
    Comparison,
    CrossCell,
    CrossResult,
    HeldOutPairs,
    Select,
    Slope,
    SlopeResult,
    SteeringResult,
)
from ethosteer.statistics import paired as statistics
from ethosteer.statistics.metrics import SHARE
from ethosteer.statistics.slopes import slope

Crossed = Mapping[int, CrossResult]


def arm_result(
    arm: Arm,
    pairs: HeldOutPairs,
    scale: tuple[float, float],
    steering: SteeringResult,
    judge: str,
    select: Select,
) -> ArmResult:
    """Summarise one arm's reward model and its steering: one seed, so intervals are of items."""
    right = [float(c > r) for c, r in zip(pairs.chosen, pairs.rejected, strict=True)]
    end = steering.checkpoints[select]
    gains = [after - before for before, after in zip(steering.start, end.rewards, strict=True)]
    return ArmResult(
        arm=arm.name,
        seed=arm.seed,
        accuracy=statistics.mean_estimate([right], pairs.groups, SHARE),
        length_correlation=pairs.length_correlation,
        normalisation_gain=scale[0],
        normalisation_bias=scale[1],
        start=statistics.mean_estimate([steering.start]),
        end=statistics.mean_estimate([end.rewards]),
        gain=statistics.mean_estimate([gains]),
        kl=statistics.mean_estimate([end.kl]),
        curve=tuple(steering.curve),
        reward_model=judge,
        algorithm=steering.algorithm,
        select=select,
        step=end.step,
        stopped=steering.stopped,
    )


def cross_rewards(crossed: Crossed) -> Iterator[CrossCell]:
    """Every model's mean reward under every reward model, over prompts and seeds."""
    some = next(iter(crossed.values()))
    for model, judges in some.rewards.items():
        for judge in judges:
            tables = [own.rewards[model][judge] for own in crossed.values()]
            yield CrossCell(model, judge, statistics.mean_estimate(tables))


def reward_comparisons(judge: Judge, crossed: Crossed) -> Iterator[Comparison]:
    """Arms' answers against the fine-tuned control's, prompt by prompt: a family a reward model."""
    some = next(iter(crossed.values()))
    arms = [model for model in some.rewards if model not in CONTROLS]
    if FINETUNED not in some.rewards or not arms:
        return
    for name in some.rewards[FINETUNED]:
        models = {
            model: statistics.means([own.rewards[model][name] for own in crossed.values()])
            for model in (FINETUNED, *arms)
        }
        pairs = [(arm, FINETUNED) for arm in arms]
        family = f"reward of {name}: arms against {FINETUNED}"
        yield from judge.family(family, name, "mean reward", "higher", models, pairs)


def cross_accuracies(crossed: Crossed) -> Iterator[CrossCell]:
    """Every reward model's accuracy on every dataset's held-out pairs, over scenarios and seeds."""
    some = next(iter(crossed.values()))
    for judge, datasets in some.correct.items():
        for name in datasets:
            tables = [list(map(float, own.correct[judge][name])) for own in crossed.values()]
            estimate = statistics.mean_estimate(tables, some.groups[name], SHARE)
            yield CrossCell(name, judge, estimate)


def slopes(
    judge: Judge, arms: Iterable[str], steered: Mapping[Arm, SteeringResult]
) -> Iterator[SlopeResult]:
    """How fast each arm's reward rises, and whether two arms of one algorithm differ in it.

    Arms share prompts and noise, so two arms' rewards are compared step by step.
    """
    curves: dict[str, list[SteeringResult]] = {
        name: [own for arm, own in steered.items() if arm.name == name] for name in arms
    }
    found = [SlopeResult(name, "", _slope(own)) for name, own in curves.items()]
    pairs = [
        (a, b)
        for a, b in combinations(curves, 2)
        if curves[a][0].algorithm == curves[b][0].algorithm
    ]
    differing = [_slope(curves[a], curves[b]) for a, b in pairs]
    adjusted = statistics.corrected([own.p for own in differing], judge.settings.correction)
    yield from found
    for (a, b), own, p in zip(pairs, differing, adjusted, strict=True):
        yield SlopeResult(a, b, own, p)


def _slope(own: Sequence[SteeringResult], other: Sequence[SteeringResult] = ()) -> Slope:
    """The slope over steps of reward, or of the difference to another arm's at the same steps."""
    series = []
    for index, result in enumerate(own):
        rewards = {point.step: point.reward for point in result.curve}
        if other:
            less = {point.step: point.reward for point in other[index].curve}
            rewards = {step: rewards[step] - less[step] for step in rewards if step in less}
        series.append((list(rewards), list(rewards.values())))
    return slope(series)

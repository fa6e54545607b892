"""How long the missing stages of a study will take: measured times first, estimates where none are.

A finished stage shows how long others like it take: steering by the same algorithm, evaluation on
the same benchmark, or work of the same class. A stage without such an example takes what
``ethosteer plan`` estimates, scaled by the ratio of measured to estimated times so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ethosteer.settings import StudySettings
from ethosteer.stages.cross import Cross
from ethosteer.stages.evaluate import Evaluate
from ethosteer.stages.finetune import Finetune
from ethosteer.stages.reward import Reward
from ethosteer.stages.stage import Stage
from ethosteer.stages.steer import Steer
from ethosteer.stages.store import Store
from ethosteer.study.estimate import estimated_work
from ethosteer.study.plan import Plan

OTHER_SECONDS = 1.0
"""Of a stage without an estimate, which reads, counts or compares."""

NOMINAL_RATE = 5e10
"""FLOP/s of matrix products, where only the proportions between stages matter."""

ESTIMATED: dict[type[Stage[Any]], str] = {
    Finetune: "finetune",
    Reward: "reward",
    Steer: "steer",
    Cross: "cross",
    Evaluate: "evaluate",
}
"""The name under which each class of stages is estimated."""

AnyStage = Stage[Any]


def expected_seconds(
    plan: Plan, store: Store, rate: Callable[[StudySettings], float] = lambda _: NOMINAL_RATE
) -> dict[AnyStage, float]:
    """Return the expected time of each missing stage in seconds.

    ``rate(settings)`` is asked for the machine's FLOP/s of matrix products where no stage has been
    measured. Raises InputError where the base's shape or a data file cannot be read.
    """
    missing = store.missing(plan.stages)
    absent = set(missing)
    measured = {stage: store.seconds(stage) for stage in plan.stages if stage not in absent}

    def estimates() -> dict[AnyStage, float]:
        scaled = any(map(is_estimated, measured))
        return estimated_seconds(plan, NOMINAL_RATE if scaled else rate(plan.settings))

    return predicted(missing, measured, estimates)


def predicted(
    missing: Sequence[AnyStage],
    measured: Mapping[AnyStage, float],
    estimates: Callable[[], Mapping[AnyStage, float]],
) -> dict[AnyStage, float]:
    """Predict the seconds of missing stages from measured ones, and from estimates of all.

    ``estimates`` is called where a missing stage has no like among the measured ones.
    """
    examples: dict[Hashable, list[float]] = {}
    for stage, seconds in measured.items():
        examples.setdefault(likeness(stage), []).append(seconds)
    if all(likeness(stage) in examples for stage in missing):
        return {stage: fmean(examples[likeness(stage)]) for stage in missing}
    estimated = estimates()
    known = [stage for stage in measured if is_estimated(stage)]
    total = sum(estimated[stage] for stage in known)
    scale = sum(measured[stage] for stage in known) / total if total else 1.0
    return {
        stage: fmean(examples[likeness(stage)])
        if likeness(stage) in examples
        else estimated[stage] * (scale if is_estimated(stage) else 1.0)
        for stage in missing
    }


def likeness(stage: AnyStage) -> Hashable:
    """Return a key that stages of about the same duration share."""
    if isinstance(stage, Steer):
        return Steer, stage.algorithm
    if isinstance(stage, Evaluate):
        return Evaluate, stage.items.benchmark
    return type(stage)


def is_estimated(stage: AnyStage) -> bool:
    """Return whether ``ethosteer plan`` estimates the time of such stages."""
    return type(stage) in ESTIMATED


def estimated_seconds(plan: Plan, rate: float) -> dict[AnyStage, float]:
    """Return the estimated seconds of every stage at ``rate`` FLOP/s, equal within one kind."""
    work = estimated_work(plan.settings, plan.origin)
    kinds = {stage: ESTIMATED.get(type(stage), "") for stage in plan.stages}
    counts = Counter(kinds.values())
    return {
        stage: work[kind] / rate / counts[kind] if kind else OTHER_SECONDS
        for stage, kind in kinds.items()
    }

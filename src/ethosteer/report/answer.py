"""The answer in sentences, none of which claims more than the comparisons show."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from ethosteer.report.alarms import alarms_in_words
from ethosteer.report.blocks import Block, Bullets, Text
from ethosteer.report.certainty import certainty, limits
from ethosteer.report.equal_kl import equal_kl
from ethosteer.report.headline import (
    ControlSkill,
    Finding,
    control_skill,
    finding,
    headline,
    shifts,
)
from ethosteer.report.profile import profile_sentences
from ethosteer.report.prose import paragraph
from ethosteer.report.reward_models import Doubt, doubts, reward_unit, warnings
from ethosteer.report.rewards import falls
from ethosteer.report.steered import Direction, direction_of, steered
from ethosteer.report.steering import slope_of
from ethosteer.report.view import Shift, View
from ethosteer.results.arms import ArmResult
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.comparisons import Comparison


@dataclass(frozen=True)
class OnBenchmark:
    """The facts of ``text/benchmark.j2``: every arm on one benchmark's tested metric.

    ``decided`` are the findings of better or worse. ``constant`` are the other arms that give a
    constant answer, with what they answer. ``control_skill`` is set where the control is not shown
    to be better than a constant answer, and ``shifts`` are where AUC disagrees with the metric.
    ``between`` are the decided comparisons of the arms that are better than the control; ``best``
    is better than all other arms.
    """

    title: str
    metric: str
    correction: str
    decided: list[Finding]
    different: list[str]
    equivalent: list[str]
    undecided: list[str]
    better: list[str]
    best: str | None
    between: list[Comparison]
    constant: dict[str, str]
    control_skill: ControlSkill | None
    shifts: list[Shift]


@dataclass(frozen=True)
class OnArm:
    """The facts of ``text/arm.j2``: how far an arm's reward rose, and what became worse.

    ``falling`` are the other reward models under which its answers fell below those of ``start``,
    the model that every arm starts from. ``doubt`` is why its reward allows no conclusion,
    ``reconciled`` a clause on a slope that disagrees with the gain.
    """

    arm: str
    start: str
    unit: str
    doubt: Doubt | None
    reconciled: str
    results: tuple[ArmResult, ...]
    direction: Direction
    worse: list[str]
    falling: list[str]
    alarms: str


def answer(view: View) -> tuple[Block, ...]:
    """Return the answer in short, by benchmark and by arm, its certainty and its limitations."""
    benchmarks = tuple(
        on_benchmark(view, benchmark)
        for benchmark in view.results.benchmarks
        if benchmark not in view.profile
    )
    arms = tuple(on_arm(view, arm) for arm in view.arms if view.arm_results(arm))
    at_equal_kl = tuple(filter(None, [equal_kl(view)]))
    lists = (
        Bullets("Results by benchmark", benchmarks),
        Bullets("Value profile", profile_sentences(view)),
        Bullets("Reward, KL and cost of each arm", (*warnings(view), *at_equal_kl, *arms)),
        Bullets("Statistical inference", certainty(view)),
        Bullets("Limitations", limits(view)),
    )
    lead, details = headline(view)
    texts = (*(Text(text, lead=True) for text in (steered(view), *lead)), Text(details))
    return (
        *(text for text in texts if text.text),
        *(bullets for bullets in lists if bullets.items),
    )


def on_benchmark(view: View, benchmark: BenchmarkResult) -> str:
    """Return what the primary metric of one benchmark shows for every arm."""
    better = view.arms_that_are("better", benchmark)
    decided = better + view.arms_that_are("worse", benchmark)
    compared = [view.comparison(benchmark, a, b) for a, b in combinations(better, 2)]
    facts = OnBenchmark(
        title=benchmark.title,
        metric=view.tested_metric(benchmark),
        correction=view.results.correction,
        decided=[finding(view, benchmark, arm) for arm in decided],
        different=view.arms_that_are("different", benchmark),
        equivalent=view.arms_that_are("equivalent", benchmark),
        undecided=view.arms_that_are("undecided", benchmark),
        better=better,
        best=view.best(benchmark) if len(better) > 1 else None,
        between=[pair for pair in compared if pair and pair.verdict in ("better", "worse")],
        constant={
            arm: view.constant_answer(benchmark, arm)
            for arm in view.flagged(benchmark)
            if arm in view.arms and arm not in decided
        },
        control_skill=control_skill(view, benchmark),
        shifts=shifts(view, [benchmark]),
    )
    return paragraph("benchmark", **vars(facts))


def on_arm(view: View, arm: str) -> str:
    """Return how one arm's own reward changed, at what KL, and what became worse."""
    results = view.arm_results(arm)
    direction = direction_of([result.gain for result in results])
    doubt = doubts(view).get(view.reward_model_of(arm) or arm)
    facts = OnArm(
        arm=arm,
        start=view.start,
        unit=reward_unit(view),
        doubt=doubt,
        reconciled="" if doubt else slope_and_gain(view, arm, direction),
        results=results,
        direction=direction,
        worse=[benchmark.title for benchmark in view.benchmarks_where(arm, "worse")],
        falling=[cell.reward_model for cell in falls(view, arm)],
        alarms=alarms_in_words(results),
    )
    return paragraph("arm", **vars(facts))


def slope_and_gain(view: View, arm: str, direction: Direction) -> str:
    """Return how a slope of reward fits a gain of another ``direction``; "" where they agree."""
    slope = slope_of(view, arm)
    if slope is None or direction_of([slope]) == direction:
        return ""
    return paragraph(
        "slope_and_gain",
        slope=slope,
        slope_direction=direction_of([slope]),
        direction=direction,
        several=slope.seeds > 1,
    )

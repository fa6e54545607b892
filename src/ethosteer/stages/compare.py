"""Compare: outcomes and rewards of all models become estimates, paired differences, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ethosteer import catalog
from ethosteer.data.overlap import overlap
from ethosteer.evaluation import reward_results
from ethosteer.evaluation.comparison import compare_models
from ethosteer.evaluation.items import example_of
from ethosteer.evaluation.summary import summarise
from ethosteer.files import read_json, to_json, write_atomic, write_json
from ethosteer.models.reward_models import read_scale
from ethosteer.records import CONTROLS, Outcome
from ethosteer.results import (
    BenchmarkResult,
    Comparison,
    Overlap,
    StageTime,
    StudyResults,
)
from ethosteer.stages.cross import read_cross
from ethosteer.stages.curate import stored_set
from ethosteer.stages.evaluate import (
    judge_note,
    stored_comparability,
    stored_items,
    stored_outcomes,
    stored_samples,
)
from ethosteer.stages.reward import read_held_out
from ethosteer.stages.steer import read_steered
from ethosteer.stages.workspace import Workspace

RESULTS = "results.json"
OVERLAPS = "overlaps.json"


def run(work: Workspace) -> None:
    """Measure overlap and compare all models, where that is not done."""
    if not work.is_done(work.plan.overlap):
        with work.terminal.stage("compare overlap"), work.writing(work.plan.overlap) as folder:
            write_json(folder / OVERLAPS, list(_overlaps(work)))
    if not work.is_done(work.plan.comparison):
        with work.terminal.stage("compare"), work.writing(work.plan.comparison) as folder:
            write_atomic(folder / RESULTS, to_json(_results(work)))


def _overlaps(work: Workspace) -> Iterator[Overlap]:
    n = work.config.compare.overlap_ngram
    sets = [stored_set(work, name) for name in work.config.data_arms()]
    for name, items in stored_items(work).items():
        texts = [text for item in items for text in item.texts()]
        yield from (overlap(curated, name, texts, n) for curated in sets)


def _results(work: Workspace) -> StudyResults:
    """Bring everything together that the report shows."""
    config, plan = work.config, work.plan
    benchmarks, comparisons = _benchmarks(work)
    crossed = {seed: read_cross(work.path(step)) for seed, step in plan.cross.items()}
    steered = {arm: read_steered(work.path(plan.steering[arm])) for arm in config.arm_seeds()}
    return StudyResults(
        study=config.name,
        question=config.question,
        control=config.compare.control,
        seeds=config.seeds,
        models=(*CONTROLS, *config.arms),
        cards=tuple(stored_set(work, name).card for name in config.data_arms()),
        overlaps=read_json(work.path(plan.overlap) / OVERLAPS, tuple[Overlap, ...]),
        arms=tuple(
            reward_results.arm_result(
                arm,
                read_held_out(work.path(plan.rewards[arm])),
                read_scale(work.path(plan.rewards[arm])),
                steered[arm],
                config.data_of(arm.name),
                config.steer.select,
            )
            for arm in config.arm_seeds()
        ),
        benchmarks=tuple(benchmarks),
        comparisons=tuple(comparisons),
        samples=stored_samples(work),
        margin=config.compare.margin,
        alpha=config.compare.alpha,
        effect=config.compare.effect,
        correction=config.compare.correction,
        cross_rewards=tuple(reward_results.cross_rewards(crossed)),
        cross_accuracies=tuple(reward_results.cross_accuracies(crossed)),
        reward_comparisons=tuple(reward_results.reward_comparisons(crossed, config.compare)),
        slopes=tuple(reward_results.slopes(config.arms, steered, config.compare.correction)),
    )


def _benchmarks(work: Workspace) -> tuple[list[BenchmarkResult], list[Comparison]]:
    """Summarise every benchmark and compare all models on it."""
    benchmarks: list[BenchmarkResult] = []
    comparisons: list[Comparison] = []
    for name, items in stored_items(work).items():
        outcomes: dict[str, dict[int, list[Outcome]]] = {}
        for model in work.plan.models:
            by_seed = outcomes.setdefault(model.name, {})
            by_seed[model.seed] = stored_outcomes(work, name, model)
        benchmark = catalog.benchmark(name)
        summary = summarise(benchmark, len(items), outcomes, judge_note(work, name))
        benchmarks.append(
            replace(
                summary,
                comparability=stored_comparability(work, name),
                example=example_of(items[0]),
            )
        )
        comparisons += compare_models(benchmark, outcomes, work.config.compare)
    return benchmarks, comparisons


def stage_times(seconds: Mapping[str, float]) -> tuple[StageTime, ...]:
    """Add up the seconds of steps (``stage/name``) by stage."""
    totals: dict[str, float] = {}
    for name, spent in seconds.items():
        stage = name.split("/")[0]
        totals[stage] = totals.get(stage, 0.0) + spent
    return tuple(StageTime(stage, spent) for stage, spent in totals.items())

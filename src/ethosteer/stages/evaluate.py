"""Evaluate: every model on every benchmark, an outcome for each item."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import torch

from ethosteer import catalog
from ethosteer.evaluation.answering import (
    Progress,
    answer_items,
    benchmark_classifier,
    token_budget,
)
from ethosteer.evaluation.comparable import comparability_of
from ethosteer.evaluation.items import ITEMS, load_items, read_items, write_items
from ethosteer.evaluation.outcomes import read_outcomes, write_outcomes
from ethosteer.files import read_json, write_json
from ethosteer.models.base import SharedBase
from ethosteer.models.classifiers import Classifier
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.optimiser import generator
from ethosteer.models.reward_models import RewardModels, load_rewards
from ethosteer.models.text import decode, tokenizer_fingerprint
from ethosteer.records import BASE, FINETUNED, Item, Model, Outcome
from ethosteer.results import Comparability, Sample, SampleAnswer
from ethosteer.stages.workspace import Workspace

OUTCOMES = "outcomes.parquet"
COMPARABILITY = "comparability.json"
JUDGE = "judge.json"
SAMPLES = "samples.json"


def run(work: Workspace) -> None:
    """Evaluate every model on every benchmark, and draw sample answers, where that is not done."""
    for name in work.config.benchmarks:
        steps = {model: work.plan.evaluation[name, model] for model in work.plan.models}
        models = work.missing_of(steps, work.plan.models)
        if models or not work.is_done(work.plan.items[name]):
            with work.terminal.stage(f"evaluate {name}") as progress:
                items = benchmark_items(work, name)
                judge = benchmark_classifier(
                    catalog.benchmark(name), work.config.benchmarks[name], work.origin
                )
                _keep_items(work, name, items, judge)
                raw = [model for model in models if model.name == BASE]
                shared = [model for model in models if model.name != BASE]
                _evaluate_on(work, "raw", raw, name, items, judge, progress)
                _evaluate_on(work, "shared", shared, name, items, judge, progress)
    if not work.is_done(work.plan.samples):
        with work.terminal.stage("evaluate samples"), work.writing(work.plan.samples) as folder:
            write_json(folder / SAMPLES, _samples(work))


def _keep_items(
    work: Workspace, name: str, items: Sequence[Item], judge: Classifier | None
) -> None:
    """Keep a benchmark's items, and the hashes of what its results rest on."""
    if work.is_done(work.plan.items[name]):
        return
    template, tokenizer = work.template.fingerprint(), work.template.tokenizer
    comparability = comparability_of(
        items, template, tokenizer_fingerprint(tokenizer), judge.note if judge else ""
    )
    with work.writing(work.plan.items[name]) as folder:
        write_items(folder / ITEMS, {name: items})
        write_json(folder / COMPARABILITY, comparability)


def _evaluate_on(
    work: Workspace,
    which: Literal["raw", "shared"],
    models: Sequence[Model],
    name: str,
    items: Sequence[Item],
    judge: Classifier | None,
    progress: Progress,
) -> None:
    """Evaluate models that stand on one base, side by side, and store their outcomes."""
    if not models:
        return
    started = time.monotonic()
    base = work.raw_base if which == "raw" else work.base
    budget = token_budget(work.config.evaluate.tokens_per_batch, base, len(models))
    outcomes = work.with_adapters(
        base,
        models,
        lambda: answer_items(base, models, catalog.benchmark(name), items, judge, budget, progress),
    )
    share = (time.monotonic() - started) / len(models)
    for model, own in zip(models, outcomes, strict=True):
        with work.writing(work.plan.evaluation[name, model], seconds=share) as folder:
            write_outcomes(folder / OUTCOMES, own)
            if judge is not None:
                write_json(folder / JUDGE, judge.note)


def _samples(work: Workspace) -> tuple[Sample, ...]:
    """Answers of all models, with the first seed's arms, to the first held-out prompts."""
    turns = work.prompts("test")[: work.config.evaluate.sample_prompts]
    if not turns:
        return ()
    seed = work.config.seeds[0]
    arms = [arm for arm in work.config.arm_seeds() if arm.seed == seed]
    models = [Model(FINETUNED), *(Model(arm.name, arm.seed) for arm in arms)]
    ids = [work.template.prompt_ids(own) for own in turns]

    def answer(base: SharedBase, count: int) -> list[list[list[int]]]:
        flat = generate(base, ids, count, work.sampling, generator(seed, "samples"))
        return [flat[start : start + len(ids)] for start in range(0, len(flat), len(ids))]

    answers = dict(zip((BASE,), answer(work.raw_base, 1), strict=True))
    steered = work.with_adapters(work.base, models, lambda: answer(work.base, len(models)))
    answers |= {model.name: own for model, own in zip(models, steered, strict=True)}
    judges = work.plan.judges(seed)
    rewards = load_rewards(work.base, [work.path(step) for step in judges.values()])
    texts = [work.template.prompt_text(own) if len(own) > 1 else own[0][1] for own in turns]
    prompts = list(zip(texts, ids, strict=True))
    return judge_samples(work.base, rewards, list(judges), prompts, answers, work.sampling)


def benchmark_items(work: Workspace, name: str) -> list[Item]:
    """Return the items of one benchmark of the study."""
    return load_items(catalog.benchmark(name), work.config.benchmarks[name], work.origin)


def stored_outcomes(work: Workspace, name: str, model: Model) -> list[Outcome]:
    """Return one model's outcomes on one benchmark."""
    return read_outcomes(work.path(work.plan.evaluation[name, model]) / OUTCOMES)


def stored_items(work: Workspace) -> dict[str, list[Item]]:
    """Return the items of every benchmark, as they were answered."""
    return {
        name: own
        for step in work.plan.items.values()
        for name, own in read_items(work.path(step) / ITEMS).items()
    }


def stored_comparability(work: Workspace, name: str) -> Comparability:
    """Return what one benchmark's results rest on."""
    return read_json(work.path(work.plan.items[name]) / COMPARABILITY, Comparability)


def judge_note(work: Workspace, name: str) -> str:
    """Say which classifier judged a benchmark's texts, and how good it is; "" where none did."""
    if catalog.benchmark(name).classification is None:
        return ""
    note: str = work.read_json(work.plan.evaluation[name, work.plan.models[0]], JUDGE)
    return note


def all_outcomes(work: Workspace) -> list[Outcome]:
    """Return every outcome of the study."""
    return [
        outcome
        for name, model in work.plan.evaluation
        for outcome in stored_outcomes(work, name, model)
    ]


def stored_samples(work: Workspace) -> tuple[Sample, ...]:
    """Return the side-by-side answers."""
    return read_json(work.path(work.plan.samples) / SAMPLES, tuple[Sample, ...])


def judge_samples(
    base: SharedBase,
    rewards: RewardModels,
    arms: Sequence[str],
    prompts: Sequence[tuple[str, Sequence[int]]],
    answers: dict[str, list[list[int]]],
    sampling: Sampling,
) -> tuple[Sample, ...]:
    """Score every model's answers with every reward model (normalised), prompt by prompt."""
    eos = base.tokenizer.eos_token_id
    rows = [
        [*ids, *sampling.scored_part(response, eos)]
        for own in answers.values()
        for (_, ids), response in zip(prompts, own, strict=True)
    ]
    scores = torch.stack([rewards.score(base, judge, rows) for judge in range(len(arms))])
    scores = scores.view(len(arms), len(answers), len(prompts))
    return tuple(
        Sample(
            prompt=text,
            answers=tuple(
                SampleAnswer(
                    model=model,
                    text=decode(base.tokenizer, own[index]),
                    rewards={
                        arm: float(scores[judge, place, index]) for judge, arm in enumerate(arms)
                    },
                )
                for place, (model, own) in enumerate(answers.items())
            ),
        )
        for index, (text, _) in enumerate(prompts)
    )

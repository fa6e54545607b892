"""Every model answers every item of a benchmark, side by side on one base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ethosteer.benchmarks.base import Benchmark, sources_of
from ethosteer.data.sources import Origin
from ethosteer.data.splits import unit_hash
from ethosteer.models.base import SharedBase
from ethosteer.models.classifiers import Classifier, load_classifier, train_classifier
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.log_likelihood import fit, log_likelihoods, plan_requests
from ethosteer.models.text import decode
from ethosteer.records import Item, Model, Outcome
from ethosteer.settings import BenchmarkSettings

Progress = Callable[[int, int, str], None]

CPU_TOKENS = 1024
TREE_TOKENS = 384
GPU_TOKENS = 32_768


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model made of one item: the choice, and what it rests on."""

    predicted: int | None
    log_likelihoods: tuple[float, ...] = ()
    text: str | None = None


def load_items(benchmark: Benchmark, settings: BenchmarkSettings, origin: Origin) -> list[Item]:
    """Read a benchmark's items; with ``limit``, whole groups in the order of their hash."""
    sources = sources_of(benchmark, settings.source)
    items = benchmark.items([origin.locate(source) for source in sources])
    if settings.limit is None or len(items) <= settings.limit:
        return items
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    chosen: set[str] = set()
    for group in sorted(groups, key=lambda name: unit_hash(f"limit {name}")):
        if len(chosen) + len(groups[group]) <= settings.limit:
            chosen |= {item.id for item in groups[group]}
    return [item for item in items if item.id in chosen]


def load_judge(
    benchmark: Benchmark, settings: BenchmarkSettings, origin: Origin
) -> Classifier | None:
    """Return the classifier of a benchmark's generated texts; None where none is needed.

    It is the one that ``settings`` names; by default the benchmark's usual one where files come
    from the hub, and one trained on the benchmark's own training rows elsewhere.
    """
    if benchmark.judged is None:
        return None
    paths = [origin.locate(source) for source in sources_of(benchmark, settings.source)]
    train, held_out = benchmark.judged.texts(paths)
    name = settings.classifier or (benchmark.judged.classifier if origin.kind == "hub" else None)
    if name is None or name == "trained":
        return train_classifier(train, held_out)
    return load_classifier(name, benchmark.judged.positive, held_out)


def token_budget(tokens_per_batch: int | None, base: SharedBase, arms: int) -> int:
    """Return the tokens of a batch, of all arms: what was asked for, or what suits the device.

    Small batches keep a small model's activations in the processor's cache, but every arm needs
    room for a prefix tree.
    """
    if tokens_per_batch is not None:
        return tokens_per_batch
    return max(CPU_TOKENS, TREE_TOKENS * arms) if base.device.type == "cpu" else GPU_TOKENS


def answer_items(
    base: SharedBase,
    models: Sequence[Model],
    benchmark: Benchmark,
    items: Sequence[Item],
    judge: Classifier | None,
    tokens_per_batch: int,
    progress: Progress,
) -> list[list[Outcome]]:
    """Answer every item with every model: the arms of the bank in use, or the bare base.

    Returns one list of outcomes per model, in the order of ``items``.
    """
    if benchmark.new_tokens:
        answers, cut = _generated(
            base, len(models), benchmark, items, judge, tokens_per_batch, progress
        )
    else:
        answers, cut = _chosen(base, len(models), items, tokens_per_batch, progress)
    return [
        [
            _outcome(model, benchmark, item, answer, truncated=lost)
            for item, answer, lost in zip(items, own, cut, strict=True)
        ]
        for model, own in zip(models, answers, strict=True)
    ]


def _outcome(
    model: Model, benchmark: Benchmark, item: Item, answer: Answer, *, truncated: bool
) -> Outcome:
    return Outcome(
        model=model.name,
        seed=model.seed,
        benchmark=benchmark.name,
        item=item.id,
        group=item.group,
        slices=item.slices,
        label=item.label,
        predicted=answer.predicted,
        correct=None if item.label is None else answer.predicted == item.label,
        log_likelihoods=answer.log_likelihoods,
        lengths=tuple(len(choice.removeprefix(" ")) for choice in item.continuations),
        text=answer.text,
        truncated=truncated,
    )


def _chosen(
    base: SharedBase, arms: int, items: Sequence[Item], tokens_per_batch: int, progress: Progress
) -> tuple[list[list[Answer]], Sequence[bool]]:
    """Fixed-choice items: the continuation with the highest log-likelihood, ties to the first."""
    plan = plan_requests(base, items)
    found = [np.zeros((arms, len(item.continuations))) for item in items]
    done = 0
    for batch in log_likelihoods(base, plan, arms, tokens_per_batch):
        for request, values in batch:
            found[request.item][:, request.choice] = values
        done += len(batch)
        progress(done, len(plan.requests), "")
    answers = [
        [Answer(int(np.argmax(scores[arm])), tuple(scores[arm].tolist())) for scores in found]
        for arm in range(arms)
    ]
    return answers, plan.cut


def _generated(
    base: SharedBase,
    arms: int,
    benchmark: Benchmark,
    items: Sequence[Item],
    judge: Classifier | None,
    tokens_per_batch: int,
    progress: Progress,
) -> tuple[list[list[Answer]], Sequence[bool]]:
    """Answers of a few greedy tokens, parsed by the benchmark or judged by a classifier."""
    new = benchmark.new_tokens
    sampling = Sampling(new, new, greedy=True)
    room = base.max_length - new
    fitted = [fit(base.tokenizer, item, base.max_length, new) for item in items]
    whole = [base.tokenizer(item.contexts[0]).input_ids for item in fitted]
    cut = [
        short is not item or len(ids) > room
        for short, item, ids in zip(fitted, items, whole, strict=True)
    ]
    prompts = [ids[-room:] for ids in whole]
    order = sorted(range(len(items)), key=lambda index: -len(prompts[index]))
    texts = [[""] * len(items) for _ in range(arms)]
    done = 0
    while done < len(order):
        width = len(prompts[order[done]]) + new
        part = order[done : done + max(1, tokens_per_batch // (width * arms))]
        replies = generate(
            base, [prompts[index] for index in part], arms, sampling, torch.Generator()
        )
        for arm in range(arms):
            for place, index in enumerate(part):
                texts[arm][index] = decode(base.tokenizer, replies[arm * len(part) + place])
        done += len(part)
        progress(done, len(order), "")
    if judge is not None:
        return [judged_answers(judge, own) for own in texts], cut
    parse = benchmark.parse
    assert parse is not None
    return [[Answer(parse(text), text=text) for text in own] for own in texts], cut


def judged_answers(judge: Classifier, texts: Sequence[str]) -> list[Answer]:
    """Class the first line of each text: 1 where the positive class is likelier; None if empty."""
    lines = [text.partition("\n")[0].strip() for text in texts]
    rates = np.clip(judge.positive(lines), 1e-12, 1 - 1e-12)
    return [
        Answer(int(rate > 0.5), (float(np.log1p(-rate)), float(np.log(rate))), line)
        if line
        else Answer(None, text=line)
        for line, rate in zip(lines, rates, strict=True)
    ]

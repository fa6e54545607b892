"""Answers of every model to every item of a benchmark, all models together on one base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ethosteer import interruption
from ethosteer.benchmarks.base import Benchmark, sources_of
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.maths.finite import check_finite
from ethosteer.models.base import SharedBase
from ethosteer.models.classifiers import Classifier, load_classifier, train_classifier
from ethosteer.models.fast.budget import evaluation_tokens
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.log_likelihood import check_embedded, log_likelihoods, plan_requests
from ethosteer.models.requests import encode_texts, fit, in_chat
from ethosteer.models.text import Template, decode_all
from ethosteer.progress import Report
from ethosteer.records import Item, Model, Outcome
from ethosteer.settings import BenchmarkSettings

ENGINE_PROMPTS = 256
"""Prompts that an engine, which batches by itself, is asked to answer at once."""
SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class Answer:
    """One model's answer to one item: the choice, and the log-likelihoods or text behind it.

    ``lengths`` and ``scores`` are as in ``Outcome``.
    """

    predicted: int | None
    log_likelihoods: tuple[float, ...] = ()
    text: str | None = None
    lengths: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()


def benchmark_classifier(
    benchmark: Benchmark, settings: BenchmarkSettings, origin: Origin
) -> Classifier | None:
    """Return the classifier of a benchmark's generated texts; None where it needs none.

    It is the one that ``settings`` names. By default it is the benchmark's usual one where files
    come from the hub, and one trained on the benchmark's own training rows elsewhere.
    """
    classification = benchmark.classification
    if classification is None:
        return None
    paths = [origin.locate(source) for source in sources_of(benchmark, settings.source)]
    train, held_out = classification.labelled_texts(paths)
    name = settings.classifier or (classification.classifier if origin.kind == "hub" else "trained")
    if name == "trained":
        return train_classifier(train, held_out)
    return load_classifier(name, classification.positive_class, held_out)


def token_budget(tokens_per_batch: int | None, base: SharedBase, arms: int) -> int:
    """Return the token budget of a batch, all arms together, on the base's device."""
    return evaluation_tokens(tokens_per_batch, arms, on_gpu=base.device.type == "cuda")


def answer_items(
    base: SharedBase,
    models: Sequence[Model],
    benchmark: Benchmark,
    items: Sequence[Item],
    classifier: Classifier | None,
    tokens_per_batch: int,
    progress: Report,
    chat: Template | None = None,
) -> list[list[Outcome]]:
    """Answer every item with every model: the arms of the bank in use, or the bare base.

    With a ``chat`` template every request is written by it. Returns one list of outcomes per model,
    in the order of ``items``. Raises InputError, which names the model and the item, where a number
    is not finite.
    """
    if benchmark.new_tokens:
        texts, truncated = _generate_texts(
            base, models, items, benchmark, tokens_per_batch, progress, chat
        )
        answers = [_read_texts(model_texts, items, benchmark, classifier) for model_texts in texts]
    else:
        answers, truncated = _choose(
            base,
            models,
            items,
            tokens_per_batch,
            progress,
            chat,
            benchmark,
        )
    return [
        [
            Outcome(
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
                lengths=answer.lengths,
                text=answer.text,
                truncated=lost,
                scores=answer.scores,
            )
            for item, answer, lost in zip(items, model_answers, truncated, strict=True)
        ]
        for model, model_answers in zip(models, answers, strict=True)
    ]


def _check_numbers(
    values: Iterable[float], models: Sequence[Model], benchmark: str, item: str, what: str
) -> None:
    """Raise InputError unless the models' ``values`` for one item, ``[models]``, are finite."""
    check_finite(
        values,
        lambda index: f"{models[index].label}, {benchmark}, item {item}: {what}",
        "its weights are damaged, or too large for the number format of base.dtype",
    )


def _choose(
    base: SharedBase,
    models: Sequence[Model],
    items: Sequence[Item],
    tokens_per_batch: int,
    progress: Report,
    chat: Template | None,
    benchmark: Benchmark,
) -> tuple[list[list[Answer]], Sequence[bool]]:
    """Answer fixed-choice items by the continuation of highest log-likelihood, ties by the first.

    Log-likelihoods are compared as sums, or per token where the benchmark is. A single continuation
    is chosen where it is the greedy one. Returns answers by arm and item, and whether each item was
    truncated.
    """
    arms = len(models)
    plan = plan_requests(base, items, chat)
    per_token, score = benchmark.per_token, benchmark.score
    scores = [np.zeros((arms, len(item.continuations))) for item in items]
    greedy = [np.zeros((arms, len(item.continuations)), dtype=bool) for item in items]

    done = 0
    for batch in log_likelihoods(base, plan, arms, tokens_per_batch, greedy=score is not None):
        for request, values, is_greedy in batch:
            item = items[request.item].id
            _check_numbers(values.tolist(), models, benchmark.name, item, "a log-likelihood")
            scores[request.item][:, request.choice] = values
            if is_greedy is not None:
                greedy[request.item][:, request.choice] = is_greedy
        done += len(batch)
        progress(done, len(plan.requests), "")
        interruption.stop_if_requested()
    if per_token:
        tokens = [[0] * len(item.continuations) for item in items]
        for request in plan.requests:
            tokens[request.item][request.choice] = len(request.targets)
        lengths = [tuple(counts) for counts in tokens]
    else:
        lengths = [
            tuple(len(choice.removeprefix(" ")) for choice in item.continuations) for item in items
        ]

    def answer(index: int, arm: int) -> Answer:
        values: NDArray[np.float64] = scores[index][arm]
        compared = values / lengths[index] if per_token else values
        predicted: int | None = int(np.argmax(compared))
        likelihoods = tuple(values.tolist())
        if score is None:
            return Answer(predicted, likelihoods, lengths=lengths[index])
        flags = greedy[index][arm].tolist()
        if len(flags) == 1 and not flags[0]:
            predicted = None
        given = score(items[index].id, list(zip(likelihoods, flags, strict=True)))
        return Answer(predicted, likelihoods, lengths=lengths[index], scores=given)

    answers = [[answer(index, arm) for index in range(len(items))] for arm in range(arms)]
    return answers, plan.cut


def _generate_texts(
    base: SharedBase,
    models: Sequence[Model],
    items: Sequence[Item],
    benchmark: Benchmark,
    tokens_per_batch: int,
    progress: Report,
    chat: Template | None,
) -> tuple[list[list[str]], Sequence[bool]]:
    """Generate the benchmark's ``new_tokens`` tokens greedily after each item's context.

    Returns texts by arm and item, with the blanks at their ends, and whether each item was
    truncated.
    """
    arms, new_tokens = len(models), benchmark.new_tokens
    sampling = Sampling(new_tokens, new_tokens, greedy=True)
    longest = base.max_length - new_tokens
    if longest < 1:
        raise InputError(
            f"answers of {new_tokens} tokens leave no room for a prompt in the {base.max_length} "
            "positions of the base; lower new_tokens"
        )
    fitted = [fit(base.tokenizer, item, base.max_length, new_tokens, chat) for item in items]
    written = [item.contexts[0] for item in in_chat(fitted, chat)]
    ids_of = encode_texts(base.tokenizer, written)
    contexts = [ids_of[text] for text in written]
    for item, ids in zip(items, contexts, strict=True):
        check_embedded(base, item, ids)
    truncated = [
        short is not item or len(ids) > longest
        for short, item, ids in zip(fitted, items, contexts, strict=True)
    ]
    prompts = [ids[-longest:] for ids in contexts]
    # Longest first: prompts of a batch have about one length, and too little memory shows at once.
    order = sorted(range(len(items)), key=lambda index: -len(prompts[index]))
    texts = [[""] * len(items) for _ in range(arms)]
    done = 0
    while done < len(order):
        row_tokens = len(prompts[order[done]]) + new_tokens
        size = ENGINE_PROMPTS if base.engine else max(1, tokens_per_batch // (row_tokens * arms))
        batch = order[done : done + size]
        # of each answer, the largest state in absolute value: nan where any is
        largest = torch.zeros(arms * len(batch), device=base.device)

        def observe(
            rows: Tensor, column: Tensor, hidden: Tensor, *_: Tensor, largest: Tensor = largest
        ) -> None:
            largest[rows] = torch.maximum(largest[rows], hidden.abs().amax(dim=-1).float())

        replies = generate(
            base, [prompts[index] for index in batch], arms, sampling, torch.Generator(), observe
        )
        for index, values in zip(batch, largest.view(arms, -1).T.tolist(), strict=True):
            name = items[index].id
            _check_numbers(values, models, benchmark.name, name, "the state behind an answer")
        for arm in range(arms):
            for position, index in enumerate(batch):
                texts[arm][index] = decode_all(
                    base.tokenizer, replies[arm * len(batch) + position], base.stop_ids
                )
        done += len(batch)
        progress(done, len(order), "")
        interruption.stop_if_requested()
    return texts, truncated


def _read_texts(
    texts: Sequence[str],
    items: Sequence[Item],
    benchmark: Benchmark,
    classifier: Classifier | None,
) -> list[Answer]:
    """Turn generated texts into answers: by scores, a classifier, or the benchmark's parser."""
    stripped = [text.strip() for text in texts]
    if benchmark.score is not None:
        scores = [benchmark.score(item.id, text) for item, text in zip(items, texts, strict=True)]
        return [
            Answer(int(given[0] == 1) if item.label is not None else None, text=text, scores=given)
            for item, text, given in zip(items, stripped, scores, strict=True)
        ]
    if classifier is not None:
        return classified_answers(classifier, stripped)
    assert benchmark.parse is not None
    return [
        Answer(benchmark.parse(item, text), text=text)
        for item, text in zip(items, stripped, strict=True)
    ]


def classified_answers(classifier: Classifier, texts: Sequence[str]) -> list[Answer]:
    """Classify the first line of each text: 1 where the positive class is likelier, else 0.

    An empty line is no answer.
    """
    lines = [text.partition("\n")[0].strip() for text in texts]
    probabilities = np.clip(
        classifier.positive(lines), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY
    )
    return [
        Answer(int(p > 0.5), (float(np.log1p(-p)), float(np.log(p))), line)
        if line
        else Answer(None, text=line)
        for line, p in zip(lines, probabilities, strict=True)
    ]

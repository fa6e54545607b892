"""A value profile: does a model itself find the chosen response likelier than the rejected one?

The items of ``preferences:DATASET`` are that dataset's held-out pairs, written as DPO and reward
models read them in training: prompt, response and, where the template has one, the end of turn,
which counts as part of the response. No sampling, threshold or reward model is involved.

Accuracy is the proportion of pairs whose chosen response has the higher log-likelihood (the ranking
accuracy of Chen et al. 2024, arXiv:2405.19534). The primary one is per token: every token lowers a
sum, so that sums favour short responses whatever they are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ethosteer.benchmarks.base import Benchmark
from ethosteer.data.pair_sets import Dataset
from ethosteer.records import Item, Outcome, PreferencePair
from ethosteer.settings import ArmSettings
from ethosteer.statistics.metrics import mean_metric, proportion_metric

if TYPE_CHECKING:
    from ethosteer.models.text import Template

PREFERENCES = "preferences"


def _margin(outcome: Outcome) -> float:
    rejected, chosen = outcome.log_likelihoods
    return chosen - rejected


def _margin_per_token(outcome: Outcome) -> float:
    rejected, chosen = (
        log_likelihood / tokens
        for log_likelihood, tokens in zip(outcome.log_likelihoods, outcome.lengths, strict=True)
    )
    return chosen - rejected


METRICS = (
    proportion_metric("acc_per_token", lambda outcome: _margin_per_token(outcome) > 0, "higher"),
    proportion_metric("acc_summed", lambda outcome: _margin(outcome) > 0, "higher"),
    mean_metric("margin_per_token", _margin_per_token, "higher"),
    mean_metric("margin_summed", _margin, "higher"),
)
"""Margins are in nats."""
MARGIN = METRICS[2].name


def plain_item(pair: PreferencePair) -> Item:
    """Return the item of a pair as plain text.

    The rejected response is the first choice: a tie, which is decided for the first, is no
    preference for the chosen one.
    """
    return Item(
        id=pair.id,
        contexts=(pair.prompt, pair.prompt),
        continuations=(pair.rejected, pair.chosen),
        label=1,
        group=pair.group,
    )


def held_out_items(pairs: Sequence[PreferencePair], template: Template) -> list[Item]:
    """Make the items of pairs as ``template`` writes them, with the token rows of training."""
    from ethosteer.models.pairs import encode  # imports torch

    items = []
    for pair, rows in zip(pairs, encode(pairs, template), strict=True):
        context, end = template.prompt_text(pair.turns), template.decoded_end_of_turn or ""
        start = rows.prompt_tokens
        items.append(
            replace(
                plain_item(pair),
                contexts=(context, context),
                continuations=tuple(
                    template.response_text(pair.turns, response) + end
                    for response in (pair.rejected, pair.chosen)
                ),
                token_ids=tuple(
                    (tuple(row[:start]), tuple(row[start:])) for row in (rows.rejected, rows.chosen)
                ),
            )
        )
    return items


def benchmark_of(dataset: Dataset) -> Benchmark:
    """Return the benchmark of a dataset's pairs.

    Its ``items`` are the pairs of every split, as plain text; ``held_out_items`` makes those that
    models answer, from curated pairs.
    """

    def items(paths: Sequence[Path]) -> list[Item]:
        entries = dataset.pairs(dataset.rows(paths[0]), ArmSettings().pairs_per_group)
        return [plain_item(entry) for entry in entries if isinstance(entry, PreferencePair)]

    return Benchmark(
        name=f"{PREFERENCES}:{dataset.name}",
        title=f"{dataset.title} pairs",
        sources=(dataset.source,),
        items=items,
        metrics=METRICS,
        examples={dataset.source.path: dataset.examples},
        per_token=True,
        dataset=dataset,
    )

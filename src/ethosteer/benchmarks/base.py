"""What a benchmark is. The files beside this one have one or more each, in ``BENCHMARKS``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ethosteer.data.pair_sets import Dataset
from ethosteer.data.sources import Source
from ethosteer.records import Item, LabelledText, PreferencePair
from ethosteer.results.benchmarks import MetricDefinition
from ethosteer.statistics.metrics import Metric

ModelAnswer = str | Sequence[tuple[float, bool]]
"""A generated text, or of every continuation its log-likelihood and whether it is the greedy one.
"""


@dataclass(frozen=True, slots=True)
class TextClassification:
    """How generated texts are classified.

    ``classifier`` is the field's usual one (a hub id) and ``positive_class`` the name or index of
    its class that outcomes call 1. ``labelled_texts(paths)`` reads labelled rows from the
    benchmark's files: to train a classifier on, and held-out ones to evaluate any classifier with.
    """

    classifier: str
    positive_class: str
    labelled_texts: Callable[[Sequence[Path]], tuple[list[LabelledText], list[LabelledText]]]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark: its published files, its items, and its metrics (the first is the primary one).

    ``items(paths)`` reads the files, in the order of ``sources``, and returns every item; a
    malformed row raises InputError. ``answers`` names the choices of a fixed-choice benchmark
    ("No", "Yes") for the constant-answer baselines; empty where choices differ by item.
    ``new_tokens`` > 0 asks for a greedy answer of that many tokens, which ``parse(item, text)``
    maps to a choice index or None, or which is classified as ``classification`` specifies.
    ``alternatives`` maps a name to other files in place of ``sources``, for the study file's
    ``source`` key.
    ``examples`` maps each source path to the text of a small valid file. With ``per_token`` a model
    chooses the continuation of highest log-likelihood per token, else of the highest sum.
    ``dataset`` is the preference dataset whose held-out pairs are asked (see preferences.py). With
    ``designed_groups`` the groups of items are the benchmark's design, such as its templates, whose
    wordings are alike on purpose; else near-duplicate items are joined to one group.

    The rest is for benchmarks that are not built in. ``definitions`` are those of ``metrics``.
    ``pairs(paths)`` are preference pairs, where items are to be written as a study writes pairs.
    ``score(item id, answer)`` gives the scores of an outcome and, for a generated text, 1 or 0 for
    correct. ``note`` is shown with the results.
    """

    name: str
    title: str
    sources: tuple[Source, ...]
    items: Callable[[Sequence[Path]], list[Item]]
    metrics: tuple[Metric, ...]
    examples: dict[str, str]
    answers: tuple[str, ...] = ()
    new_tokens: int = 0
    parse: Callable[[Item, str], int | None] | None = None
    classification: TextClassification | None = None
    alternatives: dict[str, tuple[Source, ...]] | None = None
    per_token: bool = False
    dataset: Dataset | None = None
    designed_groups: bool = False
    definitions: tuple[MetricDefinition, ...] = ()
    pairs: Callable[[Sequence[Path]], list[PreferencePair]] | None = None
    score: Callable[[str, ModelAnswer], tuple[float, ...]] | None = None
    note: str = ""


def sources_of(benchmark: Benchmark, alternative: str | None) -> tuple[Source, ...]:
    """Return the files a study reads: the benchmark's own, or those of a named alternative."""
    if alternative is None:
        return benchmark.sources
    return (benchmark.alternatives or {})[alternative]

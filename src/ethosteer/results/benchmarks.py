"""Models on benchmarks, with what makes two results on one benchmark comparable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ethosteer.results.estimates import Estimate

Better = Literal["higher", "lower", "half", "none"]
"""The direction in which a metric improves; "half" if 50 % is the aim, "none" if it has none."""


@dataclass(frozen=True, slots=True)
class Comparability:
    """What two results on one benchmark must have in common to be comparable, as hashes.

    items: of ids, labels and groups, in order; prompts: of every text that models read; template:
    how the study writes dialogues; tokenizer: of its whole definition; classifier: the one of
    generated texts, "" where there is none.
    """

    items: str
    prompts: str
    template: str
    tokenizer: str
    classifier: str = ""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """A metric of a benchmark that is not built in, from which it can be made again.

    It is the known metric of this name, in the direction ``better``; or, where ``score`` is not
    None, the mean over items of the score at that index of ``Outcome.scores``, ``is_proportion`` if
    every score is 0 or 1.
    """

    name: str
    better: Better
    score: int | None = None
    is_proportion: bool = False


@dataclass(frozen=True, slots=True)
class BenchmarkCell:
    """One model on one benchmark metric, its seeds taken together.

    ``flags`` say that nearly all of its answers are the same, as predicates of the model ("answers
    'No' to 99.2 % of items in 1 of 3 seeds"). ``above_constant``, of the primary metric alone, is
    the difference from the best constant answer on the same items; None without fixed answers.
    """

    model: str
    metric: str
    estimate: Estimate
    by_seed: dict[int, float]
    flags: tuple[str, ...] = ()
    above_constant: Estimate | None = None


@dataclass(frozen=True, slots=True)
class SliceCell:
    """One model's primary metric on one slice of a benchmark, over its ``n`` items."""

    model: str
    slice: str
    value: float
    n: int


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """One benchmark: a cell for every model and metric, with the constant-answer baselines.

    ``baselines`` maps an answer (such as "always No") to the primary metric it would get.
    ``truncated`` counts the items that were too long for the model. ``classifier`` describes the
    classifier of generated texts, "" where there is none. ``example`` is what a model reads for the
    first item, word for word, choices after it. ``dataset`` is the preference dataset whose
    held-out pairs are the items, "" for other benchmarks. ``chat`` if requests were written by the
    tokenizer's chat template. ``clusters`` counts the clusters that statistics take whole, the
    largest of ``largest_cluster`` items. ``per_token`` if continuations are compared per token.
    ``metrics`` define those of a benchmark that is not built in, so that results can be compared
    without its file; () for others. ``note`` says what else is to be known of the benchmark.
    """

    name: str
    title: str
    primary: str
    better: Better
    items: int
    truncated: int
    source: str
    licence: str
    baselines: dict[str, float]
    cells: tuple[BenchmarkCell, ...]
    slices: tuple[SliceCell, ...] = ()
    classifier: str = ""
    comparability: Comparability | None = None
    example: str = ""
    dataset: str = ""
    chat: bool = False
    clusters: int = 0
    largest_cluster: int = 0
    per_token: bool = False
    metrics: tuple[MetricDefinition, ...] = ()
    note: str = ""

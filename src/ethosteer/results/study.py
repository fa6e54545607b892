"""The results of a study: all that its report shows, the content of ``results.json``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ethosteer.records import DatasetCard
from ethosteer.results.arms import ArmResult, SlopeResult
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.comparisons import Comparison, Correction
from ethosteer.results.reward_models import CrossCell

DATA_FOLDER = "data folder"
"""The entry of ``StudyResults.provenance`` for the folder of --data-dir, if there was one."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many of a preference set's pairs have an n-gram in common with a benchmark."""

    dataset: str
    benchmark: str
    n: int
    pairs: int
    overlapping: int


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """One model's answer to a held-out prompt, with the normalised reward of each reward model."""

    model: str
    text: str
    rewards: dict[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One held-out prompt and every model's answer to it, drawn with the same noise."""

    prompt: str
    answers: tuple[SampleAnswer, ...]


@dataclass(frozen=True, slots=True)
class StageTime:
    """The duration of one stage of the run, in seconds of work (0 for what was stored before)."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StudyResults:
    """Everything the report shows: the content of ``results.json``.

    ``margin`` is the preregistered equivalence margin, ``effect`` the preregistered difference that
    should be detected, None where there is none; ``alpha`` is the level of the tests,
    ``correction`` that for multiple testing. ``deviations`` from the preregistration are changes of
    these after outcomes were known. ``reward_comparisons`` compare arms' mean rewards with those of
    the base that they start from; their ``benchmark`` is the reward model.
    ``conversations_dropped`` counts those that the base was not fine-tuned on, by reason.
    """

    study: str
    question: str
    control: str
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    cards: tuple[DatasetCard, ...]
    overlaps: tuple[Overlap, ...]
    arms: tuple[ArmResult, ...]
    benchmarks: tuple[BenchmarkResult, ...]
    comparisons: tuple[Comparison, ...]
    samples: tuple[Sample, ...]
    provenance: dict[str, str] = field(default_factory=dict)
    times: tuple[StageTime, ...] = ()
    margin: float | None = None
    alpha: float = 0.05
    cross_rewards: tuple[CrossCell, ...] = ()
    cross_accuracies: tuple[CrossCell, ...] = ()
    slopes: tuple[SlopeResult, ...] = ()
    effect: float | None = None
    correction: Correction = "holm"
    deviations: tuple[str, ...] = ()
    reward_comparisons: tuple[Comparison, ...] = ()
    conversations_dropped: dict[str, int] = field(default_factory=dict)

"""The results of a study: all that its report shows, as frozen records for ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Literal

import numpy as np

from ethosteer.records import DatasetCard

DATA_FOLDER = "data folder"
"""The entry of ``StudyResults.provenance`` for the folder of --data-dir, if there was one."""

Select = Literal["step", "kl"]
"""Which checkpoint a study evaluates: the last step, or the last within its KL target."""

Better = Literal["higher", "lower", "half", "none"]
"""The direction in which a metric improves; "half" if 50 % is the aim, "none" if it has none."""

Correction = Literal["holm", "bh"]
Role = Literal["primary", "value profile", "exploratory"]
"""A comparison's role: a hypothesis of the study, a manipulation check, or neither."""
"""How p is corrected for multiple testing: Holm (1979), or Benjamini & Hochberg (1995)."""

Verdict = Literal["better", "worse", "different", "equivalent", "undecided"]
"""What a comparison shows; "different" where neither direction is the better one."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and the number of items it rests on."""

    value: float
    low: float
    high: float
    n: int


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"), 0)


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
class Comparison:
    """Model ``a`` against model ``b`` on the same items: difference = a - b.

    ``family`` names the comparisons that p was corrected with; ``equivalence_p`` is the adjusted p
    of two one-sided tests against the preregistered margin; ``minimum_detectable`` is the true
    difference that is detected with 80 % power at the family's strictest level; ``items_needed``
    detect the preregistered effect so (inf: no number of items does, only more seeds). nan where
    unknown or not preregistered. ``seeds`` is the smaller number of two arms' seeds.

    ``difference`` has the 95 % interval; ``decision_low`` to ``decision_high`` is the one of
    confidence ``decision_level`` at which the verdict was decided, so that both agree.
    ``..._low`` and ``..._high`` of what can be detected are its 10 and 90 % quantiles by the
    uncertainty of the variances. ``room`` is by how much a can be better than b.
    """

    benchmark: str
    metric: str
    a: str
    b: str
    difference: Estimate
    p: float
    adjusted_p: float
    items: int
    clusters: int
    seeds: int
    minimum_detectable: float
    verdict: Verdict
    family: str = ""
    equivalence_p: float = float("nan")
    items_needed: float = float("nan")
    role: Role = "exploratory"
    decision_low: float = float("nan")
    decision_high: float = float("nan")
    decision_level: float = float("nan")
    minimum_detectable_low: float = float("nan")
    minimum_detectable_high: float = float("nan")
    items_needed_low: float = float("nan")
    items_needed_high: float = float("nan")
    room: float = float("inf")

    @property
    def decided(self) -> Estimate:
        """The difference with the interval by which its verdict was decided."""
        if isnan(self.decision_level):
            return self.difference
        return replace(self.difference, low=self.decision_low, high=self.decision_high)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One measured step of one arm's steering, of the policy before the step's updates.

    Rewards are normalised (the base's samples have mean 0 and sd 1), KL is in nats per response.
    ``rewards`` has the same answers' mean reward under every reward model of the study, where that
    was measured.
    """

    step: int
    reward: float
    kl: float
    kl_k3: float
    kl_coefficient: float
    response_tokens: float
    eos_fraction: float
    entropy: float
    loss: float = 0.0
    value_loss: float = 0.0
    clip_fraction: float = 0.0
    rewards: dict[str, float] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint of an arm: held-out rewards (normalised) and KL (nats) per response."""

    step: int
    rewards: list[float]
    kl: list[float]


@dataclass(frozen=True, slots=True)
class SteeringResult:
    """One arm's steering.

    ``start`` are the held-out rewards before it; ``checkpoints`` are keyed by the rule that selects
    them; ``stopped`` is the reason for which it ended early, "" if it did not.
    """

    algorithm: str
    start: list[float]
    checkpoints: dict[Select, Checkpoint]
    curve: list[CurvePoint]
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class ValidationPoint:
    """A reward model on its validation pairs after ``step`` steps: mean loss, and accuracy."""

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class HeldOutPairs:
    """A reward model's raw rewards of held-out pairs, and their losses: one entry per pair."""

    chosen: list[float]
    rejected: list[float]
    groups: list[str]
    response_tokens: list[tuple[int, int]]
    losses: list[float]
    validation: list[ValidationPoint] = field(default_factory=list)

    def clustered(self, clusters: Mapping[str, str]) -> HeldOutPairs:
        """Return the same pairs, each group replaced by its cluster."""
        return replace(self, groups=[clusters[group] for group in self.groups])

    @property
    def length_correlation(self) -> float:
        """Pearson correlation of a response's reward with its length in tokens; nan if constant."""
        rewards = np.array([self.chosen, self.rejected])
        lengths = np.array(self.response_tokens, dtype=float).T
        if rewards.std() == 0 or lengths.std() == 0:
            return float("nan")
        return float(np.corrcoef(rewards.ravel(), lengths.ravel())[0, 1])


@dataclass(frozen=True, slots=True)
class CrossResult:
    """Every model's answers and every dataset's pairs under every reward model, of one seed.

    rewards: model -> reward model -> normalised reward of its answer to each held-out prompt (the
    same prompts for all). correct: reward model -> dataset -> whether it prefers the chosen
    response, per held-out pair. groups: dataset -> scenario of each held-out pair.
    """

    rewards: dict[str, dict[str, list[float]]]
    correct: dict[str, dict[str, list[bool]]]
    groups: dict[str, list[str]]

    def clustered(self, clusters: Mapping[str, Mapping[str, str]]) -> CrossResult:
        """Return the same results, each dataset's groups replaced by their clusters."""
        groups = {
            dataset: [clusters[dataset][group] for group in names]
            for dataset, names in self.groups.items()
        }
        return replace(self, groups=groups)


@dataclass(frozen=True, slots=True)
class ArmResult:
    """How one arm's reward model and its steering went.

    ``start`` and ``end`` are normalised rewards of answers to the same held-out prompts, before and
    after steering; ``gain`` is their paired difference; ``kl`` is from the reference at the end, in
    nats per response. The end is the checkpoint that the study evaluates, of ``step``, by rule
    ``select``. ``reward_model`` is named after the arm whose pairs it was trained on, ``dataset``
    is that of the pairs; ``stopped`` is the reason for which an arm ended early.
    ``matched_accuracy`` is the reward model's accuracy at matched length.
    """

    arm: str
    seed: int
    accuracy: Estimate
    length_correlation: float
    normalisation_gain: float
    normalisation_bias: float
    start: Estimate
    end: Estimate
    gain: Estimate
    kl: Estimate
    curve: tuple[CurvePoint, ...]
    reward_model: str = ""
    algorithm: str = "ppo"
    select: Select = "step"
    step: int = 0
    stopped: str = ""
    validation: tuple[ValidationPoint, ...] = ()
    dataset: str = ""
    matched_accuracy: Estimate = UNKNOWN


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope per 100 steps, with its interval and p of no slope; seeds are its replicates.

    With one seed the interval covers the noise along that run, not the variation of seeds.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int


@dataclass(frozen=True, slots=True)
class SlopeResult:
    """The slope of arm ``a``'s reward, or, with ``b``, its difference to ``b``'s slope."""

    a: str
    b: str
    slope: Slope
    adjusted_p: float = float("nan")


@dataclass(frozen=True, slots=True)
class CrossCell:
    """What one reward model makes of ``name``.

    ``name`` is a model, and the estimate its answers' mean normalised reward; or it is a dataset,
    and the estimate is the accuracy on its held-out pairs.
    """

    name: str
    reward_model: str
    estimate: Estimate


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
class Overlap:
    """How many of a preference set's pairs have an n-gram in common with a benchmark."""

    dataset: str
    benchmark: str
    n: int
    pairs: int
    overlapping: int


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

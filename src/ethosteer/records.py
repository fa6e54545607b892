"""What flows through a study: frozen records, one definition each.

    published data -> PreferenceSet -> reward adapters -> policy adapters -> Outcome -> Comparison

Stages hand records and artifacts to each other, never live models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

BASE = "base"
FINETUNED = "fine-tuned"
CONTROLS = (BASE, FINETUNED)

Verdict = Literal["better", "worse", "different", "equivalent", "undecided"]
"""What a comparison shows; "different" where neither side of a difference is the good one."""

Turn = tuple[Literal["human", "assistant"], str]
"""One turn of a dialogue: who speaks, and what they say."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One preference dataset and one seed, to be steered."""

    name: str
    seed: int

    @property
    def label(self) -> str:
        """The arm's name in paths and tables, such as ``virtue-s0``."""
        return f"{self.name}-s{self.seed}"


@dataclass(frozen=True, slots=True)
class Model:
    """What is evaluated: a control (seed 0) or an arm."""

    name: str
    seed: int = 0

    @property
    def arm(self) -> Arm | None:
        """The arm this model is, None for a control."""
        return None if self.name in CONTROLS else Arm(self.name, self.seed)

    @property
    def label(self) -> str:
        """The model's name in paths."""
        return self.name if self.arm is None else self.arm.label


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """One prompt with the response to prefer and the one to avoid, as plain text.

    ``group`` names the scenario: pairs of one scenario stay on one side of a split. ``row`` is the
    line of the published file that the chosen response was read from, counted from 1.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    group: str
    row: int


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """Where a preference set comes from and what curation made of it."""

    name: str
    source: str
    revision: str
    licence: str
    rows: int
    pairs: dict[str, int]
    dropped: dict[str, int]
    duplicates: int
    content_hash: str
    mean_prompt_tokens: float
    mean_response_tokens: float


@dataclass(frozen=True, slots=True)
class PreferenceSet:
    """A curated dataset: its pairs by split, and its card."""

    name: str
    train: tuple[PreferencePair, ...]
    validation: tuple[PreferencePair, ...]
    test: tuple[PreferencePair, ...]
    card: DatasetCard


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished piece of work on disk. Its manifest was written last, so it is whole."""

    stage: str
    name: str
    fingerprint: str
    path: Path


@dataclass(frozen=True, slots=True)
class Rollout:
    """Sampled responses to the same prompts: an equal block of rows for each of ``arms``.

    tokens: ``[R, T]``, prompt and response, right-padded; prompt_lengths: ``[R]``. response_tokens
    and response_mask: ``[R, N]``, the mask covering the response up to and with its EOS;
    log-probabilities, entropy and values have that shape too and belong to the response token of
    their column. scores: ``[R]``, normalised.
    """

    arms: tuple[int, ...]
    tokens: Tensor
    prompt_lengths: Tensor
    response_tokens: Tensor
    response_mask: Tensor
    log_probabilities: Tensor
    reference_log_probabilities: Tensor
    entropy: Tensor
    values: Tensor
    scores: Tensor

    @property
    def read_lengths(self) -> Tensor:
        """Tokens of each row that predict one of its response: all but the last, ``[R]``."""
        return self.prompt_lengths + self.response_mask.sum(dim=1) - 1


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark.

    A choice ``i`` is the continuation ``continuations[i]`` after ``contexts[i]``. An item without
    continuations is answered by greedy generation after ``contexts[0]``. ``group`` names the
    cluster for the statistics (Winograd twins, one deontology scenario); ``slices`` the parts of
    the benchmark it belongs to (a bias type, a target group). ``trim`` is the span of characters
    in every context that may be shortened from its middle where the item is too long for the
    model; None where contexts lose their first tokens, as the reference harness does it.
    """

    id: str
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    label: int | None
    group: str
    slices: tuple[str, ...] = ()
    trim: tuple[int, int] | None = None

    def texts(self) -> tuple[str, ...]:
        """Return every text that a model may read for this item."""
        ends = self.continuations or ("",) * len(self.contexts)
        return tuple(start + end for start, end in zip(self.contexts, ends, strict=True))


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and whether it belongs to the positive class, for classifiers."""

    text: str
    positive: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one model answered to one item.

    ``model`` is a control's or an arm's name, ``seed`` the arm's (0 for controls). ``predicted`` is
    the index of the chosen continuation, None for no answer; ``correct`` is None where an item has
    no label. ``log_likelihoods`` are the continuations', or a classifier's log-probabilities of a
    text it judged; ``lengths`` the continuations' characters without the leading space, for
    acc_norm. ``cut`` says that the item was too long for the model and lost text.
    """

    model: str
    seed: int
    benchmark: str
    item: str
    group: str
    slices: tuple[str, ...]
    label: int | None
    predicted: int | None
    correct: bool | None
    log_likelihoods: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    text: str | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and the number of items it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Basis:
    """What numbers of one benchmark rest on, as hashes: compared are only results with the same.

    items: of ids, labels and groups, in order; prompts: of every text that models read; template:
    how the study writes dialogues; tokenizer: of its whole definition; judge: the classifier of
    generated texts, "" where there is none.
    """

    items: str
    prompts: str
    template: str
    tokenizer: str
    judge: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model ``a`` against model ``b`` on the same items: difference = a - b.

    ``family`` names the comparisons that p was corrected with; ``equivalence_p`` is the adjusted p
    of two one-sided tests against the declared margin; ``smallest_detectable`` is found with a
    power of 80 % at the family's strictest level; ``items_needed`` would find the declared effect
    so (inf: no number of items, only more seeds). nan where unknown or undeclared. ``seeds`` is
    the fewer of two arms' seeds.
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
    smallest_detectable: float
    verdict: Verdict
    family: str = ""
    equivalence_p: float = float("nan")
    items_needed: float = float("nan")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One measured step of one arm's steering, of the policy before the step's updates.

    Reward is normalised (base samples: mean 0, sd 1), KL in nats per response. ``rewards`` has the
    same answers' mean reward under every reward model of the study, where that was measured.
    """

    step: int
    reward: float
    kl: float
    kl_k3: float
    kl_coefficient: float
    response_tokens: float
    eos_share: float
    entropy: float
    loss: float = 0.0
    value_loss: float = 0.0
    clip_share: float = 0.0
    rewards: dict[str, float] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArmResult:
    """How one arm's reward model and its steering went.

    ``start`` and ``end`` are normalised rewards of answers to the same held-out prompts, before and
    after steering; ``gain`` is their paired difference; ``kl`` is to the reference at the end, in
    nats per response. The end is the checkpoint that the study evaluates: of ``step``, by rule
    ``select``. ``judge`` names the reward model, after the arm that brought the pairs; ``stopped``
    says why an arm ended early.
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
    judge: str = ""
    algorithm: str = "ppo"
    select: Literal["step", "kl"] = "step"
    step: int = 0
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class Slope:
    """A rise per 100 steps, with its interval and the p of its being 0; seeds are its replicates.

    With one seed the interval covers the noise along that one run, and nothing of seeds.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int


@dataclass(frozen=True, slots=True)
class SlopeResult:
    """How fast arm ``a``'s reward rises, or, with ``b``, how much faster than ``b``'s."""

    a: str
    b: str
    slope: Slope
    adjusted_p: float = float("nan")


@dataclass(frozen=True, slots=True)
class CrossCell:
    """What the reward model of ``judge`` makes of a model's answers (mean normalised reward), or of
    a dataset's held-out pairs (accuracy).
    """

    name: str
    judge: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class BenchmarkCell:
    """One model on one benchmark metric, its seeds taken together."""

    model: str
    metric: str
    estimate: Estimate
    by_seed: dict[int, float]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceCell:
    """One model's primary metric on one part of a benchmark, over its ``n`` items."""

    model: str
    slice: str
    value: float
    n: int


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """One benchmark: a cell for every model and metric, with the constant-answer baselines.

    ``baselines`` maps an answer (such as "always No") to the primary metric it would get.
    ``better`` says which way the primary metric improves: "higher", "lower", or "half" where 50 %
    is the aim. ``note`` says what classifier judged its texts, where one did. ``example`` is what
    a model reads for the first item, word for word, choices after it.
    """

    name: str
    title: str
    primary: str
    better: Literal["higher", "lower", "half", "none"]
    items: int
    cut: int
    source: str
    licence: str
    baselines: dict[str, float]
    cells: tuple[BenchmarkCell, ...]
    slices: tuple[SliceCell, ...] = ()
    note: str = ""
    basis: Basis | None = None
    example: str = ""


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
    """The share of a preference set's pairs that have an n-gram in common with a benchmark."""

    dataset: str
    benchmark: str
    n: int
    pairs: int
    overlapping: int


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one stage of the run took, in seconds of work (0 for what was already there)."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StudyResults:
    """Everything the report shows: the content of ``results.json``.

    ``margin`` is the equivalence margin that the study declared, ``effect`` the difference that
    matters to it, None where it declared none; ``alpha`` the level of its tests and ``correction``
    of how many there are. ``undeclared`` says what of this was changed once outcomes were known.
    ``reward_comparisons`` hold arms' mean rewards to the fine-tuned control's: their ``benchmark``
    names the reward model.
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
    correction: Literal["holm", "bh"] = "holm"
    undeclared: tuple[str, ...] = ()
    reward_comparisons: tuple[Comparison, ...] = ()

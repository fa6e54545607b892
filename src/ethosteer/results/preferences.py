"""What the judgements of a collection show: the ranking of answer sources, and their quality."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ethosteer.results.comparisons import Comparison, Correction
from ethosteer.results.estimates import UNKNOWN, Estimate

COLLECTION = "collection"
"""The folder of a run's collection, in the run's folder."""
QUALITY = "quality.json"
"""The file of a collection's export that holds a ``CollectionQuality``."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How often the answers of one source are preferred.

    ``strength`` is the Bradley-Terry strength, a natural logarithm of odds, less the mean of the
    sources that it can be compared with; its ``n`` is the number of judgements. ``share`` is the
    share of judgements that the source would win against one of strength 0, ties counted as half.
    Both have 95 % intervals over prompts and annotators, not corrected for multiple testing.
    ``component`` numbers the sources that are comparable: those linked by judgements.
    """

    source: str
    strength: Estimate
    share: Estimate
    wins: int
    ties: int
    losses: int
    component: int = 0


@dataclass(frozen=True, slots=True)
class Ranking:
    """The sources, the best first within each component, and all differences between them.

    ``comparisons`` are of strengths: differences are logarithms of the odds that a is preferred to
    b, ties left out. ``tie_parameter`` is Davidson's nu in each component: two sources of equal
    strength tie with probability nu / (2 + nu).
    """

    strengths: tuple[Strength, ...]
    comparisons: tuple[Comparison, ...]
    tie_parameter: tuple[float, ...]
    judgements: int
    prompts: int
    annotators: int

    @property
    def components(self) -> int:
        """The number of sets of sources that no judgement links to each other."""
        return len(self.tie_parameter)


@dataclass(frozen=True, slots=True)
class AnnotatorAgreement:
    """How far annotators agree on the pairs that several of them judged.

    ``nominal_alpha`` is Krippendorff's alpha of which answer is better (or neither),
    ``ordinal_alpha`` that of all five grades; their ``n`` is the number of pairs.
    """

    nominal_alpha: Estimate = UNKNOWN
    ordinal_alpha: Estimate = UNKNOWN


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of two annotators with quadratic weights; ``n`` is their common pairs."""

    a: int
    b: int
    kappa: Estimate


@dataclass(frozen=True, slots=True)
class Reliability:
    """One annotator: shares of judgements that agree, each with a Wilson interval.

    ``others``: with the majority of the others on the same pair. ``gold``: with the expected
    preference. ``repeats``: with the annotator's earlier judgement. All three compare which answer
    is better, not how clearly. ``left`` is the share of judgements for the left answer of those
    that are no ties, ``left_p`` the exact p of no position bias, adjusted over annotators (Holm).
    ``seconds`` are the 25 %, 50 % and 75 % quantiles of the time per judgement.
    """

    annotator: int
    judgements: int
    flagged: int
    others: Estimate
    gold: Estimate
    repeats: Estimate
    left: Estimate
    left_p: float
    ties: float
    seconds: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class PositionBias:
    """The share of judgements for the left answer, ties left out, and p of no position bias."""

    left: Estimate
    p: float


@dataclass(frozen=True, slots=True)
class CollectionQuality:
    """Everything that the owner's page and the report show of a collection's judgements.

    ``judgements`` have a preference, are not flagged and are no practice; ``pairs`` were judged so,
    of ``pool`` pairs.
    ``selections`` counts judgements by why their pair was shown, ``preferences`` those of the
    pool's pairs by grade. ``ranking`` rests on the pairs that were shown at random, so that it is
    of the whole pool; where others were chosen for what reward models say, ``ranking_of_all`` rests
    on all. Hidden repeats, gold and practice pairs are in neither; without judgements a ranking is
    None. ``alpha`` and ``correction`` are those of its comparisons. ``last`` is the time of the
    last judgement.
    """

    judgements: int
    flagged: int
    pairs: int
    pool: int
    annotators: int
    selections: dict[str, int]
    preferences: dict[str, int]
    agreement: AnnotatorAgreement
    kappas: tuple[Kappa, ...]
    reliability: tuple[Reliability, ...]
    position: PositionBias
    seconds: tuple[float, float, float]
    ranking: Ranking | None = None
    ranking_of_all: Ranking | None = None
    alpha: float = 0.05
    correction: Correction = "holm"
    last: datetime | None = None

"""What the owner's page shows: counts of this moment, and statistics that are a little older."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ethosteer.collect.quality import collection_quality
from ethosteer.collect.records import Annotator, Judgement, Pair
from ethosteer.results.preferences import CollectionQuality, Reliability

LEAST_REST = 10.0
"""Statistics are computed again only after so many times the seconds that they took."""


@dataclass(frozen=True, slots=True)
class AnnotatorRow:
    """An annotator's judgements of practice and of other pairs, those with a flag, and the last."""

    annotator: Annotator
    done: int
    practice: int
    flagged: int
    last: datetime | None
    reliability: Reliability | None


@dataclass(frozen=True, slots=True)
class Overview:
    """How a collection stands; practice counts for no total."""

    pairs: int
    judged_pairs: int
    judgements: int
    flagged: int
    rows: tuple[AnnotatorRow, ...]


def overview(
    pairs: Sequence[Pair],
    annotators: Iterable[Annotator],
    judgements: Sequence[Judgement],
    reliability: Iterable[Reliability],
) -> Overview:
    """Count judgements, which are without withdrawn ones, by annotator."""
    by_annotator: dict[int, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_annotator[judgement.annotator].append(judgement)
    reliable = {entry.annotator: entry for entry in reliability}
    counted = [judgement for judgement in judgements if judgement.selection != "practice"]
    pool = {pair.key for pair in pairs if pair.kind == "pair"}
    return Overview(
        pairs=len(pool),
        judged_pairs=len(pool & {j.pair_key for j in counted if j.preference is not None}),
        judgements=len(counted),
        flagged=sum(judgement.flagged for judgement in counted),
        rows=tuple(
            _row(annotator, by_annotator[annotator.id], reliable.get(annotator.id))
            for annotator in annotators
        ),
    )


class LiveQuality:
    """The statistics of a collection while it grows, computed by one thread at a time."""

    def __init__(self, pairs: Sequence[Pair], clock: Callable[[], float] = time.monotonic) -> None:
        self._pairs = pairs
        self._clock = clock
        self._lock = threading.Lock()
        self._of: tuple[int, str] | None = None
        self._quality: CollectionQuality | None = None
        self._next = 0.0

    def of(self, judgements: Sequence[Judgement]) -> CollectionQuality:
        """Return the statistics of the judgements, or of those of a moment ago."""
        state = (len(judgements), judgements[-1].assignment if judgements else "")
        with self._lock:
            begun = self._clock()
            if self._quality is None or (state != self._of and begun >= self._next):
                self._quality = collection_quality(self._pairs, judgements)
                self._of = state
                ended = self._clock()
                self._next = ended + LEAST_REST * (ended - begun)
            return self._quality


def _row(
    annotator: Annotator, judgements: Sequence[Judgement], reliability: Reliability | None
) -> AnnotatorRow:
    counted = [judgement for judgement in judgements if judgement.selection != "practice"]
    return AnnotatorRow(
        annotator=annotator,
        done=len(counted),
        practice=len(judgements) - len(counted),
        flagged=sum(judgement.flagged for judgement in counted),
        last=judgements[-1].judged if judgements else None,
        reliability=reliability,
    )

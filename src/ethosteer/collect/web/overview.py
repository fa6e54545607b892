"""What the owner's page counts of a collection; its statistics are in ``collect.quality``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from ethosteer.collect.records import Annotator, Judgement, Pair, Selection


@dataclass(frozen=True, slots=True)
class AnnotatorRow:
    """An annotator's judgements: of pairs, of practice, those with a flag, and when the last was.

    ``seconds`` is the median time of those of pairs, None where there is none yet.
    """

    annotator: Annotator
    done: int
    practice: int
    flagged: int
    seconds: float | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Overview:
    """How a collection stands; judgements of practice pairs count for no total."""

    pairs: int
    judged_pairs: int
    judgements: int
    flagged: int
    selections: dict[Selection, int]
    rows: tuple[AnnotatorRow, ...]


def overview(
    pairs: Sequence[Pair], annotators: Iterable[Annotator], judgements: Sequence[Judgement]
) -> Overview:
    """Count judgements, by annotator and by why their pairs were shown."""
    by_annotator: dict[int, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_annotator[judgement.annotator].append(judgement)
    counted = [judgement for judgement in judgements if judgement.selection != "practice"]
    pool = {pair.key for pair in pairs if pair.kind == "pair"}
    return Overview(
        pairs=len(pool),
        judged_pairs=len(pool & {j.pair_key for j in counted if j.preference is not None}),
        judgements=len(counted),
        flagged=sum(judgement.flagged for judgement in counted),
        selections=dict(Counter(judgement.selection for judgement in counted)),
        rows=tuple(_row(annotator, by_annotator[annotator.id]) for annotator in annotators),
    )


def _row(annotator: Annotator, judgements: Sequence[Judgement]) -> AnnotatorRow:
    counted = [judgement for judgement in judgements if judgement.selection != "practice"]
    return AnnotatorRow(
        annotator=annotator,
        done=len(counted),
        practice=len(judgements) - len(counted),
        flagged=sum(judgement.flagged for judgement in counted),
        seconds=median(judgement.seconds for judgement in counted) if counted else None,
        last=judgements[-1].judged if judgements else None,
    )

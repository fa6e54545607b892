"""What flows through a collection, as frozen records.

a study's answers, or a file -> Pair -> Assignment -> Judgement -> preference JSONL
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ethosteer.records import Turn

Preference = Literal[-2, -1, 0, 1, 2]
"""For the first answer: 2 clearly and 1 slightly better, 0 equally good or bad; negative values are
for the second."""

Selection = Literal["random", "disagreement", "uncertainty", "repeat", "gold", "practice"]
"""Why a pair was shown."""

PairKind = Literal["pair", "gold", "practice"]

Choice = Literal["random", "disagreement", "uncertainty"]
"""How the pairs are chosen that are not shown at random."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a prompt.

    ``source`` is the arm, control or column that it comes from; annotators never see it.
    """

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt.

    ``key`` is a hash of the content, ``group`` the prompt's key, the cluster of the statistics.
    Gold and practice pairs have an ``expected`` preference, practice pairs an ``explanation``,
    which is their feedback. ``margins`` are rewards of the first minus the second answer, one for
    each reward model, () where there is none. ``warning`` is a content warning, or "".
    """

    key: str
    prompt: tuple[Turn, ...]
    first: Answer
    second: Answer
    group: str
    kind: PairKind = "pair"
    expected: Preference | None = None
    explanation: str = ""
    margins: tuple[float, ...] = ()
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Annotator:
    """One annotator; ``name`` is a chosen one, "" once it was deleted."""

    id: int
    name: str
    joined: datetime


@dataclass(frozen=True, slots=True)
class Assignment:
    """One pair shown to one annotator; ``id`` is random, so that it cannot be guessed."""

    id: str
    annotator: int
    pair: Pair
    first_is_left: bool
    selection: Selection
    assigned: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """One annotator's answer to one assignment.

    ``preference`` is None where the pair was only flagged. ``seconds`` is the time from showing the
    pair to the answer. ``withdrawn`` is when it was undone, None where it counts. Times are in UTC.
    """

    assignment: str
    annotator: int
    pair_key: str
    preference: Preference | None
    flagged: bool
    reason: str
    first_is_left: bool
    selection: Selection
    seconds: float
    judged: datetime
    withdrawn: datetime | None = None


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """What a collection asks of its annotators.

    ``overlap`` is the number of annotators who judge each pair, ``goal`` the number of judgements
    asked of each annotator, None where all pairs are. The shares are of an annotator's judgements:
    ``random_share`` of the new pairs are always chosen at random, whatever ``choice`` says.
    """

    title: str = "Which answer is better?"
    guidelines: str = ""
    overlap: int = 1
    random_share: float = 0.2
    choice: Choice = "random"
    repeat_share: float = 0.05
    gold_share: float = 0.05
    goal: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair that was shown to an annotator, and the answer; None while it is open or only flagged.

    ``judged`` is False while the assignment is open.
    """

    pair_key: str
    selection: Selection
    first_is_left: bool
    judged: bool
    preference: Preference | None


@dataclass(frozen=True, slots=True)
class History:
    """What the choice of the next pair depends on.

    ``shown`` is what the annotator has seen, in order, withdrawn judgements left out.
    ``judgements`` is the number of annotators who judged a pair or have it open, by pair key; pairs
    that nobody has seen are missing, and hidden repeats do not count. ``preferences`` are those of
    all annotators, by pair key.
    """

    shown: tuple[Shown, ...] = ()
    judgements: Mapping[str, int] = field(default_factory=dict)
    preferences: Mapping[str, tuple[Preference, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Invitation:
    """One invitation; ``note`` is the owner's, ``annotator`` None until the link was used."""

    id: int
    note: str
    created: datetime
    annotator: int | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an annotator is.

    ``done`` are judgements without practice, ``goal`` the number asked, ``practice_left`` the
    practice pairs that are still to be judged. Without a goal in the settings it is ``done`` and
    the pairs that are left for this annotator.
    """

    done: int
    goal: int
    practice_left: int

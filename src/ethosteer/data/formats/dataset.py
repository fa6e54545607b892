"""A file of the user's as a dataset: its format is recognised and its judgements are weighed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path

from ethosteer.data.contrast import Answer, contrast
from ethosteer.data.formats.argilla import ARGILLA
from ethosteer.data.formats.base import (
    KNOWN,
    Columns,
    Entry,
    Format,
    Judgement,
    Labelled,
    unknown_columns,
)
from ethosteer.data.formats.collected import COLLECTED, judgements_file
from ethosteer.data.formats.comparisons import COMPARISON
from ethosteer.data.formats.dialogues import is_dialogue
from ethosteer.data.formats.files import read_rows, shards
from ethosteer.data.formats.label_studio import LABEL_STUDIO
from ethosteer.data.formats.labelled import LABELLED
from ethosteer.data.formats.pairs import IMPLICIT, PREFERENCE
from ethosteer.data.hub import HubDataset
from ethosteer.data.pair_sets import Dataset, Description, Dropped
from ethosteer.data.readers import Row
from ethosteer.data.sources import Source
from ethosteer.errors import InputError
from ethosteer.records import Agreement, PreferencePair
from ethosteer.settings import ArmSettings
from ethosteer.statistics.agreement import both_orders, nominal_alpha

FORMATS = (ARGILLA, LABEL_STUDIO, COLLECTED, COMPARISON, PREFERENCE, IMPLICIT, LABELLED)
"""In the order in which they are tried."""
UNSTATED = "not stated"
LARGEST_VOTES = 10_000
"""Votes of one row that become a pair each."""


@dataclass(frozen=True)
class FilePairs:
    """The pairs of a file: what ``Dataset`` needs as functions, with the settings they share."""

    name: str
    settings: ArmSettings

    def rows(self, path: Path) -> Iterator[Row]:
        """Read all rows, with the names of the format's columns; InputError names file and row."""
        hub = _hub(self.settings)
        files = hub.files(path) if hub is not None else shards(path)
        rows = [row for file in files for row in read_rows(file)]
        names = tuple(dict.fromkeys(name for row in rows for name in row.fields))
        _, columns = self._recognised(path, names)
        return iter([replace(row, names=columns) for row in rows])

    def pairs(
        self, rows: Iterable[Row], pairs_per_group: int
    ) -> Iterator[PreferencePair | Dropped]:
        """Yield pairs and what is dropped; judgements are weighed as the settings say."""
        judgements: list[Judgement] = []
        answers: list[Labelled] = []
        for entry in self._entries(list(rows)):
            if isinstance(entry, Judgement):
                judgements.append(entry)
            elif isinstance(entry, Labelled):
                answers.append(entry)
            else:
                yield entry
        weighed = self._judged(judgements)
        yield from _with_unique_ids((*weighed, *self._contrasted(answers, pairs_per_group)))

    def describe(self, rows: Sequence[Row]) -> Description:
        """Say which format was recognised, by which columns, and how far annotators agree."""
        recognised, columns = self._format(rows)
        written = _written(row.value(name) for row in rows for name in columns)
        names = [
            theirs if ours == theirs else f"{theirs} as {ours}" for ours, theirs in columns.items()
        ] or list(rows[0].fields)
        judgements = [entry for entry in self._entries(rows) if isinstance(entry, Judgement)]
        return Description(
            f"{recognised.title}{written}, columns {', '.join(names)}", _agreement(judgements)
        )

    def _entries(self, rows: Sequence[Row]) -> Iterator[Entry]:
        """Yield what the rows say; an annotator's answer that is repeated counts once."""
        seen: set[tuple[object, ...]] = set()
        for entry in self._format(rows)[0].read(rows):
            if isinstance(entry, Judgement) and entry.annotator is not None:
                key = (entry.annotator, entry.prompt, entry.answers, entry.votes)
                if key in seen:
                    yield Dropped(entry.row, "duplicate")
                    continue
                seen.add(key)
            yield entry

    def _format(self, rows: Sequence[Row]) -> tuple[Format, dict[str, str]]:
        names = tuple(dict.fromkeys(name for row in rows for name in row.fields))
        return self._recognised(rows[0].path, names)

    def _recognised(self, path: Path, names: tuple[str, ...]) -> tuple[Format, dict[str, str]]:
        """Return the format of a file by its columns; InputError where it is none that is known."""
        named = self.settings.columns or {}
        columns = Columns(names, named)
        nested = {ARGILLA, LABEL_STUDIO}
        for entry in FORMATS:
            recognised = entry.names(columns)
            if recognised is None:
                continue
            if entry not in nested:
                unknown_columns(named, names, str(path))
            return entry, recognised
        unknown_columns(named, names, str(path))
        raise InputError(
            f"{path}: its columns are {', '.join(names)}, which is no format that is recognised; "
            "it needs prompt, chosen and rejected, or prompt, two answers and winner, or prompt, "
            "response and label: name them with columns = { chosen = 'their name', … }"
        )

    def _judged(self, judgements: Sequence[Judgement]) -> Iterator[PreferencePair | Dropped]:
        """Yield the pairs that judgements make: each its own, or the majority's of each pair."""
        if not any(_several(entry) for entry in judgements):
            units = [[entry] for entry in judgements]
        elif self.settings.weigh == "judgements":
            yield from self._every_judgement(judgements)
            return
        else:
            units = list(_units(judgements).values())
        for unit in units:
            first = sum(_votes_for(entry, unit[0].answers[0]) for entry in unit)
            second = sum(_votes_for(entry, unit[0].answers[1]) for entry in unit)
            if first == second:
                yield Dropped(unit[0].row, "no majority" if first else "tied")
            else:
                yield self._pair(unit[0], swapped=second > first)

    def _every_judgement(
        self, judgements: Sequence[Judgement]
    ) -> Iterator[PreferencePair | Dropped]:
        for entry in judgements:
            first, second, ties = entry.votes
            if sum(entry.votes) > LARGEST_VOTES:
                raise InputError.at(
                    Path(_file(self.settings) or self.name),
                    entry.row,
                    f"has {sum(entry.votes):,} votes, and weigh = 'judgements' makes a pair of "
                    f"each, of at most {LARGEST_VOTES:,}; weigh them by the majority",
                )
            yield from (self._pair(entry, swapped=False) for _ in range(first))
            yield from (self._pair(entry, swapped=True) for _ in range(second))
            yield from (Dropped(entry.row, "tied") for _ in range(ties))

    def _pair(self, entry: Judgement, *, swapped: bool) -> PreferencePair:
        chosen, rejected = entry.answers[::-1] if swapped else entry.answers
        return PreferencePair(
            f"{self.name}-{entry.row}", entry.prompt, chosen, rejected, entry.group, entry.row
        )

    def _contrasted(
        self, answers: Sequence[Labelled], pairs_per_group: int
    ) -> Iterator[PreferencePair | Dropped]:
        """Yield pairs of good and bad answers to one prompt."""
        groups = {entry.prompt: entry.group for entry in answers}
        scenarios = (
            Answer(entry.row, entry.prompt, entry.prompt, entry.answer, entry.good)
            for entry in answers
        )
        for made in contrast(self.name, scenarios, pairs_per_group):
            yield made if isinstance(made, Dropped) else replace(made, group=groups[made.prompt])


def file_dataset(name: str, settings: ArmSettings) -> Dataset:
    """Return the dataset of an arm's file, called ``name``; no file is read yet.

    Raises InputError where ``columns`` maps a name that is not known, and for a collection that has
    not been exported.
    """
    for column in settings.columns or {}:
        if column not in KNOWN:
            raise InputError(f"columns.{column} is unknown; known: {', '.join(KNOWN)}")
    hub, reader = _hub(settings), FilePairs(name, settings)
    path = _file(settings)
    web = f"https://huggingface.co/datasets/{settings.hub}" if hub else Path(path).name
    return Dataset(
        name=name,
        title=settings.title or name,
        source=Source(
            path=path,
            home=settings.home or web,
            licence=settings.licence or UNSTATED,
            hub=hub,
        ),
        rows=reader.rows,
        pairs=reader.pairs,
        examples="",
        describe=reader.describe,
        repeats=settings.weigh == "judgements",
    )


def _file(settings: ArmSettings) -> str:
    """Return the path of the file that an arm reads, "" for a dataset of the hub."""
    if settings.collected is not None:
        return str(judgements_file(Path(settings.collected)))
    return settings.file or ""


def _hub(settings: ArmSettings) -> HubDataset | None:
    if settings.hub is None:
        return None
    return HubDataset(
        settings.hub, settings.revision or "", settings.config or "", settings.split or "train"
    )


def _written(values: Iterable[object]) -> str:
    """Say how dialogues are written, " as text" where they are single prompts and answers."""
    is_hh = False
    for value in values:
        if isinstance(value, list | dict):
            return " as messages"
        is_hh = is_hh or (isinstance(value, str) and is_dialogue(value))
    return " as HH dialogues" if is_hh else " as text"


def _several(entry: Judgement) -> bool:
    """Return whether a judgement is one of several: by a named annotator, or of counted votes."""
    return entry.annotator is not None or sum(entry.votes) > 1


def _units(judgements: Iterable[Judgement]) -> dict[tuple[str, ...], list[Judgement]]:
    """Return the judgements of the same two answers to the same prompt, in either order."""
    units: dict[tuple[str, ...], list[Judgement]] = {}
    for entry in judgements:
        units.setdefault((entry.prompt, *sorted(entry.answers)), []).append(entry)
    return units


def _votes_for(entry: Judgement, answer: str) -> int:
    return entry.votes[entry.answers.index(answer)]


def _agreement(judgements: Sequence[Judgement]) -> Agreement | None:
    """Return how far annotators agree on which of two answers is better; None where one judged.

    The categories are the first answer, the tie and the second. Every pair is counted in both
    orders, so that it makes no difference which of its answers is called the first.
    """
    counts: list[list[int]] = []
    for (_, *answers), unit in _units(judgements).items():
        ties = sum(entry.votes[2] for entry in unit)
        first, second = (sum(_votes_for(entry, text) for entry in unit) for text in answers)
        counts.append([first, ties, second])
    several = [count for count in counts if sum(count) >= 2]
    alpha = nominal_alpha(both_orders(several)) if several else nan
    if not any(map(_several, judgements)) or isnan(alpha):
        return None
    annotators = {entry.annotator for entry in judgements if entry.annotator is not None}
    return Agreement(alpha, len(several), sum(map(sum, several)), len(annotators))


def _with_unique_ids(
    made: Iterable[PreferencePair | Dropped],
) -> Iterator[PreferencePair | Dropped]:
    """Number the pairs that have one id: of one line in several files, or of several votes."""
    seen: dict[str, int] = {}
    for entry in made:
        if isinstance(entry, Dropped):
            yield entry
            continue
        seen[entry.id] = seen.get(entry.id, 0) + 1
        count = seen[entry.id]
        yield entry if count == 1 else replace(entry, id=f"{entry.id}~{count}")

"""Preference datasets, and their curation into sets of pairs.

Curation drops duplicates and long pairs, splits the rest by scenario and writes a card that counts
all of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ethosteer.data.readers import Row
from ethosteer.data.sources import Origin, Source
from ethosteer.data.splits import split_of, unit_hash
from ethosteer.errors import InputError, RefusedDialogueError
from ethosteer.files import read_json, write_atomic, write_json
from ethosteer.records import (
    SPLITS,
    Agreement,
    DatasetCard,
    PreferencePair,
    PreferenceSet,
    Split,
)
from ethosteer.settings import ArmSettings, DataSettings

if TYPE_CHECKING:
    from ethosteer.models.text import Template

HINTS = {
    "no answer": "chosen and rejected must end with a turn of the assistant's",
    "assistant first": "a dialogue must begin with the user",
    "dialogue differs": "chosen and rejected must be equal up to their last turn",
    "no judgement": "rows without a winner say nothing",
    "no contrast": "a prompt needs a good and a bad answer",
    "too long": "data.max_tokens is the limit",
}
"""What mends the rows that are dropped for a reason."""
PAIRS = "pairs.jsonl"
CARD = "card.json"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row, or a pair, that is left out, with the reason: ``empty``, ``tied``, ``no contrast``."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Description:
    """What the card says of a file: the format that was recognised, and annotators' agreement."""

    format: str
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A preference dataset: its published file, and how its rows become pairs.

    ``rows(path)`` reads the published file; ``pairs(rows, pairs_per_group)`` yields PreferencePair
    and Dropped records, scenario by scenario in the file's order. Either raises InputError for a
    malformed row. ``pairs_per_group`` bounds the pairs made of one scenario's answers; a dataset
    published as pairs keeps them all. ``examples`` is the text of a small valid file (three to five
    invented rows); the conformance tests read it. ``describe(rows)`` says what a file of the user's
    was recognised as. Where it ``repeats``, every judgement is a pair, and equal ones are kept.
    """

    name: str
    title: str
    source: Source
    rows: Callable[[Path], Iterator[Row]]
    pairs: Callable[[Iterable[Row], int], Iterator[PreferencePair | Dropped]]
    examples: str
    describe: Callable[[Sequence[Row]], Description] | None = None
    repeats: bool = False


def curate(
    dataset: Dataset, arm: ArmSettings, limits: DataSettings, origin: Origin, template: Template
) -> PreferenceSet:
    """Make a dataset's preference set as ``curate_rows`` does.

    Raises InputError for a malformed row, and where a split is left without pairs.
    """
    curated = curate_rows(dataset, arm, limits, origin, template)
    check_splits(curated.card, dataset.source)
    return curated


def check_splits(card: DatasetCard, source: Source) -> None:
    """Raise InputError where curation leaves a split without pairs."""
    empty = [split for split in SPLITS if not card.pairs[split]]
    if not empty:
        return
    where = f" ({source.path})" if source.is_users and source.path else ""
    dropped = ", ".join(f"{reason}: {count}" for reason, count in card.dropped.items()) or "none"
    hints = [HINTS[reason] for reason in card.dropped if reason in HINTS]
    if sum(card.pairs.values()):
        hints.append("about 80 % of groups are for training and 10 % each for validation and test")
    raise InputError(
        f"dataset {card.name}{where}: curation leaves no {empty[0]} pairs "
        f"{'; '.join([f'(rows read: {card.rows}; dropped: {dropped})', *hints])}"
    )


def curate_rows(
    dataset: Dataset, arm: ArmSettings, limits: DataSettings, origin: Origin, template: Template
) -> PreferenceSet:
    """Read a dataset's file and make its preference set, with lengths as ``template`` writes pairs.

    Duplicate pairs, pairs over ``limits.max_tokens`` and dialogues that a chat template refuses are
    dropped and counted; with ``arm.max_pairs`` each split is limited by ``split_pairs``. Raises
    InputError for a malformed row.
    """
    rows = list(dataset.rows(origin.locate(dataset.source)))
    dropped: Counter[str] = Counter()
    kept: list[PreferencePair] = []
    seen: set[tuple[str, str, str]] = set()
    lengths: dict[tuple[str, str, str], _Lengths] = {}
    for entry in dataset.pairs(rows, arm.pairs_per_group):
        if isinstance(entry, Dropped):
            dropped[entry.reason] += 1
        elif (texts := (entry.prompt, entry.chosen, entry.rejected)) in seen and not (
            dataset.repeats
        ):
            dropped["duplicate"] += 1
        else:
            try:
                lengths[texts] = _lengths(entry, template)
            except RefusedDialogueError:
                dropped["template refuses"] += 1
                continue
            if not lengths[texts].shortest_response:
                dropped["no token"] += 1  # nothing that a model could be asked to say
            elif lengths[texts].longest > limits.max_tokens:
                dropped["too long"] += 1
            else:
                seen.add(texts)
                kept.append(entry)
    splits = split_pairs(kept, arm.max_pairs)
    pairs = [pair for split in SPLITS for pair in splits[split]]
    if len(pairs) < len(kept):
        dropped["over max_pairs"] = len(kept) - len(pairs)
    digest = sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.prompt, pair.chosen, pair.rejected]).encode())
    kept_lengths = [lengths[pair.prompt, pair.chosen, pair.rejected] for pair in pairs]
    described = dataset.describe(rows) if dataset.describe else Description("")
    card = DatasetCard(
        name=dataset.name,
        source=dataset.source.home,
        revision=origin.revision(dataset.source),
        licence=dataset.source.licence,
        rows=len(rows),
        pairs={split: len(splits[split]) for split in SPLITS},
        dropped=dict(sorted(dropped.items())),
        duplicates=dropped["duplicate"],
        content_hash=digest.hexdigest(),
        mean_prompt_tokens=sum(entry.prompt for entry in kept_lengths) / max(1, len(pairs)),
        mean_response_tokens=sum(entry.response for entry in kept_lengths) / max(1, len(pairs)),
        title=dataset.title,
        format=described.format,
        agreement=described.agreement,
    )
    return PreferenceSet(dataset.name, splits["train"], splits["validation"], splits["test"], card)


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Tokens of a pair's prompt, of its longer response and of its shorter one."""

    prompt: int
    response: int
    shortest_response: int

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longer response."""
        return self.prompt + self.response


def _lengths(pair: PreferencePair, template: Template) -> _Lengths:
    rows = template.rows(pair.turns, [pair.chosen, pair.rejected])
    responses = [len(row.response_ids) for row in rows]
    return _Lengths(len(rows[0].prompt_ids), max(responses), min(responses))


def split_pairs(
    pairs: Sequence[PreferencePair], limit: int | None
) -> dict[Split, tuple[PreferencePair, ...]]:
    """Put every pair in its group's split, at most ``limit`` in each.

    Pairs are kept in the order of their group's hash, so a smaller set is a subset of a larger one.
    """
    splits: dict[Split, list[PreferencePair]] = {split: [] for split in SPLITS}
    for pair in pairs:
        splits[split_of(pair.group)].append(pair)
    return {split: _first_by_hash(members, limit) for split, members in splits.items()}


def _first_by_hash(
    pairs: Sequence[PreferencePair], limit: int | None
) -> tuple[PreferencePair, ...]:
    if limit is None or len(pairs) <= limit:
        return tuple(pairs)
    ranked = sorted(pairs, key=lambda pair: (unit_hash(f"limit {pair.group}"), pair.row))
    kept = {pair.id for pair in ranked[:limit]}
    return tuple(pair for pair in pairs if pair.id in kept)


def ranked_by_hash(pairs: Sequence[PreferencePair], limit: int) -> list[PreferencePair]:
    """Choose at most ``limit`` pairs by the hash of their group; a scenario stays together."""
    return sorted(pairs, key=lambda pair: (unit_hash(pair.group), pair.id))[:limit]


def write_set(curated: PreferenceSet, folder: Path) -> None:
    """Write the pairs as JSON lines, with their split, and the card."""
    lines = [
        json.dumps({"split": split, **asdict(pair)}, ensure_ascii=False)
        for split in SPLITS
        for pair in curated.split(split)
    ]
    write_atomic(folder / PAIRS, "\n".join(lines) + "\n")
    write_json(folder / CARD, curated.card)


def read_set(folder: Path) -> PreferenceSet:
    """Read what ``write_set`` wrote."""
    splits: dict[Split, list[PreferencePair]] = {split: [] for split in SPLITS}
    # Not splitlines, which also breaks lines at U+2028 and others that texts may hold.
    for line in (folder / PAIRS).read_text("utf-8").rstrip("\n").split("\n"):
        fields = json.loads(line)
        splits[fields.pop("split")].append(PreferencePair(**fields))
    card = read_json(folder / CARD, DatasetCard)
    train, validation, test = (tuple(splits[split]) for split in SPLITS)
    return PreferenceSet(card.name, train, validation, test, card)

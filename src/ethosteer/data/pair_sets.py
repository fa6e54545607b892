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
from ethosteer.errors import InputError
from ethosteer.files import read_json, write_atomic, write_json
from ethosteer.records import SPLITS, DatasetCard, PreferencePair, PreferenceSet, Split
from ethosteer.settings import ArmSettings, DataSettings

if TYPE_CHECKING:
    from ethosteer.models.text import Template

PAIRS = "pairs.jsonl"
CARD = "card.json"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row, or a pair, that is left out, with the reason: ``empty``, ``tied``, ``no contrast``."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A preference dataset: its published file, and how its rows become pairs.

    ``rows(path)`` reads the published file; ``pairs(rows, pairs_per_group)`` yields PreferencePair
    and Dropped records, scenario by scenario in the file's order. Either raises InputError for a
    malformed row. ``pairs_per_group`` bounds the pairs made of one scenario's answers; a dataset
    published as pairs keeps them all. ``examples`` is the text of a small valid file (three to five
    invented rows); the conformance tests read it.
    """

    name: str
    title: str
    source: Source
    rows: Callable[[Path], Iterator[Row]]
    pairs: Callable[[Iterable[Row], int], Iterator[PreferencePair | Dropped]]
    examples: str


def curate(
    dataset: Dataset, arm: ArmSettings, limits: DataSettings, origin: Origin, template: Template
) -> PreferenceSet:
    """Read a dataset's file and make its preference set, with lengths as ``template`` writes pairs.

    Duplicate pairs and pairs over ``limits.max_tokens`` are dropped and counted; with
    ``arm.max_pairs`` each split is limited by ``split_pairs``. Raises InputError for a malformed
    row, and where a split is left without pairs.
    """
    rows = list(dataset.rows(origin.locate(dataset.source)))
    dropped: Counter[str] = Counter()
    kept: dict[tuple[str, str, str], PreferencePair] = {}
    for entry in dataset.pairs(rows, arm.pairs_per_group):
        if isinstance(entry, Dropped):
            dropped[entry.reason] += 1
        elif (texts := (entry.prompt, entry.chosen, entry.rejected)) in kept:
            dropped["duplicate"] += 1
        elif sum(_lengths(entry, template)) > limits.max_tokens:
            dropped["too long"] += 1
        else:
            kept[texts] = entry
    splits = split_pairs(list(kept.values()), arm.max_pairs)
    pairs = [pair for split in SPLITS for pair in splits[split]]
    if len(pairs) < len(kept):
        dropped["over max_pairs"] = len(kept) - len(pairs)
    for split in SPLITS:
        if not splits[split]:
            raise InputError(
                f"dataset {dataset.name}: curation leaves no {split} pairs ({dict(dropped)})"
            )
    digest = sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.prompt, pair.chosen, pair.rejected]).encode())
    lengths = [_lengths(pair, template) for pair in pairs]
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
        mean_prompt_tokens=sum(prompt for prompt, _ in lengths) / len(lengths),
        mean_response_tokens=sum(response for _, response in lengths) / len(lengths),
    )
    return PreferenceSet(dataset.name, splits["train"], splits["validation"], splits["test"], card)


def _lengths(pair: PreferencePair, template: Template) -> tuple[int, int]:
    """Tokens of the prompt and of the longer response."""
    return len(template.prompt_ids(pair.turns)), max(
        len(template.response_ids(pair.turns, response))
        for response in (pair.chosen, pair.rejected)
    )


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

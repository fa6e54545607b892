"""A collection as files: preferences, all judgements, the pool, and a card.

``judgements.jsonl`` is what an arm reads (``[arms.NAME] collected``), so ``preferences.jsonl`` is
made by the same reader: its rows are the pairs that the arm is made of, before curation.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from ethosteer.collect.quality import collection_quality
from ethosteer.collect.records import Annotator, CollectionSettings, Judgement, Pair
from ethosteer.collect.store import Store
from ethosteer.data.formats.collected import JUDGEMENTS
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.data.formats.dialogues import is_dialogue
from ethosteer.data.pair_sets import Dropped
from ethosteer.errors import InputError
from ethosteer.files import make_folder, write_atomic, write_json
from ethosteer.records import Agreement, PreferencePair, Turn, format_dialogue
from ethosteer.results.preferences import QUALITY
from ethosteer.settings import ArmSettings

PREFERENCES = "preferences.jsonl"
PAIRS = "pairs.jsonl"
COLLECTION = "collection.json"
CARD = "README.md"
VERSION = 1
"""Of the files; raised when one of an earlier version can no longer be read."""

_ROLES = {"human": "user", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """The content of ``collection.json``: what the other files do not say."""

    version: int
    settings: CollectionSettings
    annotators: tuple[Annotator, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds; ``left_out`` counts the rows that make no preference, by reason."""

    preferences: int
    judgements: int
    left_out: Mapping[str, int]
    agreement: Agreement | None


def export(store: Store, folder: Path, *, names: bool = False) -> Exported:
    """Write a collection into ``folder``; files of an earlier export are replaced.

    Annotators are numbers there, and their names are written only with ``names``. Raises InputError
    where there is no judgement yet, or the folder cannot be written.
    """
    judgements, pairs = store.judgements(withdrawn=True), store.pairs()
    if not judgements:
        raise InputError(f"{store.name}: has no judgements to export yet")
    by_key = {pair.key: pair for pair in pairs}
    annotators = store.annotators()
    if not names:
        annotators = [replace(annotator, name="") for annotator in annotators]
    make_folder(folder)
    rows = [judgement_row(entry, by_key[entry.pair_key]) for entry in judgements]
    _write_rows(folder / JUDGEMENTS, rows)
    _write_rows(folder / PAIRS, map(pair_row, pairs))
    preferences, exported = _preferences(folder / JUDGEMENTS, rows)
    _write_rows(folder / PREFERENCES, preferences)
    write_json(folder / COLLECTION, CollectionRecord(VERSION, store.settings, tuple(annotators)))
    write_json(folder / QUALITY, collection_quality(pairs, judgements))
    write_atomic(folder / CARD, _card(store.settings, pairs, judgements, exported))
    return exported


def judgement_row(judgement: Judgement, pair: Pair) -> dict[str, Any]:
    """Return a judgement as a row of ``judgements.jsonl``.

    The first eight columns are those of any file of comparisons.
    """
    preference = judgement.preference
    winner = None
    if preference is not None:
        winner = "tie" if preference == 0 else "a" if preference > 0 else "b"
    return {
        "prompt": _written(pair.prompt),
        "response_a": _written([("assistant", pair.first.text)]),
        "response_b": _written([("assistant", pair.second.text)]),
        "winner": winner,
        "annotator": judgement.annotator,
        "group": pair.group,
        "source_a": pair.first.source,
        "source_b": pair.second.source,
        "preference": preference,
        "flagged": judgement.flagged,
        "reason": judgement.reason,
        "selection": judgement.selection,
        "first_is_left": judgement.first_is_left,
        "seconds": judgement.seconds,
        "judged": judgement.judged.isoformat(),
        "withdrawn": None if judgement.withdrawn is None else judgement.withdrawn.isoformat(),
        "pair": pair.key,
        "assignment": judgement.assignment,
    }


def pair_row(pair: Pair) -> dict[str, Any]:
    """Return a pair as a row of ``pairs.jsonl``, which ``pool.file_pairs`` reads."""
    return {
        "prompt": _written(pair.prompt),
        "response_a": _written([("assistant", pair.first.text)]),
        "response_b": _written([("assistant", pair.second.text)]),
        "source_a": pair.first.source,
        "source_b": pair.second.source,
        "group": pair.group,
        "kind": pair.kind,
        "expected": pair.expected,
        "explanation": pair.explanation,
        "margins": pair.margins,
        "warning": pair.warning,
        "key": pair.key,
    }


def _preferences(
    path: Path, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], Exported]:
    """Return the preferences that an arm would read from ``path``, whose rows are given."""
    dataset = file_dataset("collected", ArmSettings(file=str(path)))
    read = list(dataset.rows(path))
    preferences: list[PreferencePair] = []
    left_out: Counter[str] = Counter()
    dropped: set[int] = set()
    for entry in dataset.pairs(read, 1):
        if isinstance(entry, Dropped):
            left_out[entry.reason] += 1
            dropped.add(entry.row)
        else:
            preferences.append(entry)
    counted: dict[tuple[str, frozenset[str]], list[tuple[str, int, int]]] = defaultdict(list)
    for line, row in enumerate(rows, start=1):
        if line in dropped or row["preference"] is None:
            continue
        first, second = _text(row["response_a"]), _text(row["response_b"])
        key = (_text(row["prompt"]), frozenset((first, second)))
        counted[key].append((first, row["preference"], row["annotator"]))
    made = []
    for pair in preferences:
        judged = counted[pair.prompt, frozenset((pair.chosen, pair.rejected))]
        towards = [value if first == pair.chosen else -value for first, value, _ in judged]
        made.append(
            {
                "prompt": _written(pair.turns),
                "chosen": _written([("assistant", pair.chosen)]),
                "rejected": _written([("assistant", pair.rejected)]),
                "strength": mean(towards),
                "judgements": len(judged),
                "annotators": len({annotator for _, _, annotator in judged}),
                "group": pair.group,
            }
        )
    describe = dataset.describe
    agreement = describe(read).agreement if describe is not None else None
    return made, Exported(len(made), len(rows), dict(sorted(left_out.items())), agreement)


def _written(turns: Sequence[Turn]) -> str | list[dict[str, str]]:
    """Return turns as files write them: one turn as its text, unless that reads like a dialogue."""
    if len(turns) == 1 and turns[0][0] != "system" and not is_dialogue(turns[0][1]):
        return turns[0][1]
    return [{"role": _ROLES[role], "content": text} for role, text in turns]


def _text(written: str | list[dict[str, str]]) -> str:
    """Return what ``_written`` wrote as the text that a dataset's pairs have."""
    if isinstance(written, str):
        return written
    roles = {name: role for role, name in _ROLES.items()}
    turns: list[Any] = [(roles[message["role"]], message["content"]) for message in written]
    return turns[0][1] if len(turns) == 1 else format_dialogue(turns)


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(path, "".join(lines))


def _card(
    settings: CollectionSettings,
    pairs: Sequence[Pair],
    judgements: Sequence[Judgement],
    exported: Exported,
) -> str:
    """Return the card, in Markdown; what people wrote is an indented block, so it stays text."""
    counted = [entry for entry in judgements if entry.withdrawn is None]
    shown = Counter(entry.selection for entry in counted)
    flagged = sum(entry.flagged for entry in counted)
    left_out = ", ".join(f"{reason}: {count}" for reason, count in exported.left_out.items())
    agreement = "not known, since no pair has two annotators"
    if exported.agreement is not None:
        agreement = (
            f"{exported.agreement.alpha:.2f} (nominal, {exported.agreement.pairs} pairs with two "
            "or more judgements)"
        )
    sources = sorted({answer.source for pair in pairs for answer in (pair.first, pair.second)})
    guidelines = settings.guidelines.strip() or "(none)"
    return f"""# Collected preferences

{_block(settings.title)}

| | |
|---|---|
| pairs in the pool | {sum(pair.kind == "pair" for pair in pairs)} |
| judgements | {len(counted)} (and {len(judgements) - len(counted)} undone) |
| annotators | {len({entry.annotator for entry in counted})} |
| flagged | {flagged} |
| why pairs were shown | {", ".join(f"{name}: {n}" for name, n in sorted(shown.items()))} |
| preferences | {exported.preferences} |
| rows that make no preference | {left_out or "none"} |
| Krippendorff's alpha | {agreement} |

A pair's preference is that of the majority of its judgements. Ties vote for neither answer; pairs
without a majority are left out. Flagged and undone judgements, hidden repeats, gold and practice
pairs are left out too. `strength` is the mean of a pair's judgements in favour of the chosen
answer: 2 clearly better, 1 slightly better, 0 a tie, negative values for the other answer.

- `{PREFERENCES}`: prompt, chosen, rejected, strength
- `{JUDGEMENTS}`: every judgement; `[arms.NAME] collected` reads it
- `{PAIRS}`: the pool, with the sources of the answers
- `{QUALITY}`: agreement, reliability and the ranking of sources, for the run's report
- `{COLLECTION}`: the settings, for `ethosteer collection import`

Answers come from:

{_block(", ".join(sources))}

The guidelines of the annotators:

{_block(guidelines)}
"""


def _block(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())

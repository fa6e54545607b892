"""Curate: published rows become preference pairs, split by group, with a card."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from ethosteer import catalog
from ethosteer.algorithms.tracking import check_trackers
from ethosteer.data.sources import Origin
from ethosteer.data.splits import Split, split_of, unit_hash
from ethosteer.datasets.base import Dropped, turns
from ethosteer.errors import InputError
from ethosteer.evaluation.answering import load_items, load_judge
from ethosteer.files import write_atomic, write_json
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.text import Template
from ethosteer.records import DatasetCard, PreferencePair, PreferenceSet, Turn
from ethosteer.results import Overlap
from ethosteer.settings import ArmSettings, DataSettings
from ethosteer.stages import finetune
from ethosteer.stages.workspace import PROMPTS, Workspace

PAIRS = "pairs.jsonl"
CARD = "card.json"
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def check_inputs(work: Workspace) -> None:
    """Read all published files and classifiers once, so that bad input ends it before any work."""
    for name, settings in work.config.arms.items():
        dataset = catalog.dataset(work.config.dataset_of(name))
        rows = dataset.rows(work.origin.locate(dataset.source))
        for _ in dataset.pairs(rows, settings.pairs_per_group):
            pass
    for name, own in work.config.benchmarks.items():
        load_items(catalog.benchmark(name), own, work.origin)
        load_judge(catalog.benchmark(name), own, work.origin)
    finetune.read_conversations(work.plan.conversations)
    check_trackers(work.config.track.trackers)


def run(work: Workspace) -> None:
    """Curate every arm's dataset and the steering prompts, where that is not done."""
    for name in work.missing_of(work.plan.curation, work.config.data_arms()):
        with (
            work.terminal.stage(f"curate {name}"),
            work.writing(work.plan.curation[name]) as folder,
        ):
            dataset, settings = work.config.dataset_of(name), work.config.arms[name]
            write_set(
                curate(dataset, settings, work.config.data, work.origin, work.template), folder
            )
    if not work.is_done(work.plan.prompts):
        with work.terminal.stage("curate prompts"), work.writing(work.plan.prompts) as folder:
            write_json(
                folder / PROMPTS,
                {"train": _prompts(work, "train"), "test": _prompts(work, "test")},
            )


def _prompts(work: Workspace, split: Split) -> list[list[Turn]]:
    limit = work.config.data.max_prompt_tokens
    if work.config.data.prompts == "conversations":
        conversations = finetune.read_conversations(work.plan.conversations)
        return first_turns(conversations, split, work.template, limit)
    sets = [stored_set(work, name) for name in work.config.data_arms()]
    return steering_prompts(sets, split, work.template, limit)


def stored_set(work: Workspace, name: str) -> PreferenceSet:
    """Return an arm's curated pairs."""
    return read_set(work.path(work.plan.curation[name]))


def curate(
    name: str, settings: ArmSettings, data: DataSettings, origin: Origin, template: Template
) -> PreferenceSet:
    """Read, pair, measure and split one dataset.

    Duplicate pairs and pairs over ``data.max_tokens`` are dropped and counted; with ``max_pairs``
    each split keeps the pairs of the first groups by hash, so a smaller set is part of a larger.
    """
    dataset = catalog.dataset(name)
    rows = list(dataset.rows(origin.locate(dataset.source)))
    dropped: Counter[str] = Counter()
    kept: dict[tuple[str, str, str], PreferencePair] = {}
    for entry in dataset.pairs(rows, settings.pairs_per_group):
        if isinstance(entry, Dropped):
            dropped[entry.reason] += 1
        elif (text := (entry.prompt, entry.chosen, entry.rejected)) in kept:
            dropped["duplicate"] += 1
        elif sum(_size(entry, template)) > data.max_tokens:
            dropped["too long"] += 1
        else:
            kept[text] = entry
    splits = split_pairs(list(kept.values()), settings.max_pairs)
    chosen = [pair for split in SPLITS for pair in splits[split]]
    if len(chosen) < len(kept):
        dropped["over max_pairs"] = len(kept) - len(chosen)
    for split, pairs in splits.items():
        if not pairs:
            raise InputError(f"arms.{name}: curation leaves no {split} pairs ({dict(dropped)})")
    sizes = [_size(pair, template) for pair in chosen]
    card = DatasetCard(
        name=name,
        source=dataset.source.home,
        revision=origin.revision(dataset.source),
        licence=dataset.source.licence,
        rows=len(rows),
        pairs={split: len(pairs) for split, pairs in splits.items()},
        dropped=dict(sorted(dropped.items())),
        duplicates=dropped["duplicate"],
        content_hash=_content_hash(chosen),
        mean_prompt_tokens=sum(prompt for prompt, _ in sizes) / len(sizes),
        mean_response_tokens=sum(response for _, response in sizes) / len(sizes),
    )
    return PreferenceSet(name, splits["train"], splits["validation"], splits["test"], card)


def split_pairs(
    pairs: Sequence[PreferencePair], limit: int | None
) -> dict[Split, tuple[PreferencePair, ...]]:
    """Put pairs on their group's side, each side limited to ``limit`` pairs."""
    return {split: _limited(pairs, split, limit) for split in SPLITS}


def _size(pair: PreferencePair, template: Template) -> tuple[int, int]:
    """Tokens of the prompt and of the longer response."""
    dialogue = turns(pair.prompt)
    return len(template.prompt_ids(dialogue)), max(
        len(template.response_ids(dialogue, response)) for response in (pair.chosen, pair.rejected)
    )


def _limited(
    pairs: Sequence[PreferencePair], split: Split, limit: int | None
) -> tuple[PreferencePair, ...]:
    """Return one split's pairs, at most ``limit``, chosen by the hash of their group."""
    own = [pair for pair in pairs if split_of(pair.group) == split]
    if limit is None or len(own) <= limit:
        return tuple(own)
    ranked = sorted(own, key=lambda pair: (unit_hash(f"limit {pair.group}"), pair.row))
    chosen = {pair.id for pair in ranked[:limit]}
    return tuple(pair for pair in own if pair.id in chosen)


def _content_hash(pairs: Iterable[PreferencePair]) -> str:
    digest = sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.prompt, pair.chosen, pair.rejected]).encode())
    return digest.hexdigest()


def write_set(curated: PreferenceSet, folder: Path) -> None:
    """Write the pairs as JSON lines, with their split, and the card."""
    lines = [
        json.dumps({"split": split, **asdict(pair)}, ensure_ascii=False)
        for split in SPLITS
        for pair in getattr(curated, split)
    ]
    write_atomic(folder / PAIRS, "\n".join(lines) + "\n")
    write_json(folder / CARD, asdict(curated.card))


def read_set(folder: Path) -> PreferenceSet:
    """Read what ``write_set`` wrote."""
    splits: dict[str, list[PreferencePair]] = {split: [] for split in SPLITS}
    for line in (folder / PAIRS).read_text("utf-8").splitlines():
        fields = json.loads(line)
        splits[fields.pop("split")].append(PreferencePair(**fields))
    card = DatasetCard(**json.loads((folder / CARD).read_text("utf-8")))
    train, validation, test = (tuple(splits[split]) for split in SPLITS)
    return PreferenceSet(card.name, train, validation, test, card)


def steering_prompts(
    sets: Sequence[PreferenceSet], split: Split, template: Template, max_tokens: int
) -> list[list[Turn]]:
    """Mix the arms' prompts of one split in equal parts, so that no arm's own kind prevails.

    A set with fewer distinct prompts (utilitarianism has one) repeats them.
    """
    by_set = []
    for curated in sets:
        distinct = dict.fromkeys(pair.prompt for pair in getattr(curated, split))
        fitting = [p for p in distinct if len(template.prompt_ids(turns(p))) <= max_tokens]
        by_set.append(sorted(fitting, key=unit_hash))
    most = max(map(len, by_set), default=0)
    if not most:
        raise InputError("data.max_prompt_tokens: no prompt of the arms is short enough")
    return [turns(own[i % len(own)]) for i in range(most) for own in by_set if own]


def first_turns(
    conversations: Sequence[Sequence[Turn]], split: Split, template: Template, max_tokens: int
) -> list[list[Turn]]:
    """Take the opening question of each conversation of one split as a prompt."""
    openings = dict.fromkeys(conversation[0][1] for conversation in conversations)
    return [
        [("human", text)]
        for text in openings
        if split_of(text) == split and len(template.prompt_ids([("human", text)])) <= max_tokens
    ]


def overlap(curated: PreferenceSet, benchmark: str, texts: Iterable[str], n: int) -> Overlap:
    """Count the pairs that share a run of ``n`` words with any item of a benchmark."""
    theirs = {gram for text in texts for gram in _ngrams(text, n)}
    pairs = [*curated.train, *curated.validation, *curated.test]
    shared = sum(
        any(
            gram in theirs
            for text in (pair.prompt, pair.chosen, pair.rejected)
            for gram in _ngrams(text, n)
        )
        for pair in pairs
    )
    return Overlap(curated.name, benchmark, n, len(pairs), shared)


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(*(words[i:] for i in range(n)), strict=False))


def encode(pairs: Sequence[PreferencePair], template: Template) -> list[EncodedPair]:
    """Turn pairs into token rows."""
    encoded = []
    for pair in pairs:
        dialogue = turns(pair.prompt)
        prompt = template.prompt_ids(dialogue)
        sides = [template.response_ids(dialogue, side) for side in (pair.chosen, pair.rejected)]
        chosen, rejected = ([*prompt, *side] for side in sides)
        encoded.append(EncodedPair(chosen, rejected, len(prompt), pair.group))
    return encoded

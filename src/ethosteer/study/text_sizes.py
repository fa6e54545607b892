"""Sizes of a study's texts in tokens, before it runs: of the files on this machine, or assumed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ethosteer import catalog
from ethosteer.benchmarks.base import sources_of
from ethosteer.data.conversations import CONVERSATIONS, read_conversations
from ethosteer.data.sources import SAMPLE_DIR, Origin
from ethosteer.data.splits import TEST_FRACTION, VALIDATION_FRACTION, split_of
from ethosteer.evaluation.items import asked_items
from ethosteer.records import SPLITS, PreferencePair
from ethosteer.settings import BenchmarkSettings, StudySettings

ASSUMED_PAIRS = 10_000
ASSUMED_PAIR_TOKENS = 500
ASSUMED_ANSWER_SHARE = 0.5
"""Of a pair's tokens, the share that is in its two responses."""
ASSUMED_CONVERSATIONS = 9_846
ASSUMED_ITEMS = 2_000
ASSUMED_ITEM_TOKENS = 150
CHARACTERS_PER_TOKEN = 3.5


@dataclass(frozen=True, slots=True)
class Pairs:
    """A dataset's pairs by split, and the tokens of a pair.

    ``tokens`` is their mean, ``longest`` their maximum; the prompt that both responses share counts
    once, as it is read. ``answer_share`` is the share of the responses.
    """

    train: int
    validation: int
    test: int
    tokens: float
    answer_share: float
    longest: float


@dataclass(frozen=True, slots=True)
class Texts:
    """Sizes of a study's texts: pairs by ``data_arms``, tokens of all items and of fine-tuning.

    ``conversation_length`` is the mean number of tokens of a conversation.
    """

    pairs: dict[str, Pairs]
    item_tokens: float
    conversation_tokens: float
    conversation_length: float


def read_texts(settings: StudySettings, origin: Origin, notes: list[str]) -> Texts:
    """Measure the published files that are on this machine; assume the rest and note it."""
    conversation_tokens, conversation_length = _conversations(settings, origin)
    return Texts(
        {arm: _pairs(settings, origin, arm, notes) for arm in settings.data_arms()},
        sum(
            _item_tokens(settings, origin, name, benchmark, notes)
            for name, benchmark in catalog.study_benchmarks(settings).items()
        ),
        conversation_tokens,
        conversation_length,
    )


def _local_file(origin: Origin, path: str) -> Path | None:
    """Return a file of data if it is on this machine; an estimate downloads nothing."""
    if Path(path).is_absolute():
        return Path(path) if Path(path).exists() else None
    folder = {"sample": SAMPLE_DIR, "folder": origin.folder, "hub": None}[origin.kind]
    return folder / path if folder is not None and (folder / path).is_file() else None


def _pairs(settings: StudySettings, origin: Origin, arm: str, notes: list[str]) -> Pairs:
    dataset = catalog.study_dataset(settings, arm)
    limit, longest = settings.arms[arm].max_pairs, 2.0 * settings.data.max_tokens
    path = _local_file(origin, dataset.source.path)
    if path is None:
        notes.append(f"pairs not on this machine: {ASSUMED_PAIR_TOKENS} tokens each assumed")
        sizes = {
            "train": ASSUMED_PAIRS,
            "validation": round(VALIDATION_FRACTION * ASSUMED_PAIRS),
            "test": round(TEST_FRACTION * ASSUMED_PAIRS),
        }
        tokens, share = float(ASSUMED_PAIR_TOKENS), ASSUMED_ANSWER_SHARE
    else:
        entries = dataset.pairs(dataset.rows(path), settings.arms[arm].pairs_per_group)
        pairs = [entry for entry in entries if isinstance(entry, PreferencePair)]
        sizes = Counter(split_of(pair.group) for pair in pairs)
        answers = [len(pair.chosen + pair.rejected) for pair in pairs]
        lengths = [len(pair.prompt) + answer for pair, answer in zip(pairs, answers, strict=True)]
        tokens = sum(lengths) / CHARACTERS_PER_TOKEN / max(1, len(pairs))
        share = sum(answers) / max(1, sum(lengths))
        longest = min(longest, max(lengths, default=0) / CHARACTERS_PER_TOKEN)
    train, validation, test = (min(sizes[split], limit or sizes[split]) for split in SPLITS)
    return Pairs(train, validation, test, tokens, share, longest)


def _item_tokens(
    settings: StudySettings,
    origin: Origin,
    name: str,
    asked: BenchmarkSettings,
    notes: list[str],
) -> float:
    """Return the tokens of a benchmark's items, each of their texts read whole."""
    limit = asked.limit
    if asked.file is not None and not Path(asked.file).is_file():
        notes.append(f"benchmark items not on this machine: {ASSUMED_ITEM_TOKENS} tokens assumed")
        return float(ASSUMED_ITEM_TOKENS * (limit or ASSUMED_ITEMS))
    benchmark = catalog.study_benchmark(settings, name)
    # a task of lm-evaluation-harness has its data itself
    sources = () if benchmark.score else sources_of(benchmark, asked.source)
    paths = [_local_file(origin, source.path) for source in sources]
    for arm in settings.arms:
        if benchmark.dataset and settings.dataset_of(arm) == benchmark.dataset.name:
            limits = (limit, settings.arms[arm].max_pairs)
            limit = min((number for number in limits if number is not None), default=None)
            break
    if None in paths:
        notes.append(f"benchmark items not on this machine: {ASSUMED_ITEM_TOKENS} tokens assumed")
        return float(ASSUMED_ITEM_TOKENS * (limit or ASSUMED_ITEMS))
    items = asked_items(benchmark, benchmark.items([path for path in paths if path is not None]))
    tokens = sum(len(text) for item in items for text in item.texts()) / CHARACTERS_PER_TOKEN
    return tokens * min(1.0, (limit or len(items)) / max(1, len(items)))


def _conversations(settings: StudySettings, origin: Origin) -> tuple[float, float]:
    """Return the tokens of all steps of fine-tuning, and of a conversation on average."""
    finetune, choice = settings.finetune, settings.data.conversations
    if not finetune.enabled:
        return 0.0, 0.0
    if choice == "sample":
        origin = Origin("sample")
    path = _local_file(origin, CONVERSATIONS.path if choice in ("sample", "hub") else choice)
    rows, mean = ASSUMED_CONVERSATIONS, settings.data.max_tokens / 2
    if path is not None:
        conversations = read_conversations(path).turns
        lengths = [sum(len(text) for _, text in turns) for turns in conversations]
        rows, mean = len(lengths), sum(lengths) / len(lengths) / CHARACTERS_PER_TOKEN
    read = rows * finetune.epochs
    return min(read, (finetune.max_steps or read) * finetune.batch) * mean, mean

"""Invented preference pairs, many of them, through curation: time, memory and speed of each step.

python scripts/attack.py curate --count 500000
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ethosteer import catalog
from ethosteer.benchmarks.base import sources_of
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.data.overlap import overlaps
from ethosteer.data.pair_sets import curate, read_set, write_set
from ethosteer.data.prompts import steering_prompts
from ethosteer.data.sources import SAMPLE_DIR, Origin
from ethosteer.evaluation.near_duplicates import clusters_of_pairs
from ethosteer.models.identity import POCKET
from ethosteer.models.loading import load_tokenizer
from ethosteer.models.text import Template
from ethosteer.settings import (
    ArmSettings,
    BaseSettings,
    BenchmarkSettings,
    CompareSettings,
    DataSettings,
)

Outcomes = list[tuple[str, str]]
VOCABULARY = 50_000
BENCHMARKS = ("toxigen", "ethics_deontology", "wsc273", "crows_pairs")
"""Whose sample rows the pairs are searched for."""
COPIED, VARIED = 0.02, 0.1
"""Shares of rows that repeat an earlier row, and that differ from one by a word."""


def attack(seed: int, count: int, scratch: Path) -> Outcomes:
    """Curate ``count`` invented pairs from a file; return what was measured, by step."""
    measures: Outcomes = []
    started = time.monotonic()

    def note(step: str) -> None:
        nonlocal started
        seconds = time.monotonic() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        speed = f"{count / max(seconds, 1e-3):,.0f} pairs/s"
        measures.append((step, f"{seconds:.1f} s, {speed}, peak {peak:.2f} GB"))
        started = time.monotonic()

    path = scratch / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in invented(count, seed))
    note("invent")
    arm, data = ArmSettings(file=str(path)), DataSettings()
    template = Template(data.template, load_tokenizer(BaseSettings(model=str(POCKET))))
    note("load the tokenizer")
    curated = curate(file_dataset("invented", arm), arm, data, Origin("folder", scratch), template)
    note("curate")
    write_set(curated, scratch)
    curated = read_set(scratch)
    note("write and read")
    texts = {name: benchmark_texts(name) for name in BENCHMARKS}
    shared = list(overlaps([curated], texts, CompareSettings().overlap_ngram))
    note("overlap")
    clusters = clusters_of_pairs(curated.test)
    note("near-duplicates of the test split")
    prompts = steering_prompts([curated], "train", template, data.max_prompt_tokens)
    note("prompts")
    card = curated.card
    measures += [
        ("rows", f"{card.rows:,}; pairs {card.pairs}; dropped {card.dropped}"),
        ("test clusters", f"{len(set(clusters.values())):,} of {len(clusters):,} groups"),
        ("pairs that share text", f"{sum(entry.overlapping for entry in shared):,}"),
        ("prompts", f"{len(prompts):,}"),
        ("pairs.jsonl", f"{path.stat().st_size / 1e6:.0f} MB"),
    ]
    return measures


def invented(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Yield rows of words that are drawn by Zipf's law; a few repeat an earlier row, or nearly."""
    draw = np.random.default_rng(seed)
    rates = 1 / (np.arange(VOCABULARY) + 2.7)
    words = np.array([_word(index) for index in range(VOCABULARY)])
    earlier: list[dict[str, str]] = []
    for start in range(0, count, 1000):
        lengths = draw.integers(5, 50, (1000, 3))
        drawn = words[draw.choice(VOCABULARY, lengths.sum(), p=rates / rates.sum())].tolist()
        texts = iter(np.split(np.array(drawn, dtype=object), np.cumsum(lengths)[:-1]))
        kinds = draw.random(1000).tolist()
        for kind in kinds[: count - start]:
            row = {column: " ".join(next(texts)) for column in ("prompt", "chosen", "rejected")}
            if earlier and kind < COPIED + VARIED:
                row = dict(earlier[int(draw.integers(len(earlier)))])
                if kind >= COPIED:
                    row["chosen"] += f" {words[draw.integers(VOCABULARY)]}"
            elif len(earlier) < 1000:
                earlier.append(row)
            yield row


def _word(index: int) -> str:
    """Spell a number in syllables; frequent words are short."""
    word = ""
    while not word or index:
        index, syllable = divmod(index, 80)
        word += "bdfgklmnprstvwhz"[syllable % 16] + "aeiou"[syllable // 16]
    return word


def benchmark_texts(name: str) -> list[str]:
    """Return the texts of a benchmark's sample items."""
    benchmark, origin = catalog.benchmark(name), Origin("folder", SAMPLE_DIR)
    paths = [origin.locate(source) for source in sources_of(benchmark, BenchmarkSettings().source)]
    return [text for item in benchmark.items(paths) for text in item.contexts]

"""Malformed inputs for every reader: what each is answered with.

``attack`` tries study files, ``--set``, the files of datasets, benchmarks and conversations, a
user's files in every format, published counts, and arguments of commands. A malformed input must be
refused in one line that names the place. One that is accepted must differ from the valid one only
as the change says, and must still make whole records.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from attacks import studies
from attacks.commands import STUDY, command, warm_up
from attacks.faults import content_of, items_fault, others_fault, outcome, pairs_fault, write
from attacks.mutations import Spoiled, spoil
from attacks.user_files import hub_readme, parquet, votes
from attacks.valid import BENCHMARKS, CONVERSATIONS, PREFERENCES, SUFFIXES
from attacks.workers import Case, Outcome, tried
from ethosteer import catalog
from ethosteer.benchmarks.files.benchmark import file_benchmark
from ethosteer.data.conversations import read_conversations
from ethosteer.data.fetch import http
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.settings import ArmSettings, BenchmarkSettings


def attack(seed: int, count: int, scratch: Path) -> list[Outcome]:
    """Try ``count`` inputs, drawn by ``seed``; return each one's kind and outcome.

    Outcomes: "refused", "accepted", or the fault. ``scratch`` is a folder for the files.
    """
    return list(tried(partial(cases, seed, scratch), count))


def cases(seed: int, scratch: Path) -> Case:
    """Return the function that tries the case of an index, the same for every process."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["COLUMNS"] = "200"
    # a proxy that does not answer: no argument makes a command use the network, or wait for it
    os.environ |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    http.PAUSE = 0.0
    scratch.mkdir(parents=True, exist_ok=True)
    os.chdir(scratch)
    write(scratch / STUDY, studies.text().encode())
    warm_up()

    def try_case(index: int) -> Outcome:
        noise = random.Random(f"{seed} {index}")
        return noise.choice(TARGETS)(noise, scratch)

    return try_case


# --- files of datasets and benchmarks


def published_dataset(noise: random.Random, scratch: Path) -> Outcome:
    """Spoil the file of a built-in dataset."""
    dataset = catalog.dataset(noise.choice(catalog.dataset_names()))
    spoiled, path = _spoiled(dataset.source.path, dataset.examples, noise, scratch)
    name = f"dataset {dataset.name}: {spoiled.how}"
    return name, outcome(lambda: pairs_fault(dataset, path), str(path))


def published_benchmark(noise: random.Random, scratch: Path) -> Outcome:
    """Spoil a file of a built-in benchmark."""
    benchmark = catalog.benchmark(noise.choice(catalog.benchmark_names()))
    paths = {source.path: scratch / source.path for source in benchmark.sources}
    for name, path in paths.items():
        write(path, content_of(name, benchmark.examples[name]))
    valid = benchmark.items(list(paths.values()))
    chosen = noise.choice(list(paths))
    spoiled, _ = _spoiled(chosen, benchmark.examples[chosen], noise, scratch)
    one_item_a_row = benchmark.dataset is None and benchmark.name != "toxigen_generation"

    def action() -> str | None:
        items = benchmark.items(list(paths.values()))
        fault = items_fault(items)
        if fault is None and one_item_a_row and len(paths) == 1 and spoiled.line is not None:
            fault = others_fault(valid, items, _index_of(spoiled.line, chosen, benchmark.name))
        return fault

    return f"benchmark {benchmark.name}: {spoiled.how}", outcome(action, *map(str, paths.values()))


def conversations(noise: random.Random, scratch: Path) -> Outcome:
    """Spoil a file of conversations."""
    text = noise.choice(CONVERSATIONS)
    spoiled, path = _spoiled("conversations/c.jsonl", text, noise, scratch)

    def action() -> str | None:
        turns = [text for turns in read_conversations(path).turns for _, text in turns]
        return None if all(map(str.strip, turns)) else "a turn is empty"

    return f"conversations: {spoiled.how}", outcome(action, str(path))


def users_preferences(noise: random.Random, scratch: Path) -> Outcome:
    """Spoil a file of preferences of the user's."""
    kind = noise.choice(list(PREFERENCES))
    name = f"mine/{noise.choice(SUFFIXES[kind])}"
    spoiled, path = _spoiled(name, PREFERENCES[kind], noise, scratch)
    arm = ArmSettings(file=str(path), weigh=noise.choice((None, "majority", "judgements")))
    dataset = file_dataset("mine", arm)

    def action() -> str | None:
        if dataset.describe is not None:
            dataset.describe(list(dataset.rows(path)))
        return pairs_fault(dataset, path)

    return f"preferences {kind}: {spoiled.how}", outcome(action, str(path))


def users_benchmark(noise: random.Random, scratch: Path) -> Outcome:
    """Spoil a file of a benchmark of the user's."""
    kind = noise.choice(list(BENCHMARKS))
    text, table = BENCHMARKS[kind]
    name = "asked/" + ("f.csv" if not text.startswith("{") else noise.choice(("f.jsonl", "f.json")))
    spoiled, path = _spoiled(name, text, noise, scratch)
    settings = BenchmarkSettings(file=str(path), **table)

    def action() -> str | None:
        benchmark = file_benchmark("f", settings)
        return items_fault(benchmark.items([path]))

    return f"benchmark file {kind}: {spoiled.how}", outcome(action, str(path), "benchmarks.f")


# --- study files and commands


def study_file(noise: random.Random, scratch: Path) -> Outcome:
    """Change a setting of a study file, or spoil the file."""
    change = studies.changed(noise)
    path = scratch / STUDY
    write(path, change.content)
    return f"study: {change.how}", outcome(
        partial(studies.fault, path, (), change.key), str(path), change.key or str(path)
    )


def override(noise: random.Random, scratch: Path) -> Outcome:
    """Change a setting by ``--set``."""
    key, value = studies.setting(noise)
    path = scratch / STUDY
    write(path, studies.text().encode())
    said = outcome(partial(studies.fault, path, (f"{key}={value}",), key), str(path), "--set", key)
    return "--set", said


def _index_of(line: int, path: str, benchmark: str) -> int:
    has_header = ".jsonl" not in path and benchmark != "ethics_utilitarianism"
    return line - 1 - has_header


def _spoiled(name: str, text: str, noise: random.Random, scratch: Path) -> tuple[Spoiled, Path]:
    spoiled = spoil(name, text, noise)
    path = scratch / name
    write(path, spoiled.content)
    return spoiled, path


TARGETS: tuple[Callable[[random.Random, Path], Outcome], ...] = (
    study_file, study_file, override, published_dataset, published_benchmark, published_benchmark,
    conversations, users_preferences, users_preferences, users_benchmark, users_benchmark, parquet,
    parquet, votes, hub_readme, command, command,
)  # fmt: skip

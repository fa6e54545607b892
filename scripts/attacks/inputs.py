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
from typing import Any

from attacks import studies
from attacks.commands import STUDY, command, warm_up
from attacks.mutations import Spoiled, spoil
from attacks.valid import BENCHMARKS, CONVERSATIONS, PREFERENCES, SUFFIXES
from attacks.workers import Case, Outcome, tried
from ethosteer import catalog
from ethosteer.benchmarks.files.benchmark import file_benchmark
from ethosteer.data.conversations import read_conversations
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.data.pair_sets import Dataset
from ethosteer.errors import InputError
from ethosteer.records import Item, PreferencePair
from ethosteer.settings import ArmSettings, BenchmarkSettings

PAIRS_IN_A_GROUP = 2


def attack(seed: int, count: int, scratch: Path) -> list[Outcome]:
    """Try ``count`` inputs, drawn by ``seed``; return each one's kind and outcome.

    Outcomes: "refused", "accepted", or the fault. ``scratch`` is a folder for the files.
    """
    return list(tried(partial(cases, seed, scratch), count))


def cases(seed: int, scratch: Path) -> Case:
    """Return the function that tries the case of an index, the same for every process."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["COLUMNS"] = "200"
    scratch.mkdir(parents=True, exist_ok=True)
    os.chdir(scratch)
    _write(scratch / STUDY, studies.text().encode())
    warm_up()

    def try_case(index: int) -> Outcome:
        noise = random.Random(f"{seed} {index}")
        return noise.choice(TARGETS)(noise, scratch)

    return try_case


def outcome(action: Callable[[], str | None], *names: str) -> str:
    """Return what an action comes to: it returns a fault, or None where all is well.

    ``names`` are the places that the message of an InputError may name, one of which it must.
    """
    try:
        fault = action()
    except InputError as refusal:
        message = str(refusal)
        if "\n" in message or not message.isprintable():
            return f"fault: not one printable line: {message!r}"
        return "refused" if any(name in message for name in names) else f"no place: {message}"
    except Exception as raised:
        return f"traceback: {type(raised).__name__}: {str(raised)[:200]}"
    return "accepted" if fault is None else f"nonsense: {fault}"


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
        _write(path, _content(name, benchmark.examples[name]))
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


def parquet(noise: random.Random, scratch: Path) -> Outcome:
    """Read a Parquet file of odd types, or a damaged one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = scratch / "mine" / "f.parquet"
    path.parent.mkdir(exist_ok=True)
    columns: dict[str, Any] = {name: ["one", "two"] for name in ("prompt", "chosen", "rejected")}
    how, column = noise.choice(list(_parquet_columns().items()))
    columns[noise.choice(list(columns))] = column
    pq.write_table(pa.table(columns), path, compression=noise.choice(("none", "zstd")))
    if noise.random() < 0.4:
        how = "damaged"
        content = bytearray(path.read_bytes())
        for _ in range(noise.randrange(1, 9)):
            content[noise.randrange(len(content))] ^= 1 << noise.randrange(8)
        path.write_bytes(bytes(content[: noise.choice((len(content), len(content) // 2))]))
    dataset = file_dataset("mine", ArmSettings(file=str(path)))
    return f"parquet: {how}", outcome(lambda: pairs_fault(dataset, path), str(path))


def _parquet_columns() -> dict[str, Any]:
    import pyarrow as pa

    two = ["one", "two"]
    return {
        "bytes": pa.array([b"one", b"\xff"]),
        "dictionary": pa.array(two).dictionary_encode(),
        "large text": pa.array(two, pa.large_string()),
        "decimal": pa.array([1, 2], pa.decimal128(5, 2)),
        "far dates": pa.array([2**62, -(2**62)], pa.timestamp("us")),
        "nanoseconds": pa.array([1, 2], pa.timestamp("ns", tz="Mars/Olympus")),
        "durations": pa.array([2**62, 1], pa.duration("s")),
        "null": pa.nulls(2),
        "half floats": pa.array([1, 2]).cast(pa.float16()),
        "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"role": "user", "content": "x"}, None]),
        "list of struct": pa.array([[{"role": "user", "content": "x"}], []]),
        "lists": pa.array([[["a"]], [[]]]),
        "times": pa.array([1, 2], pa.time64("ns")),
    }


# --- study files and commands


def study_file(noise: random.Random, scratch: Path) -> Outcome:
    """Change a setting of a study file, or spoil the file."""
    change = studies.changed(noise)
    path = scratch / STUDY
    _write(path, change.content)
    return f"study: {change.how}", outcome(
        partial(studies.fault, path, (), change.key), str(path), change.key or str(path)
    )


def override(noise: random.Random, scratch: Path) -> Outcome:
    """Change a setting by ``--set``."""
    key, value = studies.setting(noise)
    path = scratch / STUDY
    _write(path, studies.text().encode())
    said = outcome(partial(studies.fault, path, (f"{key}={value}",), key), str(path), "--set", key)
    return "--set", said


# --- what is accepted


def pairs_fault(dataset: Dataset, path: Path) -> str | None:
    """Read a dataset's pairs; say what is wrong with them."""
    made = list(dataset.pairs(list(dataset.rows(path)), PAIRS_IN_A_GROUP))
    pairs = [entry for entry in made if isinstance(entry, PreferencePair)]
    if len({pair.id for pair in pairs}) < len(pairs):
        return "an id is there twice"
    for pair in pairs:
        texts = (pair.prompt, pair.chosen, pair.rejected, pair.group)
        if fault := _text_fault(*texts):
            return fault
        if pair.chosen.strip() == pair.rejected.strip():
            return "both answers are the same"
        if pair.chosen in ("better", "chosen") and pair.rejected in ("worse", "rejected"):
            return "the header is a pair"
    return None


def items_fault(items: list[Item]) -> str | None:
    """Say what is wrong with items."""
    if len({item.id for item in items}) < len(items):
        return "an id is there twice"
    for item in items:
        if fault := _text_fault(item.id, item.group, *item.continuations, *item.texts()):
            return fault
        choices = list(zip(item.contexts, item.continuations, strict=False))
        if len(set(choices)) < len(choices):
            return f"two choices are the same: {choices!r}"
        if item.label is not None and item.continuations and item.label >= len(item.continuations):
            return "the label is no choice"
    return None


def others_fault(valid: list[Item], items: list[Item], changed: int) -> str | None:
    """Say whether items beside that of the row ``changed`` (an index) are others than before."""
    if len(items) != len(valid):
        return f"{len(items)} items where there were {len(valid)}"
    for index, (before, after) in enumerate(zip(valid, items, strict=True)):
        same = (before.contexts, before.label, before.slices) == (
            after.contexts, after.label, after.slices,
        )  # fmt: skip
        if index != changed and not same:
            return f"row {index} changed, and not only row {changed}"
    return None


def _text_fault(*texts: str) -> str | None:
    for text in texts:
        if not any(character.isprintable() and character != " " for character in text):
            return f"nothing of a text can be seen: {text!r}"
        if "\0" in text or (not text.isprintable() and any("\ud800" <= c < "\ue000" for c in text)):
            return f"a text is no valid Unicode: {text!r}"
    return None


def _index_of(line: int, path: str, benchmark: str) -> int:
    has_header = ".jsonl" not in path and benchmark != "ethics_utilitarianism"
    return line - 1 - has_header


# --- valid inputs


def _spoiled(name: str, text: str, noise: random.Random, scratch: Path) -> tuple[Spoiled, Path]:
    spoiled = spoil(name, text, noise)
    path = scratch / name
    _write(path, spoiled.content)
    return spoiled, path


def _content(name: str, text: str) -> bytes:
    import gzip

    return gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


TARGETS: tuple[Callable[[random.Random, Path], Outcome], ...] = (
    study_file, study_file, override, published_dataset, published_benchmark, published_benchmark,
    conversations, users_preferences, users_preferences, users_benchmark, users_benchmark, parquet,
    command,
)  # fmt: skip

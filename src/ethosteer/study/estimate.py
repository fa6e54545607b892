"""What a study will need, before it starts: memory, time and disk, from plain formulas.

Work is counted in floating-point operations: 2 per parameter and token forward (Kaplan et al. 2020,
table 1) and as much again for each backward through a frozen base (its weights need no gradient).
Time is that work over the machine's own matrix-product rate, measured now, times EFFICIENCY.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.markup import escape
from rich.table import Table

from ethosteer import catalog
from ethosteer.bench.machine import matrix_product_rate
from ethosteer.benchmarks.base import sources_of
from ethosteer.data.conversations import CONVERSATIONS
from ethosteer.data.pair_sets import split_pairs
from ethosteer.data.readers import read_jsonl
from ethosteer.data.sources import SAMPLE_DIR, Origin
from ethosteer.evaluation.items import load_items
from ethosteer.models.fast.budget import CPU_CACHE, CPU_TOKENS, activation_bytes
from ethosteer.models.identity import read_shape
from ethosteer.models.loading import choose_device
from ethosteer.records import PreferencePair
from ethosteer.settings import LoraSettings, ModelShape, StudySettings

EFFICIENCY = 0.35
"""Share of the matrix-product rate that the stages are assumed to reach."""

ASSUMED_PAIRS = 10_000
ASSUMED_PAIR_TOKENS = 300
ASSUMED_CONVERSATIONS = 9_846
ASSUMED_ITEMS = 2_000
ASSUMED_ITEM_TOKENS = 150
CHARACTERS_PER_TOKEN = 3.5
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage's work (FLOP), time (seconds on this machine) and disk (bytes)."""

    stage: str
    flop: float
    seconds: float
    disk: float


@dataclass(frozen=True, slots=True)
class StudyEstimate:
    """A study's needs. Memory in bytes; ``notes`` say what was assumed."""

    name: str
    parameters: float
    memory: dict[str, float]
    stages: tuple[StageEstimate, ...]
    flops: float
    device: str
    notes: tuple[str, ...]


def estimate(config: StudySettings, origin: Origin) -> StudyEstimate:
    """Estimate a study's needs on this machine."""
    notes: list[str] = []
    shape = _shape(config)
    parameters = base_parameters(shape)
    device = choose_device(config.base.device)
    rate = matrix_product_rate(device, getattr(torch, config.base.dtype))
    pair_tokens = {name: _pair_tokens(config, origin, name, notes) for name in config.arms}
    item_tokens = sum(_item_tokens(config, origin, name, notes) for name in config.benchmarks)
    seeds, arms = len(config.seeds), len(config.arm_seeds())
    steer = config.steer
    episodes = steer.steps * steer.batch
    answer = (steer.min_new_tokens + steer.max_new_tokens) / 2
    row = config.data.max_prompt_tokens / 2 + answer
    forward = 2 * parameters
    training = 2 * forward
    work = {
        "curate": 0.0,
        "finetune": training * _finetune_tokens(config, origin),
        "reward": training * seeds * config.reward.epochs * sum(pair_tokens.values()),
        # generate, old and reference log-probabilities, reward; then the epochs
        "steer": arms * episodes * row * (4 * forward + steer.epochs * training),
        "evaluate": forward * item_tokens * (arms + 2),
        "compare": 0.0,
    }
    adapter_bytes = {
        "reward": 4 * adapter_parameters(shape, config.reward.lora),
        "steer": 4 * adapter_parameters(shape, config.steer.lora),
    }
    width = _bytes(config)
    disk = {
        "finetune": parameters * 4,
        **{stage: size * arms for stage, size in adapter_bytes.items()},
        "evaluate": 120.0 * (arms + 2) * item_tokens / ASSUMED_ITEM_TOKENS,
    }
    side_by_side = len(config.arms)
    passed = config.steer.tokens_per_batch or CPU_TOKENS
    longest = config.data.max_prompt_tokens + steer.max_new_tokens
    cached = side_by_side * steer.batch * longest * 2 * shape.layers * shape.hidden * width
    memory = {
        "frozen base, once": parameters * width,
        # parameters, gradient, two moments, and two snapshots
        "policies of all arms": 6 * adapter_bytes["steer"] * side_by_side,
        "reward models": adapter_bytes["reward"] * side_by_side,
        f"one training pass of {passed:,} tokens": passed
        * activation_bytes(shape.hidden, shape.intermediate, shape.layers, width)
        + 3 * 4 * passed * shape.vocabulary,
        "cache of sampling": min(cached, CPU_CACHE) if device.type == "cpu" else cached,
    }
    stages = tuple(
        StageEstimate(stage, flop, flop / (rate * EFFICIENCY), disk.get(stage, 0.0))
        for stage, flop in work.items()
    )
    return StudyEstimate(
        config.name, parameters, memory, stages, rate, str(device), tuple(dict.fromkeys(notes))
    )


def plan_table(found: StudyEstimate) -> Table:
    """Lay an estimate out for a person."""
    total = sum(stage.seconds for stage in found.stages)
    table = Table(
        title=escape(
            f"{found.name}: about {_duration(total)} on this machine ({found.device}, "
            f"{found.flops / 1e9:,.0f} GFLOP/s matrix product)"
        ),
        title_justify="left",
    )
    for heading in ("", "work, TFLOP", "time", "disk, GB"):
        table.add_column(heading, justify="left" if not heading else "right")
    for stage in found.stages:
        table.add_row(
            stage.stage,
            f"{stage.flop / 1e12:,.1f}",
            _duration(stage.seconds),
            f"{stage.disk / GIGABYTE:,.2f}",
        )
    table.add_section()
    for name, size in found.memory.items():
        table.add_row(f"memory: {name}", "", "", f"{size / GIGABYTE:,.2f}")
    table.add_row("memory: in all", "", "", f"{sum(found.memory.values()) / GIGABYTE:,.2f}")
    table.caption = escape("; ".join(found.notes)) or None
    return table


def base_parameters(shape: ModelShape) -> float:
    """Parameters of a Llama-like base: attention 4 h^2, gated MLP 3 h m, embeddings."""
    per_layer = 4 * shape.hidden**2 + 3 * shape.hidden * shape.intermediate
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    return float(shape.layers * per_layer + embeddings)


def adapter_parameters(shape: ModelShape, lora: LoraSettings) -> float:
    """Parameters of one arm's adapter: r (in + out) per adapted layer."""
    h, m = shape.hidden, shape.intermediate
    sizes = {"gate_proj": h + m, "up_proj": h + m, "down_proj": h + m}
    return float(shape.layers * lora.r * sum(sizes.get(t, 2 * h) for t in lora.targets))


def _shape(config: StudySettings) -> ModelShape:
    if config.base.shape is not None:
        return config.base.shape
    return read_shape(config.base)


def _bytes(config: StudySettings) -> int:
    return {"float32": 4, "bfloat16": 2}[config.base.dtype]


def _file(origin: Origin, path: str) -> Path | None:
    """Return a published file that is at hand; the hub is not asked for a mere estimate."""
    folder = {"sample": SAMPLE_DIR, "folder": origin.folder, "hub": None}[origin.kind]
    found = None if folder is None else folder / path
    return found if found is not None and found.is_file() else None


def _pair_tokens(config: StudySettings, origin: Origin, arm: str, notes: list[str]) -> float:
    """Tokens of both sides of an arm's training pairs."""
    dataset = catalog.dataset(config.dataset_of(arm))
    limit = config.arms[arm].max_pairs
    path = _file(origin, dataset.source.path)
    if path is None:
        notes.append(f"pairs not at hand: {ASSUMED_PAIR_TOKENS} tokens each assumed")
        return 2.0 * ASSUMED_PAIR_TOKENS * (limit or ASSUMED_PAIRS)
    entries = dataset.pairs(dataset.rows(path), config.arms[arm].pairs_per_group)
    pairs = split_pairs([e for e in entries if isinstance(e, PreferencePair)], limit)["train"]
    characters = sum(2 * len(p.prompt) + len(p.chosen) + len(p.rejected) for p in pairs)
    return characters / CHARACTERS_PER_TOKEN


def _item_tokens(config: StudySettings, origin: Origin, name: str, notes: list[str]) -> float:
    """Tokens of a benchmark's items."""
    benchmark, settings = catalog.benchmark(name), config.benchmarks[name]
    if all(_file(origin, own.path) for own in sources_of(benchmark, settings.source)):
        items = load_items(benchmark, settings, origin)
        return sum(len(text) for item in items for text in item.texts()) / CHARACTERS_PER_TOKEN
    notes.append(f"benchmark items not at hand: {ASSUMED_ITEM_TOKENS} tokens each assumed")
    return float(ASSUMED_ITEM_TOKENS * (settings.limit or ASSUMED_ITEMS))


def _finetune_tokens(config: StudySettings, origin: Origin) -> float:
    """Tokens of the conversations that fine-tuning reads."""
    settings, choice = config.finetune, config.data.conversations
    where = Origin("sample") if choice == "sample" else origin
    path = _file(where, CONVERSATIONS.path if choice in ("sample", "hub") else choice)
    rows, mean = ASSUMED_CONVERSATIONS, config.data.max_tokens / 2
    if path is not None:
        lengths = [len(row.text("text")) for row in read_jsonl(path, ["text"])]
        rows, mean = len(lengths), sum(lengths) / len(lengths) / CHARACTERS_PER_TOKEN
    read = rows * settings.epochs
    return min(read, (settings.max_steps or read) * settings.batch) * mean


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.0f} h"

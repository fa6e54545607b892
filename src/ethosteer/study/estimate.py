"""What a study will need, before it starts: memory, time and disk, from plain formulas.

The work of a stage is counted in tokens that pass through the base (``Cost``) and turned into
floating-point operations. Time is that work over the machine's rate of matrix products, measured
now, times EFFICIENCY. Without a GPU none of this imports torch.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from ethosteer import catalog
from ethosteer.algorithms.algorithm import Cost, Workload, measured_steps
from ethosteer.benchmarks.base import sources_of
from ethosteer.data.sources import CONVERSATIONS, SAMPLE_DIR, Origin, read_jsonl
from ethosteer.data.splits import TEST_SHARE, split_of
from ethosteer.models.base import read_shape
from ethosteer.models.fast.budget import CPU_CACHE, CPU_TOKENS, activation_bytes
from ethosteer.records import PreferencePair
from ethosteer.settings import LoraSettings, ModelShape, StudySettings

EFFICIENCY = 0.35
"""Fraction of the matrix-product rate that the stages are assumed to reach."""

ASSUMED_PAIRS = 10_000
ASSUMED_PAIR_TOKENS = 500
ASSUMED_CONVERSATIONS = 9_846
ASSUMED_ITEMS = 2_000
ASSUMED_ITEM_TOKENS = 150
CHARACTERS_PER_TOKEN = 3.5
GIGABYTE = 1e9
OUTCOME_BYTES = 120


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage's work (FLOP), time (seconds on this machine) and disk (bytes)."""

    stage: str
    flop: float
    seconds: float
    disk: float


@dataclass(frozen=True, slots=True)
class StudyEstimate:
    """A study's needs. Memory in bytes; ``notes`` state what was assumed."""

    name: str
    parameters: float
    memory: dict[str, float]
    stages: tuple[StageEstimate, ...]
    flops: float
    device: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """A dataset's pairs: training and test pairs, and the mean tokens of a pair.

    The prompt that both responses share is counted once, as it is read.
    """

    train: int
    test: int
    tokens: float


@dataclass(frozen=True, slots=True)
class Texts:
    """What a study reads: pairs by the arm that brings them; tokens of all items, and to tune on."""

    pairs: dict[str, Pairs]
    item_tokens: float
    conversation_tokens: float


def estimate(settings: StudySettings, origin: Origin) -> StudyEstimate:
    """Estimate a study's needs on this machine."""
    notes: list[str] = []
    shape = settings.base.shape or read_shape(settings.base)
    parameters = base_parameters(shape)
    device, rate = matrix_product_rate(settings)
    texts = read_texts(settings, origin, notes)
    costs = stage_costs(settings, texts)
    flop = {stage: cost.flop(parameters) for stage, cost in costs.items()}
    disk = stage_disk(settings, shape, texts)
    return StudyEstimate(
        name=settings.name,
        parameters=parameters,
        memory=memory(settings, shape, on_gpu=device != "cpu"),
        stages=tuple(
            StageEstimate(stage, work, work / (rate * EFFICIENCY), disk.get(stage, 0.0))
            for stage, work in flop.items()
        ),
        flops=rate,
        device=device,
        notes=tuple(dict.fromkeys(notes)),
    )


def stage_costs(settings: StudySettings, texts: Texts) -> dict[str, Cost]:
    """Return the tokens that each stage passes through the base, for all arms and seeds."""
    seeds, datasets = len(settings.seeds), settings.data_arms()
    models = len(settings.arm_seeds()) + 2  # the controls: the base, raw and fine-tuned
    return {
        "curate": Cost(),
        "finetune": Cost(trained_tokens=texts.conversation_tokens),
        "reward": seeds * reward_cost(settings, texts),
        "steer": seeds * steering_cost(settings, texts),
        "cross": seeds * cross_cost(settings, texts),
        "evaluate": Cost(forward_tokens=models * texts.item_tokens),
        "compare": Cost(),
    }

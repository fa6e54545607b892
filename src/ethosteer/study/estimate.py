"""Estimates of a study's memory, time and disk space before it starts, from plain formulas.

The work of a stage is counted in tokens that pass through the base (``Cost``) and turned into
floating-point operations. Time is that work over the machine's rate of matrix products, measured
now, times EFFICIENCY. Without a GPU none of this imports torch.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ethosteer import catalog
from ethosteer.algorithms.algorithm import Cost, Workload, measured_steps
from ethosteer.benchmarks.base import sources_of
from ethosteer.data.conversations import CONVERSATIONS, read_conversations
from ethosteer.data.sources import SAMPLE_DIR, Origin
from ethosteer.data.splits import TEST_FRACTION, VALIDATION_FRACTION, split_of
from ethosteer.evaluation.items import asked_items
from ethosteer.models.fast.budget import CPU_CACHE, CPU_TOKENS, activation_bytes
from ethosteer.models.identity import read_shape
from ethosteer.records import SPLITS, PreferencePair
from ethosteer.settings import BenchmarkSettings, LoraSettings, ModelShape, StudySettings

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
    """A dataset's pairs by split, and the mean tokens of a pair.

    The prompt that both responses share is counted once, as it is read.
    """

    train: int
    validation: int
    test: int
    tokens: float


@dataclass(frozen=True, slots=True)
class Texts:
    """Sizes of a study's texts: pairs by ``data_arms``, tokens of all items and of fine-tuning."""

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


def estimated_work(settings: StudySettings, origin: Origin) -> dict[str, float]:
    """Return each stage's floating-point operations over EFFICIENCY, for all arms and seeds.

    Divided by a machine's rate of matrix products it is the estimated time.
    """
    parameters = base_parameters(settings.base.shape or read_shape(settings.base))
    costs = stage_costs(settings, read_texts(settings, origin, []))
    return {stage: cost.flop(parameters) / EFFICIENCY for stage, cost in costs.items()}


def stage_costs(settings: StudySettings, texts: Texts) -> dict[str, Cost]:
    """Return the tokens that each stage passes through the base, for all arms and seeds."""
    seeds = len(settings.seeds)
    models = len(settings.arm_seeds()) + len(settings.controls)
    return {
        "curate": Cost(),
        "finetune": Cost(trained_tokens=texts.conversation_tokens),
        "reward": reward_cost(settings, texts) * seeds,
        "steer": steering_cost(settings, texts) * seeds,
        "cross": cross_cost(settings, texts) * seeds,
        "evaluate": Cost(forward_tokens=models * texts.item_tokens),
        "compare": Cost(),
    }


def reward_cost(settings: StudySettings, texts: Texts) -> Cost:
    """Return the tokens of one seed's reward models: one for each set of pairs."""
    reward = settings.reward
    samples = reward.normalisation_samples * mean_row(settings)
    cost = Cost(sampled_tokens=samples)
    for pairs in texts.pairs.values():
        validated = reward.validations * min(reward.validation_pairs, pairs.validation)
        cost += Cost(
            forward_tokens=(validated + pairs.test) * pairs.tokens + samples,
            trained_tokens=reward.epochs * pairs.train * pairs.tokens,
        )
    return cost


def steering_cost(settings: StudySettings, texts: Texts) -> Cost:
    """Return the tokens of one seed's arms: algorithms, curves and held-out evaluations."""
    reward_models = len(texts.pairs)
    cost = Cost()
    for arm in settings.arms:
        algorithm = catalog.algorithm(settings.algorithm_of(arm))
        steer = settings.steer.for_algorithm(algorithm.name)
        workload = Workload(
            prompt_tokens=mean_prompt(settings),
            answer_tokens=mean_row(settings) - mean_prompt(settings),
            pair_tokens=texts.pairs[settings.data_of(arm)].tokens,
            exact=settings.base.dtype == "float32" and not settings.base.autocast,
        )
        # the arm's own reward model has scored these answers already
        scored = measured_steps(steer) * steer.batch * (reward_models - 1)
        # before the first step, after the last one, and at the last one within kl_target
        ends = (2 if steer.kl_target is None else 3) * steer.held_out_prompts
        cost += algorithm.cost(steer, workload)
        cost += Cost(forward_tokens=scored * workload.row_tokens)
        cost += workload.rollouts(ends, recomputed=ends)
    return cost


def cross_cost(settings: StudySettings, texts: Texts) -> Cost:
    """Return the tokens of one seed's held-out answers and pairs under every reward model."""
    reward_models, models = len(texts.pairs), len(settings.arms) + len(settings.controls)
    answers = models * settings.steer.held_out_prompts * mean_row(settings)
    limit = settings.evaluate.cross_pairs
    pairs = sum(min(limit, pairs.test) * pairs.tokens for pairs in texts.pairs.values())
    return Cost(sampled_tokens=answers, forward_tokens=reward_models * (answers + pairs))


def mean_prompt(settings: StudySettings) -> float:
    """Return the assumed mean length of a steering prompt: half of the longest."""
    return settings.data.max_prompt_tokens / 2


def mean_row(settings: StudySettings) -> float:
    """Return the assumed mean length of a steering prompt and an answer that runs to its limit."""
    steer = settings.steer
    return mean_prompt(settings) + (steer.min_new_tokens + steer.max_new_tokens) / 2


def stage_disk(settings: StudySettings, shape: ModelShape, texts: Texts) -> dict[str, float]:
    """Return the bytes that the stages' artifacts take."""
    arms = len(settings.arm_seeds())
    checkpoints = 1 if settings.steer.kl_target is None else 2
    return {
        "finetune": 4 * base_parameters(shape) * settings.finetune.enabled,
        "reward": 4
        * adapter_parameters(shape, settings.reward.lora)
        * len(settings.data_arms())
        * len(settings.seeds),
        "steer": 4 * adapter_parameters(shape, settings.steer.lora) * arms * checkpoints,
        "evaluate": OUTCOME_BYTES
        * (arms + len(settings.controls))
        * texts.item_tokens
        / ASSUMED_ITEM_TOKENS,
    }


def memory(settings: StudySettings, shape: ModelShape, *, on_gpu: bool) -> dict[str, float]:
    """Return the bytes in use while arms are steered, which is when a study needs most."""
    width = {"float32": 4, "bfloat16": 2}[settings.base.dtype]
    steer = settings.steer
    # arms of one algorithm and seed are steered together
    together = max(Counter(map(settings.algorithm_of, settings.arms)).values())
    budget = steer.tokens_per_batch or CPU_TOKENS
    longest = settings.data.max_prompt_tokens + steer.max_new_tokens
    cache = together * steer.batch * longest * 2 * shape.layers * shape.hidden * width
    return {
        "frozen base, once": base_parameters(shape) * width,
        # parameters, gradient, two moments, and two snapshots, in fp32
        "policies of all arms": 6 * 4 * adapter_parameters(shape, steer.lora) * together,
        "reward models": 4
        * adapter_parameters(shape, settings.reward.lora)
        * len(settings.data_arms()),
        f"one training pass of {budget:,} tokens": budget
        * activation_bytes(shape.hidden, shape.intermediate, shape.layers, width)
        # fp32 logits, their softmax and its gradient
        + 3 * 4 * budget * shape.vocabulary,
        "cache of sampling": cache if on_gpu else min(cache, CPU_CACHE),
    }


def base_parameters(shape: ModelShape) -> float:
    """Return the parameters of a Llama-like base: attention 4 h^2, gated MLP 3 h m, embeddings."""
    per_layer = 4 * shape.hidden**2 + 3 * shape.hidden * shape.intermediate
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    return float(shape.layers * per_layer + embeddings)


def adapter_parameters(shape: ModelShape, lora: LoraSettings) -> float:
    """Return the parameters of one arm's adapter: r (in + out) per adapted layer.

    A Llama-like layer has four projections of attention and three of its gated MLP.
    """
    h, m = shape.hidden, shape.intermediate
    mlp = {"gate_proj": h + m, "up_proj": h + m, "down_proj": h + m}
    if lora.targets == "all-linear":
        size = 4 * 2 * h + sum(mlp.values())
    else:
        size = sum(mlp.get(target, 2 * h) for target in lora.targets)
    return float(shape.layers * lora.r * size)


def matrix_product_rate(settings: StudySettings) -> tuple[str, float]:
    """Measure large matrix products: (device, FLOP/s), on a processor in float32."""
    device = settings.base.device
    if device == "auto":
        device = "cuda" if shutil.which("nvidia-smi") else "cpu"
    if device != "cpu":
        import torch  # only here, so that a study is planned without it

        from ethosteer.bench import machine

        if torch.cuda.is_available() or not device.startswith("cuda"):
            dtype = getattr(torch, settings.base.dtype)
            return device, machine.matrix_product_rate(torch.device(device), dtype)
    size = 1536
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return "cpu", best


def read_texts(settings: StudySettings, origin: Origin, notes: list[str]) -> Texts:
    """Measure the published files that are on this machine; assume the rest and note it."""
    return Texts(
        {arm: _pairs(settings, origin, arm, notes) for arm in settings.data_arms()},
        sum(
            _item_tokens(settings, origin, name, benchmark, notes)
            for name, benchmark in catalog.study_benchmarks(settings).items()
        ),
        _conversation_tokens(settings, origin),
    )


def _local_file(origin: Origin, path: str) -> Path | None:
    """Return a file of data if it is on this machine; an estimate downloads nothing."""
    if Path(path).is_absolute():
        return Path(path) if Path(path).exists() else None
    folder = {"sample": SAMPLE_DIR, "folder": origin.folder, "hub": None}[origin.kind]
    return folder / path if folder is not None and (folder / path).is_file() else None


def _pairs(settings: StudySettings, origin: Origin, arm: str, notes: list[str]) -> Pairs:
    dataset = catalog.study_dataset(settings, arm)
    limit = settings.arms[arm].max_pairs
    path = _local_file(origin, dataset.source.path)
    if path is None:
        notes.append(f"pairs not on this machine: {ASSUMED_PAIR_TOKENS} tokens each assumed")
        sizes = {
            "train": ASSUMED_PAIRS,
            "validation": round(VALIDATION_FRACTION * ASSUMED_PAIRS),
            "test": round(TEST_FRACTION * ASSUMED_PAIRS),
        }
        tokens = float(ASSUMED_PAIR_TOKENS)
    else:
        entries = dataset.pairs(dataset.rows(path), settings.arms[arm].pairs_per_group)
        pairs = [entry for entry in entries if isinstance(entry, PreferencePair)]
        sizes = Counter(split_of(pair.group) for pair in pairs)
        characters = sum(len(pair.prompt + pair.chosen + pair.rejected) for pair in pairs)
        tokens = characters / CHARACTERS_PER_TOKEN / max(1, len(pairs))
    train, validation, test = (min(sizes[split], limit or sizes[split]) for split in SPLITS)
    return Pairs(train, validation, test, tokens)


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


def _conversation_tokens(settings: StudySettings, origin: Origin) -> float:
    """Return the tokens of all epochs of fine-tuning, up to its ``max_steps``."""
    finetune, choice = settings.finetune, settings.data.conversations
    if not finetune.enabled:
        return 0.0
    if choice == "sample":
        origin = Origin("sample")
    path = _local_file(origin, CONVERSATIONS.path if choice in ("sample", "hub") else choice)
    rows, mean = ASSUMED_CONVERSATIONS, settings.data.max_tokens / 2
    if path is not None:
        conversations = read_conversations(path).turns
        lengths = [sum(len(text) for _, text in turns) for turns in conversations]
        rows, mean = len(lengths), sum(lengths) / len(lengths) / CHARACTERS_PER_TOKEN
    read = rows * finetune.epochs
    return min(read, (finetune.max_steps or read) * finetune.batch) * mean

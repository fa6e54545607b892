"""The bytes that a study takes: memory while arms are steered, and disk for its artifacts."""

from __future__ import annotations

from collections import Counter

from ethosteer.models.fast import QUERY_BLOCK
from ethosteer.models.fast.budget import (
    CPU_CACHE,
    CPU_TOKENS,
    activation_bytes,
    layouts_fit,
)
from ethosteer.settings import LoraSettings, ModelShape, StudySettings
from ethosteer.study.text_sizes import ASSUMED_ITEM_TOKENS, Texts

OUTCOME_BYTES = 120
HEAD_SIZE = 64
"""Assumed width of an attention head."""


def stage_disk(settings: StudySettings, shape: ModelShape, texts: Texts) -> dict[str, float]:
    """Return the bytes that the stages' artifacts take."""
    arms = len(settings.arm_seeds())
    checkpoints = 1 if settings.steer.kl_target is None else 2
    return {
        "finetune": 4
        * adapter_parameters(shape, settings.finetune.lora)
        * settings.finetune.enabled,
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
    width = {"float32": 4, "bfloat16": 2, "float16": 2}[settings.base.dtype]
    steer = settings.steer
    # arms of one algorithm and seed are steered together
    together = max(Counter(map(settings.algorithm_of, settings.arms)).values())
    budget = steer.tokens_per_batch or CPU_TOKENS
    longest = settings.data.max_prompt_tokens + steer.max_new_tokens
    base = base_parameters(shape) * width
    # a block of queries has no scores of later keys, so of a long row about half are kept
    row = min(longest, budget)
    kept = (row + min(row, QUERY_BLOCK)) / 2
    scores = shape.layers * shape.hidden / HEAD_SIZE * budget * kept * width
    cache = together * steer.batch * longest * 2 * shape.layers * shape.hidden * width
    return {
        "frozen base, once": base,
        # laid out once for products and once for gradients (models/fast/products.py)
        **({} if on_gpu or not layouts_fit(int(base)) else {"further layouts of it": 2 * base}),
        # parameters, gradient, two moments, and two snapshots, in fp32
        "policies of all arms": 6 * 4 * adapter_parameters(shape, steer.lora) * together,
        "reward models": 4
        * adapter_parameters(shape, settings.reward.lora)
        * len(settings.data_arms()),
        f"one training pass of {budget:,} tokens": budget
        * activation_bytes(shape.hidden, shape.intermediate, shape.layers, width)
        # fp32 logits, their softmax and its gradient
        + 3 * 4 * budget * shape.vocabulary
        # a processor keeps the scores of attention (models/fast/attention.py)
        + (0 if on_gpu else scores),
        "cache of sampling": cache if on_gpu else min(cache, max(CPU_CACHE, base)),
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

"""The speed of training reward models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ethosteer.bench.adapters import attention_lora
from ethosteer.bench.machine import throughput
from ethosteer.bench.profile import Profile
from ethosteer.models.base import SharedBase
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_training import RewardTraining
from ethosteer.settings import OptimiserSettings, RewardSettings


def measure_reward(
    base: SharedBase, pairs: Sequence[EncodedPair], arms: int, batch: int, *, profile: bool = False
) -> dict[str, Any]:
    """Train ``arms`` reward models on the same pairs for one epoch, and measure it.

    FLOP are those of matrix products, forward and backward: 4 per weight of the decoder's linear
    layers and token that runs. ``tokens_padded`` counts what padding every batch would have run.
    """
    settings = RewardSettings(
        batch=batch,
        lora=attention_lora(base, rank=8),
        optimiser=OptimiserSettings(learning_rate=2e-5),
    )
    training = RewardTraining(base, [pairs] * arms, settings, seed=0)
    started = time.perf_counter()
    recorded = Profile(on=profile)
    for step in range(len(training.plans[0])):
        with recorded.step():
            training.step(step)
    seconds = time.perf_counter() - started
    batches = [[pairs[index] for index in indices] for indices in training.plans[0]]
    count = arms * sum(map(len, batches))
    tokens = arms * sum(pair.tokens for batch_pairs in batches for pair in batch_pairs)
    padded = 0
    for batch_pairs in batches:
        longest = max(max(len(pair.chosen), len(pair.rejected)) for pair in batch_pairs)
        padded += 2 * len(batch_pairs) * longest
    return {
        "arms": arms,
        "pairs": count,
        "pairs_per_second": count / seconds,
        "seconds": {"all": seconds},
        "tokens": tokens,
        "tokens_padded": arms * padded,
        "profile": recorded.seconds,
        **throughput(base, 4 * base.weights * tokens, seconds),
    }

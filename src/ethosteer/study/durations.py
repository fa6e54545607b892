"""How long a study takes on a GPU that is not at hand, by a roofline (Williams et al. 2009).

Sampling a token reads the base's weights once for all rows, and each row's cache at full length;
training and scoring are matrix products of many rows. The constants were measured on one H100 SXM
with a base of Llama-2-13B geometry in bfloat16 (``python speed/gpu.py --arms 1 4``: PPO, batch 64,
prompts of 32 to 128 tokens, 128 new ones, 4 epochs, adapters of rank 16 on q and v). A step of one
arm took 14.5 s, of which 3.6 s sampling, 2.5 s scoring and 8.4 s training, and one of four arms
59.9 s. Other cards, and float32, are taken to reach the same fractions of their peaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ethosteer import catalog
from ethosteer.algorithms.algorithm import Cost
from ethosteer.models.fast.budget import cache_bytes
from ethosteer.models.geometry import base_parameters, decoder_parameters
from ethosteer.study.costs import (
    arm_cost,
    cross_cost,
    mean_prompt,
    mean_row,
    reward_cost,
    stage_costs,
)
from ethosteer.study.devices import Device
from ethosteer.study.footprint import Footprint

TRAINING_EFFICIENCY = 0.34
"""Of the peak FLOP/s: 4 epochs * 4 * 13.0e9 weights * 13,312 tokens in 8.4 s."""
SCORING_EFFICIENCY = 0.42
"""Of the peak FLOP/s: 3 readings * 2 * 13.0e9 weights * 13,312 tokens in 2.5 s."""
WEIGHTS_EFFICIENCY, CACHE_EFFICIENCY = 0.85, 0.23
"""Of the peak bandwidth: the first is assumed, the second fits sampling by one arm and by four.

Attention to a cache under a mask is far from the bandwidth. With these a step takes 14.8 and 57 s.
"""
RUN_AGAIN = 1.31
"""With gradient checkpointing: 11.0 s of learning in NF4, whose unpacking it includes, for 8.4."""
UNPACKED = 3.0
"""Of a quantised base each token reads the weights, writes them in 16 bits and reads these.

It fits NF4, where sampling took 5.9 s instead of 3.6; by the bytes alone it would be 2.25.
"""
KERNELS = 57
"""Launched for each layer and sampled token."""


@dataclass(frozen=True)
class Roofline:
    """The seconds of a study's stages on ``device``, whose memory ``footprint`` counts."""

    footprint: Footprint
    device: Device

    @property
    def flops(self) -> float:
        """The peak of the device in the number format of products, in FLOP/s."""
        base = self.footprint.settings.base
        in_single = base.dtype == "float32" and not base.autocast
        return self.device.single_flops if in_single else self.device.flops

    def stages(self) -> dict[str, float]:
        """Return the seconds of each stage, for all arms and seeds."""
        settings, texts = self.footprint.settings, self.footprint.texts
        costs, seeds = stage_costs(settings, texts), len(settings.seeds)
        models = len(settings.arms) + len(settings.controls)
        normalised = self.rows("reward", 1, settings.reward.normalisation_samples)
        answers = self.rows("evaluate", models, settings.steer.held_out_prompts)
        return {stage: self.seconds(cost, 1) for stage, cost in costs.items()} | {
            "reward": self.seconds(reward_cost(settings, texts), normalised) * seeds,
            "steer": sum(self.steering()) * seeds,
            "cross": self.seconds(cross_cost(settings, texts), answers) * seeds,
        }

    def steering(self) -> Iterator[float]:
        """Yield the seconds of each arm of one seed; arms of one algorithm sample together."""
        settings = self.footprint.settings
        together = Counter(map(settings.algorithm_of, settings.arms))
        for arm in settings.arms:
            name = settings.algorithm_of(arm)
            batch = catalog.algorithm(name).batch(settings.steer.for_algorithm(name))
            rows = self.rows(f"steer, {name}", together[name], batch.answers)
            yield self.seconds(arm_cost(settings, self.footprint.texts, arm), rows)

    def rows(self, stage: str, arms: int, answers: int) -> float:
        """Return how many answers a stage samples at once, of all arms together."""
        held = next(memory.held for memory in self.footprint.stages if memory.stage == stage)
        return arms * self.footprint.prompts_at_once(held, arms, answers)

    def seconds(self, cost: Cost, rows: float) -> float:
        """Return the seconds of work that samples ``rows`` answers at once."""
        settings, parameters = self.footprint.settings, base_parameters(self.footprint.shape)
        answers = cost.sampled_tokens / mean_row(settings)
        read = Cost(forward_tokens=cost.forward_tokens + answers * mean_prompt(settings))
        trained = Cost(trained_tokens=cost.trained_tokens)
        sampling = answers / rows * settings.steer.max_new_tokens * self.token_seconds(rows)
        scoring = read.flop(parameters) / (SCORING_EFFICIENCY * self.flops)
        training = trained.flop(parameters) / (TRAINING_EFFICIENCY * self.flops)
        if settings.base.gradient_checkpointing:
            training *= RUN_AGAIN
        return sampling + scoring + training

    def token_seconds(self, rows: float) -> float:
        """Return the seconds in which each of ``rows`` answers gets one more token."""
        shape, width = self.footprint.shape, self.footprint.width
        weights = float(width) * (decoder_parameters(shape) + shape.vocabulary * shape.hidden)
        if self.footprint.settings.base.quantise:
            weights = UNPACKED * weights
        cache = rows * self.footprint.row * cache_bytes(shape, width)
        read = weights / WEIGHTS_EFFICIENCY + cache / CACHE_EFFICIENCY
        products = 2 * base_parameters(shape) * rows
        return max(
            read / self.device.bandwidth,
            products / (SCORING_EFFICIENCY * self.flops),
            shape.layers * KERNELS * self.device.launch,
        )

"""The speed of PPO."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ethosteer import catalog
from ethosteer.algorithms.loop.rollouts import draw_prompts
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.algorithms.loop.task import Task
from ethosteer.bench.adapters import attention_lora, random_adapters
from ethosteer.bench.machine import throughput
from ethosteer.bench.profile import Profile
from ethosteer.models.base import SharedBase
from ethosteer.models.generation import Sampling
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import generator
from ethosteer.models.reward_models import RewardModels
from ethosteer.models.text import Template


@dataclass(frozen=True, slots=True)
class PPOEpisodes:
    """How much PPO to run: ``steps`` steps of ``batch`` episodes, and how each batch is used."""

    batch: int
    new_tokens: int
    epochs: int
    minibatches: int
    steps: int


def ppo_steering(
    base: SharedBase,
    prompts: Sequence[Sequence[int]],
    rewards: RewardModels,
    episodes: PPOEpisodes,
    *,
    seed: int = 0,
    **settings: object,
) -> Steering:
    """Return PPO of one policy for each reward model, on prompts of token ids.

    Every episode has all its new tokens, and the KL coefficient is constant. ``settings`` are
    further ones of ``[steer]``.
    """
    arms = rewards.bank.arms
    steer = catalog.steer_settings(
        steps=episodes.steps,
        batch=episodes.batch,
        minibatches=episodes.minibatches,
        epochs=episodes.epochs,
        min_new_tokens=episodes.new_tokens,
        max_new_tokens=episodes.new_tokens,
        kl_target=None,
        measure_every=episodes.steps + 1,
        lora=attention_lora(base),
        **settings,
    )
    return catalog.algorithm("ppo").steering(
        Task(
            base,
            Template("hh", base.tokenizer),
            LoraBank(base.layers, arms, steer.lora, seed=seed).to(base.device),
            rewards,
            [str(arm) for arm in range(arms)],
            range(arms),
            prompts,
            [[]] * arms,
            steer,
            Sampling(episodes.new_tokens, episodes.new_tokens, ignore_eos=True),
            seed=seed,
        )
    )


def measure_ppo(
    base: SharedBase,
    prompts: Sequence[Sequence[int]],
    arms: int,
    episodes: PPOEpisodes,
    *,
    profile: bool = False,
) -> dict[str, Any]:
    """Train ``arms`` policies with PPO on prompts of token ids, and measure it.

    FLOP are those of matrix products: 2 per weight of the
    decoder's linear layers and token for each of sampling, reward, reference and forward passes,
    and as much again for the backward pass; 2 per weight of the output embedding and new token.
    """
    heads = ScalarHeads(arms, base.hidden_size, bias=False, seed=0).to(base.device)
    ones = torch.ones(arms, device=base.device)
    rewards = RewardModels(random_adapters(base, arms), heads, ones, 0 * ones)
    ppo = ppo_steering(base, prompts, rewards, episodes)
    started = time.perf_counter()
    recorded = Profile(on=profile)
    for step in range(episodes.steps):
        with recorded.step():
            ppo.step(step)
    seconds = time.perf_counter() - started
    count = episodes.batch * episodes.steps * arms
    prompt_tokens = arms * sum(
        len(prompt)
        for step in range(episodes.steps)
        for prompt in draw_prompts(prompts, episodes.batch, generator(0, "prompts", step))
    )
    new_tokens = count * episodes.new_tokens
    # Sampling, reward and reference passes, then each epoch forward (1) and backward (1). Through a
    # frozen base the backward pass costs as much as the forward, since weights need no gradient.
    decoder_passes = 3 + 2 * episodes.epochs
    head_passes = 2 + 2 * episodes.epochs  # the reward pass makes no logits
    flop = 2 * base.weights * (prompt_tokens + new_tokens) * decoder_passes
    flop += 2 * base.head_weights * new_tokens * head_passes
    return {
        "arms": arms,
        "episodes": count,
        "mean_prompt_tokens": prompt_tokens / count,
        "episodes_per_second": count / seconds,
        "seconds": ppo.watch.seconds | {"all": seconds},
        "profile": recorded.seconds,
        **throughput(base, flop, seconds),
    }

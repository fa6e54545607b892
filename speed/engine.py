"""PPO whose answers vLLM samples against PPO that samples by itself, in turn: episodes a second.

Both run in one process on one base, with the same prompts, seeds and adapters; only sampling
differs. Prints what each step took, and how far the log-probabilities of engine and trainer are
apart. On a processor the server shares the cores, of which it gets all while it samples.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from ethosteer.algorithms.loop.steering import Steering
from ethosteer.bench.adapters import RANK, random_adapters
from ethosteer.bench.ppo import PPOEpisodes, ppo_steering
from ethosteer.models.base import SharedBase
from ethosteer.models.engine.connection import Connection, Needs
from ethosteer.models.engine.server import installed_version
from ethosteer.models.engine.vllm import VLLM
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.loading import load_base
from ethosteer.models.reward_models import RewardModels
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings, RolloutSettings


def run(base: SharedBase, arms: int, episodes: PPOEpisodes) -> tuple[Steering, float]:
    """Train ``arms`` policies with PPO; return the run and the seconds that it took."""
    noise = torch.Generator().manual_seed(0)
    lengths = torch.randint(16, 97, (64,), generator=noise).tolist()
    size = min(base.config.vocab_size, base.token_rows)
    prompts = [torch.randint(3, size, (length,), generator=noise).tolist() for length in lengths]
    heads = ScalarHeads(arms, base.hidden_size, bias=False, seed=0).to(base.device)
    ones = torch.ones(arms, device=base.device)
    rewards = RewardModels(random_adapters(base, arms), heads, ones, 0 * ones)
    steering = ppo_steering(base, prompts, rewards, episodes)
    started = time.perf_counter()
    for step in range(episodes.steps):
        steering.step(step)
    return steering, time.perf_counter() - started


def main() -> None:
    """Measure both in turn and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter of an environment with vLLM")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--arms", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8, help="episodes per step and arm")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    settings = BaseSettings(model=arguments.model, dtype=arguments.dtype)
    rollout = RolloutSettings(
        engine="vllm",
        version=installed_version(arguments.python),
        python=arguments.python,
        max_length=512,
    )
    base = load_base(settings)
    episodes = PPOEpisodes(arguments.batch, arguments.new_tokens, 4, 4, arguments.steps)
    count = arguments.batch * arguments.steps * arguments.arms
    needs = Needs(RANK, arguments.arms, arguments.arms, 96 + arguments.new_tokens)
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        connection = Connection(rollout, settings, Path(scratch), needs, Terminal())
        try:
            served = replace(base, engine=VLLM(base, connection))
            for _ in range(arguments.rounds):
                for name, sampler in (("ethosteer", base), ("vLLM", served)):
                    if sampler.engine is not None:
                        sampler.engine.start()
                    steering, seconds = run(sampler, arguments.arms, episodes)
                    parts = steering.watch.seconds
                    rates.setdefault(name, []).append(count / seconds)
                    rates.setdefault(f"{name}, sampling", []).append(count / parts["generate"])
                    shown = ", ".join(f"{part} {spent:.2f} s" for part, spent in parts.items())
                    print(f"{name}: {count / seconds:.3f} episodes/s ({shown})", flush=True)
                    points = [point for curve in steering.curves for point in curve]
                    if sampler.engine is not None:
                        mean = statistics.fmean(point.engine_difference or 0 for point in points)
                        largest = max(point.engine_largest or 0 for point in points)
                        print(f"disagreement: mean {mean:.2e}, largest {largest:.2e} nats/token")
        finally:
            connection.close()
    for name, values in rates.items():
        print(f"{name}: median {statistics.median(values):.3f} episodes/s of {len(values)} rounds")


if __name__ == "__main__":
    main()

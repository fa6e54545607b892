"""Whether training that is faster learns the same: ethosteer's reward models and PPO against TRL's.

Both get the same pairs and prompts of HH, LoRA settings, batches, learning rates and numbers of
steps, over several seeds. Reward models are compared by their accuracy on the same held-out pairs,
policies by reward and KL in windows of steps, under one reward model (ethosteer's of the first
seed).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch

from ethosteer.api import data_origin
from ethosteer.bench.adapters import attention_lora
from ethosteer.bench.hh import hh_pairs, hh_prompts
from ethosteer.bench.ppo import PPOEpisodes, ppo_steering
from ethosteer.models.base import SharedBase
from ethosteer.models.identity import resolve_model
from ethosteer.models.loading import load_base
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_models import RewardModels, load_rewards, save_reward
from ethosteer.models.reward_training import RewardTraining
from ethosteer.settings import BaseSettings, OptimiserSettings, RewardSettings

HELD_OUT = 512
WINDOW = 5
"""Steps over which a curve is averaged: the rewards of one step's answers vary too much."""


@dataclass(frozen=True)
class Design:
    """What both programs are given.

    ``peer_critic``: TRL trains a second whole model as critic ("model"), or only a head on a frozen
    one ("head"), which is closer to ethosteer's, a head on the policy's hidden states.
    """

    seeds: tuple[int, ...]
    steps: int
    pairs: int
    episodes: int
    learning_rate: float
    new_tokens: int = 48
    prompt_tokens: int = 160
    epochs: int = 4
    minibatches: int = 4
    kl_coefficient: float = 0.05
    longest_pair: int = 512
    peer_critic: str = "model"

    @property
    def optimiser(self) -> OptimiserSettings:
        """AdamW with linear decay and no warm-up, as TRL's default."""
        return OptimiserSettings(learning_rate=self.learning_rate, warmup=0.0)


def train_reward(
    base: SharedBase, pairs: Sequence[EncodedPair], design: Design, seed: int, folder: Path
) -> float:
    """Train a reward model, keep it in ``folder``, and return its held-out accuracy."""
    settings = RewardSettings(
        batch=design.pairs,
        validations=0,
        lora=attention_lora(base, rank=8),
        optimiser=design.optimiser,
    )
    training = RewardTraining(base, [pairs[HELD_OUT:]], settings, seed=seed)
    for step in range(len(training.plans[0])):
        training.step(step)
    held_out = training.held_out(0, pairs[:HELD_OUT])
    save_reward(folder, base, training.bank, training.heads, 0, (1.0, 0.0))
    return mean(a > b for a, b in zip(held_out.chosen, held_out.rejected, strict=True))


def train_policy(
    base: SharedBase, prompts: list[list[int]], rewards: RewardModels, design: Design, seed: int
) -> list[tuple[float, float]]:
    """Train a policy by PPO; return the reward and KL (nats per response) of every step."""
    episodes = PPOEpisodes(
        design.episodes, design.new_tokens, design.epochs, design.minibatches, design.steps
    )
    ppo = ppo_steering(
        base, prompts, rewards, episodes, seed=seed,
        kl_coefficient=design.kl_coefficient, optimiser=design.optimiser,
    )  # fmt: skip
    for step in range(design.steps):
        ppo.step(step)
    return [(point.reward, point.kl) for point in ppo.curves[0]]


def table(ours: dict[str, list], theirs: dict[str, list], design: Design) -> str:  # type: ignore[type-arg]
    """Return accuracies, and rewards and KL early, midway and at the end: means and deviations."""

    def cell(values: Sequence[float]) -> str:
        spread = stdev(values) if len(values) > 1 else 0.0
        return f"{mean(values):.3f} ({spread:.3f})"

    lines = [
        "| mean (standard deviation) over seeds | ethosteer | TRL |",
        "|---|---|---|",
        "| reward model: held-out accuracy "
        f"| {cell(ours['accuracy'])} | {cell(theirs['accuracy'])} |",
    ]
    middle = (design.steps - WINDOW) // 2
    for start in (0, middle, design.steps - WINDOW):
        steps = slice(start, start + WINDOW)
        for index, name in enumerate(("reward", "KL")):
            cells = [
                cell([mean(point[index] for point in curve[steps]) for curve in side["curves"]])
                for side in (ours, theirs)
            ]
            row = f"PPO, steps {start + 1} to {steps.stop}: {name}"
            lines.append(f"| {row} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main() -> None:
    """Train on both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="a Python that has trl")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--pairs", type=int, default=32, help="a step of reward modelling")
    parser.add_argument("--episodes", type=int, default=16, help="a step of PPO")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--peer-critic", choices=("model", "head"), default="model")
    options = parser.parse_args()
    design = Design(tuple(range(options.seeds)), options.steps, options.pairs, options.episodes,
                    options.learning_rate, peer_critic=options.peer_critic)  # fmt: skip
    origin = data_origin(Path(options.data_dir))
    base = load_base(BaseSettings(model=options.model, device="cpu"))
    eos = base.tokenizer.eos_token_id
    count = design.steps * design.pairs + HELD_OUT
    pairs = [
        replace(pair, chosen=[*pair.chosen, eos], rejected=[*pair.rejected, eos])
        for pair in hh_pairs(base, origin, 2 * count)
        if max(len(pair.chosen), len(pair.rejected)) < design.longest_pair
    ][:count]
    prompts = hh_prompts(base, origin, design.steps * design.episodes, design.prompt_tokens,
                         design.new_tokens)  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / f"reward-{seed}" for seed in design.seeds]
        accuracy = []
        for seed, folder in zip(design.seeds, folders, strict=True):
            accuracy.append(train_reward(base, pairs, design, seed, folder))
            print(f"ethosteer, seed {seed}: accuracy {accuracy[-1]:.3f}", file=sys.stderr)
        rewards = load_rewards(base, folders[:1])
        curves = []
        for seed in design.seeds:
            curves.append(train_policy(base, prompts, rewards, design, seed))
            print(f"ethosteer, seed {seed}: reward, KL {curves[-1][-1]}", file=sys.stderr)
        given = Path(scratch) / "given.json"
        rows = [[pair.chosen, pair.rejected] for pair in pairs]
        given.write_text(json.dumps(asdict(design) | {"pairs_ids": rows, "prompts_ids": prompts,
                                                      "held_out": HELD_OUT}))  # fmt: skip
        out = Path(scratch) / "trl.json"
        script = Path(__file__).with_name("trl_quality.py")
        del base, rewards
        torch.set_num_threads(1)
        command = [options.peer, script, resolve_model(options.model), folders[0], given, out]
        subprocess.run(command, check=True, stdout=sys.stderr)
        theirs = json.loads(out.read_text("utf-8"))
    print(table({"accuracy": accuracy, "curves": curves}, theirs, design))


if __name__ == "__main__":
    main()

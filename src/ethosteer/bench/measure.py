"""How fast this machine does the work of a study, beside its own matrix product."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ethosteer import catalog
from ethosteer.algorithms.loop.rollouts import draw_prompts
from ethosteer.algorithms.loop.task import Task
from ethosteer.data.readers import Row
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.answering import load_items, token_budget
from ethosteer.models.base import SharedBase
from ethosteer.models.generation import Sampling
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.loading import load_base
from ethosteer.models.log_likelihood import Plan, log_likelihoods, pack_requests, plan_requests
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import generator
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_models import RewardModels
from ethosteer.models.reward_training import RewardTraining
from ethosteer.models.timing import Stopwatch, peak_memory
from ethosteer.settings import (
    BaseSettings,
    BenchmarkSettings,
    LoraSettings,
    OptimiserSettings,
    RewardSettings,
)

ASSISTANT = "\n\nAssistant:"
LORA_RANK = 16
LORA_TARGETS = ("q_proj", "v_proj", "c_attn", "query_key_value")


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure a large matrix product, FLOP/s: the ceiling."""
    size = 4096 if device.type == "cuda" else 1536
    a = torch.randn(size, size, device=device).to(dtype)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def random_adapters(base: SharedBase, arms: int) -> LoraBank:
    """Make ``arms`` adapters with random weights on the projections of attention."""
    bank = LoraBank(base.layers, arms, LoraSettings(r=LORA_RANK, targets=_targets(base)), seed=0)
    for arm in range(arms):
        noise = torch.Generator().manual_seed(arm)
        for parameter in bank.arm_parameters(arm):
            parameter.data.normal_(std=0.01, generator=noise)
    return bank.to(base.device).requires_grad_(False)


def measure_ppo(
    base: SharedBase, prompts: Sequence[Sequence[int]], arms: int, episodes: PPOEpisodes
) -> dict[str, Any]:
    """Run PPO of ``arms`` arms on prompts, and measure it.

    Every episode has all its new tokens. FLOP are those of matrix products: 2 per weight of the
    decoder's linear layers and token for each of sampling, reward, reference and forward passes,
    and as much again for the backward pass; 2 per weight of the output embedding and new token.
    """
    steer = catalog.steer_settings(
        steps=episodes.steps,
        batch=episodes.batch,
        minibatches=episodes.minibatches,
        epochs=episodes.epochs,
        min_new_tokens=episodes.new_tokens,
        max_new_tokens=episodes.new_tokens,
        kl_target=None,
        measure_every=episodes.steps + 1,
        lora=LoraSettings(r=LORA_RANK, alpha=32.0, targets=_targets(base)),
    )
    policies = LoraBank(base.layers, arms, steer.lora, seed=0).to(base.device)
    heads = ScalarHeads(arms, base.hidden_size, bias=False, seed=0).to(base.device)
    ones = torch.ones(arms, device=base.device)
    rewards = RewardModels(random_adapters(base, arms), heads, ones, 0 * ones)
    sampling = Sampling(episodes.new_tokens, episodes.new_tokens, ignore_eos=True)
    names = [str(arm) for arm in range(arms)]
    task = Task(
        base, policies, rewards, names, range(arms), prompts, [[]] * arms, steer, sampling, seed=0
    )
    run = catalog.algorithm("ppo").steering(task)
    started = time.perf_counter()
    for step in range(episodes.steps):
        run.step(step)
    seconds = time.perf_counter() - started
    ceiling = matrix_product_rate(base.device, base.model.dtype)
    count = episodes.batch * episodes.steps * arms
    read = arms * sum(
        len(prompt)
        for step in range(episodes.steps)
        for prompt in draw_prompts(prompts, episodes.batch, generator(0, "prompts", step))
    )
    new = count * episodes.new_tokens
    # sampling, reward, reference; each epoch forward and backward
    decoder = 2 * base.weights * (read + new) * (3 + 2 * episodes.epochs)
    head = 2 * base.head_weights * new * (2 + 2 * episodes.epochs)
    return {
        "arms": arms,
        "episodes": count,
        "mean_prompt_tokens": read / count,
        "episodes_per_second": count / seconds,
        "seconds": run.watch.seconds | {"all": seconds},
        "flops_per_second": (decoder + head) / seconds,
        "ceiling_flops_per_second": ceiling,
        "share_of_ceiling": (decoder + head) / seconds / ceiling,
        "peak_memory_bytes": peak_memory(base.device),
        "device": str(base.device),
    }


@dataclass(frozen=True, slots=True)
class PPOEpisodes:
    """How much PPO to run: as many steps of as many episodes, and how they are learnt from."""

    batch: int
    prompt_tokens: int
    new_tokens: int
    epochs: int
    minibatches: int
    steps: int


def measure_reward(
    base: SharedBase, pairs: Sequence[EncodedPair], arms: int, batch: int
) -> dict[str, Any]:
    """Train ``arms`` reward models on the same pairs, one epoch, and measure it.

    FLOP are those of matrix products, forward and backward: 4 per weight of the decoder's linear
    layers and token that runs. ``tokens_padded`` is what padding every batch would have run.
    """
    lora = LoraSettings(r=8, alpha=32.0, targets=_targets(base))
    optimiser = OptimiserSettings(learning_rate=2e-5)
    own = RewardSettings(batch=batch, lora=lora, optimiser=optimiser)
    training = RewardTraining(base, [pairs] * arms, own, seed=0)
    started = time.perf_counter()
    for step in range(len(training.plans[0])):
        training.step(step)
    seconds = time.perf_counter() - started
    ceiling = matrix_product_rate(base.device, base.model.dtype)
    chosen = [[pairs[i] for i in plan] for plan in training.plans[0]]
    count = arms * sum(map(len, chosen))
    tokens = arms * sum(pair.tokens for part in chosen for pair in part)
    longest = [max(max(len(p.chosen), len(p.rejected)) for p in part) for part in chosen]
    flop = 4 * base.weights * tokens
    return {
        "arms": arms,
        "pairs": count,
        "pairs_per_second": count / seconds,
        "seconds": {"all": seconds},
        "tokens": tokens,
        "tokens_padded": arms
        * sum(2 * len(part) * length for part, length in zip(chosen, longest, strict=True)),
        "flops_per_second": flop / seconds,
        "ceiling_flops_per_second": ceiling,
        "share_of_ceiling": flop / seconds / ceiling,
        "peak_memory_bytes": peak_memory(base.device),
        "device": str(base.device),
    }


def _targets(base: SharedBase) -> tuple[str, ...]:
    """The projections of queries and values, by whatever name the architecture has for them."""
    present = {name.rsplit(".", 1)[-1] for name in base.layers}
    targets = tuple(target for target in LORA_TARGETS if target in present)
    if not targets:
        raise InputError(f"bench: the model has none of the layers {', '.join(LORA_TARGETS)}")
    return targets


def _hh_rows(origin: Origin) -> Iterator[Row]:
    """The published training pairs of harmless-base."""
    dataset = catalog.dataset("harmless")
    return dataset.rows(origin.locate(dataset.source))


def hh_prompts(base: SharedBase, origin: Origin, episodes: PPOEpisodes) -> list[list[int]]:
    """HH dialogues up to their last answer, those of at most ``prompt_tokens``."""
    needed = episodes.batch * episodes.steps
    found: list[list[int]] = []
    for row in _hh_rows(origin):
        text = row.text("chosen").rsplit(ASSISTANT, 1)[0] + ASSISTANT
        ids = base.tokenizer(text).input_ids
        if len(ids) <= episodes.prompt_tokens:
            found.append(ids)
        if len(found) == needed:
            break
    else:
        raise InputError(
            f"bench ppo: {origin.folder} has {len(found)} prompts of at most "
            f"{episodes.prompt_tokens} tokens, and {needed} are needed; lower --steps or --batch"
        )
    longest = max(map(len, found))
    if longest + episodes.new_tokens > base.max_length:
        raise InputError(
            f"bench ppo: a prompt of {longest} tokens and {episodes.new_tokens} new ones exceed "
            f"the model's {base.max_length}; lower --prompt-tokens or --new-tokens"
        )
    return found


def hh_pairs(base: SharedBase, origin: Origin, count: int) -> list[EncodedPair]:
    """The first ``count`` HH pairs as they were published, those that fit."""
    found: list[EncodedPair] = []
    for row in islice(_hh_rows(origin), count):
        sides = [base.tokenizer(row.text(name)).input_ids for name in ("chosen", "rejected")]
        if sides[0] != sides[1] and max(map(len, sides)) <= base.max_length:
            same = (a == b for a, b in zip(*sides, strict=False))
            shared = next((i for i, alike in enumerate(same) if not alike), min(map(len, sides)))
            found.append(EncodedPair(sides[0], sides[1], shared, str(len(found))))
    if not found:
        raise InputError(
            f"bench reward: of the first {count} pairs in {origin.folder} none fits the model "
            f"({base.max_length} tokens)"
        )
    return found


def measure_evaluation(
    settings: BaseSettings,
    arms: int,
    benchmarks: Mapping[str, BenchmarkSettings],
    origin: Origin,
    tokens_per_batch: int | None,
) -> dict[str, Any]:
    """Score fixed-choice benchmarks with ``arms`` models on one base, and measure it.

    FLOP are those of matrix products: 2 per weight of the decoder's linear layers and token run,
    and 2 hidden vocabulary per target. ``tokens`` ran through the decoder, over all models;
    ``tokens_unshared`` are those of every distinct row, without shared prefixes.
    """
    watch = Stopwatch()
    with watch.part("read"):
        items = {
            name: load_items(catalog.benchmark(name), own, origin)
            for name, own in benchmarks.items()
        }
    for name in items:
        if catalog.benchmark(name).new_tokens:
            raise InputError(f"bench evaluate: {name} is answered freely, not by choice")
    with watch.part("load"):
        base = load_base(settings)
        bank = random_adapters(base, arms) if arms > 1 else None
    budget = token_budget(tokens_per_batch, base, arms)
    plans: list[Plan] = []
    with watch.part("tokenise"):
        plans = [plan_requests(base, own) for own in items.values()]
    with watch.part("score"), bank.applied() if bank else nullcontext():
        for plan in plans:
            for _ in log_likelihoods(base, plan, arms, budget):
                pass
    tokens = targets = unshared = 0
    for plan in plans:
        trees = pack_requests(base, plan, arms, budget)
        tokens += sum(len(tree.tokens) for tree in trees)
        unshared += sum(len(row) for row in {request.row for request in plan.requests})
        targets += sum(len(request.targets) for request in plan.requests)
    seconds = watch.seconds["score"]
    flop = arms * (2 * base.weights * tokens + 2 * base.head_weights * targets)
    ceiling = matrix_product_rate(base.device, base.model.dtype)
    count = sum(map(len, items.values()))
    return {
        "arms": arms,
        "items": count,
        "tokens": tokens * arms,
        "tokens_unshared": unshared * arms,
        "items_per_second": count * arms / seconds,
        "tokens_per_second": tokens * arms / seconds,
        "seconds": watch.seconds,
        "flops_per_second": flop / seconds,
        "ceiling_flops_per_second": ceiling,
        "share_of_ceiling": flop / seconds / ceiling,
        "device": str(base.device),
        "tokens_per_batch": budget,
    }

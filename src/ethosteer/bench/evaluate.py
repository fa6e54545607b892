"""The speed of scoring benchmark items."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from ethosteer import catalog
from ethosteer.bench.adapters import random_adapters
from ethosteer.bench.machine import throughput
from ethosteer.bench.profile import Profile
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.answering import token_budget
from ethosteer.evaluation.items import load_items
from ethosteer.models.fast.trees import pack_within
from ethosteer.models.loading import load_base
from ethosteer.models.log_likelihood import log_likelihoods, plan_requests
from ethosteer.models.timing import Stopwatch
from ethosteer.settings import BaseSettings, BenchmarkSettings


def measure_evaluation(
    settings: BaseSettings,
    arms: int,
    benchmarks: Mapping[str, BenchmarkSettings],
    origin: Origin,
    tokens_per_batch: int | None,
    *,
    profile: bool = False,
) -> dict[str, Any]:
    """Score forced-choice benchmarks with ``arms`` models on one base, and measure it.

    FLOP are those of matrix products: 2 per weight of the decoder's linear layers and token run,
    and 2 per weight of the output embedding and target. ``tokens`` ran through the decoder, over
    all models; ``tokens_unshared`` are those of every distinct row, without shared prefixes.

    Raises InputError for a benchmark that is answered by generation.
    """
    watch = Stopwatch()
    with watch.part("read"):
        items = {
            name: load_items(catalog.benchmark(name), benchmark_settings, origin)
            for name, benchmark_settings in benchmarks.items()
        }
    for name in items:
        if catalog.benchmark(name).new_tokens:
            raise InputError(f"bench evaluate: {name} is answered by generation, not by choice")
    with watch.part("load"):
        base = load_base(settings)
        bank = random_adapters(base, arms) if arms > 1 else None
    budget = token_budget(tokens_per_batch, base, arms)
    with watch.part("tokenise"):
        plans = [plan_requests(base, benchmark_items) for benchmark_items in items.values()]
    applied = bank.applied() if bank else nullcontext()
    recorded = Profile(on=profile)
    with watch.part("score"), applied:
        for plan in plans:
            with recorded.step():
                for _ in log_likelihoods(base, plan, arms, budget):
                    pass
    tokens = targets = unshared = 0
    for plan in plans:
        rows = (request.row for request in plan.requests)
        tokens += sum(len(tree.tokens) for tree in pack_within(base, rows, budget // arms))
        unshared += sum(map(len, {request.row for request in plan.requests}))
        targets += sum(len(request.targets) for request in plan.requests)
    seconds = watch.seconds["score"]
    flop = arms * (2 * base.weights * tokens + 2 * base.head_weights * targets)
    count = sum(map(len, items.values()))
    return {
        "arms": arms,
        "items": count,
        "tokens": tokens * arms,
        "tokens_unshared": unshared * arms,
        "items_per_second": count * arms / seconds,
        "tokens_per_second": tokens * arms / seconds,
        "seconds": watch.seconds,
        "tokens_per_batch": budget,
        "profile": recorded.seconds,
        **throughput(base, flop, seconds),
    }

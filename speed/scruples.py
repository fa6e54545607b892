"""Seconds an item on Scruples: a forced choice for several models at once, or a generated answer.

The 2024 study generated up to 2,048 new tokens an item and took 12 to 27 seconds. Here the same
base generates as far as its context goes, and its rate is extrapolated to 2,048 tokens.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from ethosteer import catalog
from ethosteer.bench.evaluate import measure_evaluation
from ethosteer.data.sources import Origin
from ethosteer.evaluation.items import load_items
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.loading import load_base
from ethosteer.models.requests import fit
from ethosteer.settings import BaseSettings, BenchmarkSettings

PUBLISHED_TOKENS = 2048


def main() -> None:
    """Measure both, print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True, type=Path)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--arms", type=int, default=6)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--generated", type=int, default=4, help="items to generate for")
    parser.add_argument("--limit", type=int, help="at most this many items; all by default")
    arguments = parser.parse_args()
    base_settings = BaseSettings(model=arguments.model)
    settings = BenchmarkSettings(source="ethics-aita", limit=arguments.limit)
    origin = Origin("folder", arguments.data_dir)

    choice = measure_evaluation(
        base_settings, arguments.arms, {"scruples": settings}, origin, tokens_per_batch=None
    )
    seconds = choice["seconds"]["score"] + choice["seconds"]["tokenise"]
    print(
        f"forced choice: {choice['items']} items, {arguments.arms} models: {seconds:.1f} s, "
        f"{seconds / choice['items']:.4f} s an item for all models, "
        f"{seconds / choice['items'] / arguments.arms:.4f} s an item and model; "
        f"{choice['share_of_ceiling']:.0%} of the matrix product's rate"
    )

    base = load_base(base_settings)
    items = load_items(catalog.benchmark("scruples_original"), settings, origin)
    new_tokens = arguments.new_tokens
    sampling = Sampling(new_tokens, new_tokens, ignore_eos=True, greedy=True)
    seconds = 0.0
    for item in items[: arguments.generated]:
        context = fit(base.tokenizer, item, base.max_length, new_tokens).contexts[0]
        prompt = base.tokenizer(context).input_ids[-(base.max_length - new_tokens) :]
        started = time.perf_counter()
        generate(base, [prompt], 1, sampling, torch.Generator())
        seconds += time.perf_counter() - started
    seconds_per_item = seconds / arguments.generated
    print(
        f"generating {new_tokens} tokens: {seconds_per_item:.2f} s an item and model; at that rate "
        f"{seconds_per_item * PUBLISHED_TOKENS / new_tokens:.1f} s for {PUBLISHED_TOKENS:,}"
    )


if __name__ == "__main__":
    main()

"""Seconds an item on Scruples: a forced choice for many models at once, and a generated answer.

The 2024 study generated up to 2,048 new tokens an item and took 12 to 27 seconds. Here the same
base generates as far as its context goes, and the time of 2,048 tokens is that rate carried on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from ethosteer import catalog
from ethosteer.bench.measure import measure_evaluation
from ethosteer.data.sources import Origin
from ethosteer.evaluation.answering import load_items
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.loading import load_base
from ethosteer.models.log_likelihood import fit
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
    parser.add_argument("--limit", type=int, help="items at most; all by default")
    given = parser.parse_args()
    base_settings = BaseSettings(model=given.model)
    settings = BenchmarkSettings(source="ethics-aita", limit=given.limit)
    origin = Origin("folder", given.data_dir)
    found = measure_evaluation(base_settings, given.arms, {"scruples": settings}, origin, None)
    seconds = found["seconds"]["score"] + found["seconds"]["tokenise"]
    print(
        f"forced choice: {found['items']} items, {given.arms} models: {seconds:.1f} s, "
        f"{seconds / found['items']:.4f} s an item for all models, "
        f"{seconds / found['items'] / given.arms:.4f} s an item and model; "
        f"{found['share_of_ceiling']:.0%} of the matrix product's rate"
    )
    base = load_base(base_settings)
    items = load_items(catalog.benchmark("scruples_original"), settings, origin)
    new = given.new_tokens
    sampling = Sampling(new, new, ignore_eos=True, greedy=True)
    spent = 0.0
    for item in items[: given.generated]:
        fitted = fit(base.tokenizer, item, base.max_length, new)
        prompt = base.tokenizer(fitted.contexts[0]).input_ids[-(base.max_length - new) :]
        started = time.perf_counter()
        generate(base, [prompt], 1, sampling, torch.Generator())
        spent += time.perf_counter() - started
    each = spent / given.generated
    print(
        f"generating {new} tokens: {each:.2f} s an item and model; at that rate "
        f"{each * PUBLISHED_TOKENS / new:.1f} s for {PUBLISHED_TOKENS:,}"
    )


if __name__ == "__main__":
    main()

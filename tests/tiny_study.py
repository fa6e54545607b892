"""Settings that make the demo study run in seconds on a tiny model."""

from __future__ import annotations

OVERRIDES = (
    "seeds=[0, 1]",
    "arms={deontology = {max_pairs = 24}, virtue = {max_pairs = 24}}",
    "benchmarks={toxigen = {limit = 12}, wsc273 = {limit = 8}, scruples_three = {limit = 6}}",
    "data.max_tokens=256",
    "finetune.max_steps=3",
    "reward.epochs=1",
    "reward.normalisation_samples=32",
    "steer.algorithm='ppo'",
    "steer.steps=2",
    "steer.batch=4",
    "steer.minibatches=2",
    "steer.epochs=2",
    "steer.measure_every=5",
    "steer.min_new_tokens=4",
    "steer.max_new_tokens=6",
    "steer.held_out_prompts=8",
    "steer.checkpoint_every=1",
    "evaluate.sample_prompts=2",
    "compare.resamples=200",
)

ALGORITHMS = (
    *OVERRIDES,
    "seeds=[0]",
    "arms={deontology={max_pairs=24}, virtue={max_pairs=24}, "
    "v-rloo={dataset='virtue', max_pairs=24, algorithm='rloo'}, "
    "v-dpo={dataset='virtue', max_pairs=24, algorithm='dpo'}, "
    "v-best={dataset='virtue', max_pairs=24, algorithm='best_of_n'}}",
    "benchmarks={toxigen={limit=6}}",
    "steer.steps=5",
    "steer.measure_every=1",
    "steer.rloo.answers=2",
    "steer.dpo.pairs=8",
    "steer.best_of_n={n=4, prompts=2}",
    "steer.select='kl'",
    "steer.kl_target=0.05",
    "evaluate.cross_pairs=8",
)
"""The same with one arm of another dataset beside four that are steered by four algorithms."""

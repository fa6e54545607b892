from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ethosteer.study.sampled_together import sampled_together


def recorded(*batches: tuple[str, ...]) -> Any:
    """Return a store that knows which stages were made together."""
    return SimpleNamespace(
        key=lambda stage: stage.name,
        together=lambda stage: next((batch for batch in batches if stage.name in batch), ()),
    )


def plan(seeds: tuple[int, ...], arms: tuple[str, ...]) -> Any:
    stages = {
        (name, seed): SimpleNamespace(name=f"{name}-s{seed}", arm=SimpleNamespace(name=name))
        for seed in seeds
        for name in arms
    }
    return SimpleNamespace(
        settings=SimpleNamespace(seeds=seeds),
        steering=stages,
        steering_of=lambda seed: [stages[name, seed] for name in arms],
    )


def test_batches_are_named_by_their_arms_and_seeds():
    seeds, arms = (0, 1), ("duty", "virtue", "utility")
    whole = [tuple(f"{name}-s{seed}" for name in arms) for seed in seeds]
    found = sampled_together(plan(seeds, arms), recorded(*whole))
    assert found == "duty, virtue, utility (0, 1)"


def test_an_arm_that_was_added_later_is_a_batch_of_its_own():
    arms = ("duty", "virtue", "utility")
    store = recorded(("duty-s0", "gone-s0", "virtue-s0"))
    found = sampled_together(plan((0,), arms), store)
    assert found == "duty, an arm that was removed, virtue (0); utility (0)"

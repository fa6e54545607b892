"""What is changed where a study does not fit."""

from __future__ import annotations

import pytest

from ethosteer.data.sources import Origin
from ethosteer.study.estimate import estimate
from ethosteer.study.load import load_study
from ethosteer.study.remedies import candidates, changed, option


def test_what_a_study_is_told_makes_it_fit() -> None:
    origin = Origin("hub")
    cramped = estimate(load_study("llama2-13b"), origin, "rtx4090-24")
    assert not cramped.fits
    assert cramped.remedies
    overrides = [remedy.removeprefix("--set ") for remedy in cramped.remedies]
    assert estimate(load_study("llama2-13b", overrides), origin, "rtx4090-24").fits
    assert estimate(load_study("llama2-13b"), origin, "h200-141").remedies == ()


SERVED = ("rollout.engine=vllm", "rollout.version=0.32.0", "rollout.python=p")


@pytest.mark.parametrize(
    ("memory", "device", "told"),
    [
        # 26 GB of base fit beside the study's: a smaller server is enough, and is not too small
        ("0.8", "h100-80", ("--set rollout.memory=0.5",)),
        # no server of 40 GB or less holds the base beside it, and the study alone fits
        ("0.5", "a100-40", ("--set rollout.engine=ethosteer",)),
    ],
)
def test_a_server_that_is_too_large_is_made_smaller_or_left_out(
    memory: str, device: str, told: tuple[str, ...]
) -> None:
    overrides = [*SERVED, f"rollout.memory={memory}"]
    cramped = estimate(load_study("llama2-13b", overrides), Origin("hub"), device)
    assert cramped.remedies == told
    options = [*overrides, *(remedy.removeprefix("--set ") for remedy in told)]
    mended = estimate(load_study("llama2-13b", options), Origin("hub"), device)
    assert mended.fits and not [note for note in mended.notes if "vLLM" in note]


def test_what_changes_results_least_is_tried_first() -> None:
    single = load_study("demo")
    tried = list(candidates(single))
    assert tried[0] == {"base.gradient_checkpointing": True}
    assert all(tried) and len({tuple(changes) for changes in tried}) == len(tried)
    last = changed(single, tried[-1])
    assert (last.base.dtype, last.base.quantise) == ("bfloat16", "nf4")
    assert last.steer.max_new_tokens >= last.steer.min_new_tokens
    assert single.base.dtype == "float32"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("base.autocast=true",),
        ("rollout.engine=vllm", "rollout.version=0.32.0", "rollout.python=p"),
    ],
)
def test_what_is_tried_are_settings_that_a_study_may_have(overrides) -> None:
    settings = load_study("demo", overrides)
    for changes in candidates(settings):
        options = [f"{key}={option(value)}" for key, value in changes.items()]
        assert load_study("demo", [*overrides, *options]) == changed(settings, changes)


@pytest.mark.parametrize("name", ["", "h100", "H100-80"])
def test_an_unknown_device_is_one_line_with_the_known_ones(name, call) -> None:
    status, _, err = call("plan", "llama2-13b", "--on", name)
    assert status == 2
    assert err.startswith(f"error: --on {name}: unknown device; known are h100-80, ")
    assert err.count("\n") == 1

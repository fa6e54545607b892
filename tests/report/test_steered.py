"""The sentences on whether steering worked, from gains, KL and the state of the reward models."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ethosteer.report.steered import direction_of, steered
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult
from ethosteer.results.estimates import Estimate
from tests.report.example import example_results

RESULTS = example_results()
ABOVE = Estimate(0.8, 0.7, 0.9, 100)
CHANCE = Estimate(0.5, 0.4, 0.6, 100)


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1, 64)


def run(arm: str, seed: int, gain: float, kl: float, accuracy: Estimate = ABOVE) -> ArmResult:
    return replace(
        RESULTS.arms[0],
        arm=arm,
        seed=seed,
        reward_model=arm,
        gain=estimate(gain),
        kl=estimate(kl),
        accuracy=accuracy,
        matched_accuracy=accuracy,
    )


def view(*arms: ArmResult, seeds: tuple[int, ...] = (0,)) -> View:
    models = ("base", "fine-tuned", *dict.fromkeys(arm.arm for arm in arms))
    return View(replace(RESULTS, arms=arms, models=models, seeds=seeds))


def test_gains_and_kl_are_means_over_seeds() -> None:
    text = steered(view(run("duty", 0, 1.0, 4.0), run("duty", 1, 2.0, 6.0), seeds=(0, 1)))
    assert text == (
        "Steering changed the reward of duty by +1.50 (at a KL divergence of 5.0 nats), in sd of "
        "the fine-tuned base's answers under its own reward model."
    )


def test_arms_are_told_apart_by_what_is_shown() -> None:
    text = steered(
        view(
            run("duty", 0, 1.0, 4.0),
            run("care", 0, -0.5, 2.0),
            run("virtue", 0, 0.05, 1.0),
            run("use", 0, 3.0, 9.0, CHANCE),
        )
    )
    assert text == (
        "Steering changed the rewards of duty by +1.00 (at a KL divergence of 4.0 nats) and care "
        "by −0.50 (2.0 nats), in sd of the fine-tuned base's answers under "
        "their own reward models. No rise of its own reward was shown for virtue. Whether use was "
        "steered as intended cannot be told from its reward model, which may be at chance or "
        "follow length alone."
    )


def test_without_arms_there_is_nothing_to_say() -> None:
    assert steered(View(replace(RESULTS, arms=()))) == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1.0, 0.2), "rose"), ((1.0, 0.05), "unclear"), ((-1.0, -0.2), "fell"), ((1, -1), "unclear")],
)
def test_a_direction_is_what_all_seeds_show(values: tuple[float, ...], expected: str) -> None:
    assert direction_of([estimate(value) for value in values]) == expected

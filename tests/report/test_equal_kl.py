"""Arms side by side at equal KL, and slopes beside gains that say something else."""

import math
from dataclasses import replace

import pytest

from ethosteer.report.answer import answer
from ethosteer.report.blocks import Bullets
from ethosteer.report.equal_kl import curve_of, equal_kl, reward_at
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult, SlopeResult
from ethosteer.results.estimates import Estimate, Slope
from ethosteer.results.steering import CurvePoint
from tests.report.example import example_results

RESULTS = example_results()
POINT = replace(RESULTS.arms[0].curve[0], rewards={}, alarms=())


def _curve(points: list[tuple[float, float]]) -> tuple[CurvePoint, ...]:
    """Return a curve of (KL, reward), a step each."""
    return tuple(
        replace(POINT, step=step, kl=kl, reward=reward) for step, (kl, reward) in enumerate(points)
    )


def _run(arm: str, kl: float, gain: float, slope: float = 0.2, seed: int = 0) -> ArmResult:
    """Return an arm whose reward is ``slope`` times the KL, up to twice the evaluated one."""
    run = next(run for run in RESULTS.arms if run.arm == arm)
    points = [(2 * kl * step / 7, slope * 2 * kl * step / 7) for step in range(8)]
    return replace(
        run,
        seed=seed,
        kl=replace(run.kl, value=kl),
        gain=Estimate(gain, gain - 0.1, gain + 0.1, 64),
        curve=_curve(points),
        stopped="",
    )


def _view(*runs: ArmResult, slopes: tuple[SlopeResult, ...] = ()) -> View:
    arms = tuple(dict.fromkeys(run.arm for run in runs))
    seeds = tuple(sorted({run.seed for run in runs}))
    return View(
        replace(
            RESULTS, models=("fine-tuned", *arms), arms=runs, slopes=slopes, seeds=seeds
        )
    )  # fmt: skip


def _line(view: View, arm: str) -> str:
    bullets = [block for block in answer(view) if isinstance(block, Bullets)]
    lines = next(block.items for block in bullets if block.title.startswith("Reward, KL"))
    return next(line for line in lines if line.startswith(f"{arm}: "))


def test_a_reward_is_interpolated_where_the_curve_first_reaches_a_kl() -> None:
    line = [(0.0, 0.0), (2.0, 1.0), (4.0, 1.5), (3.0, 9.0), (5.0, 2.0)]
    assert reward_at(line, 1.0) == pytest.approx(0.5)
    assert reward_at(line, 3.0) == pytest.approx(1.25)
    assert reward_at(line, 4.0) == pytest.approx(1.5)
    assert reward_at(line, 4.5) == pytest.approx(9.0 + (2.0 - 9.0) * 0.75)
    assert math.isnan(reward_at(line, 6.0))
    assert reward_at([(0.0, 0.0), (0.0, 0.2), (1.0, 0.4)], 0.0) == 0.0


def test_a_curve_starts_at_the_base_and_averages_neighbouring_steps() -> None:
    points = [(float(step), 2.0 * step) for step in range(16)]
    run = replace(RESULTS.arms[0], curve=_curve(points), stopped="")
    view = _view(run)
    assert curve_of(view, run)[:3] == [(0.0, 0.0), (0.5, 1.0), (2.5, 5.0)]
    assert curve_of(view, run)[-1] == (14.5, 29.0)
    assert curve_of(view, replace(run, curve=())) == [(0.0, 0.0)]


def test_arms_at_about_equal_kl_are_compared_as_evaluated() -> None:
    assert equal_kl(_view(_run("virtue", 4.0, 1.0), _run("harmless", 4.9, 1.2))) == (
        "The arms were evaluated at about equal KL divergence (4.0 to 4.9 nats per response), so "
        "they are compared as they were evaluated."
    )


def test_arms_at_different_kl_are_compared_where_all_curves_reach() -> None:
    # the curves end at 8 and 20 nats: at 8, the rewards are 0.2 and 0.05 times that
    said = equal_kl(_view(_run("virtue", 4.0, 0.8), _run("harmless", 10.0, 1.9, slope=0.05)))
    assert "(virtue 4.0 and harmless 10.0 nats per response)" in said
    assert "At equal KL, 8.0 nats, which is the largest that all their curves reach" in said
    assert (
        "the mean rewards in sd of the fine-tuned base's answers were +1.60 for virtue and +0.40 "
        "for harmless (each under its own reward model, interpolated along the training curves"
    ) in said


def test_seeds_are_averaged_and_their_range_is_given() -> None:
    said = equal_kl(
        _view(
            _run("virtue", 4.0, 0.8, slope=0.1),
            _run("virtue", 4.0, 0.8, slope=0.2, seed=1),
            _run("harmless", 8.0, 1.9),
            _run("harmless", 8.0, 1.9, seed=1),
        )
    )
    assert "+1.20 (seeds: +0.80 to +1.60) for virtue" in said


def test_arms_that_share_hardly_any_kl_are_not_comparable() -> None:
    said = equal_kl(_view(_run("virtue", 0.5, 0.1), _run("harmless", 30.0, 1.2)))
    assert "not comparable at equal KL: the largest KL that all their curves reach is 1.0" in said
    bare = replace(_run("virtue", 4.0, 0.8), curve=())
    assert "not comparable at equal KL" in equal_kl(_view(bare, _run("harmless", 8.0, 1.2)))


def test_rewards_of_doubtful_reward_models_are_not_set_side_by_side() -> None:
    doubtful = replace(_run("virtue", 4.0, 0.8), accuracy=Estimate(0.5, 0.4, 0.6, 64))
    said = equal_kl(_view(doubtful, _run("harmless", 8.0, 1.2)))
    assert "may come from how far each was steered" in said
    assert "mean rewards" not in said


def test_one_arm_or_no_known_kl_has_nothing_side_by_side() -> None:
    assert equal_kl(_view(_run("virtue", 4.0, 1.0))) == ""
    unknown = replace(_run("virtue", 4.0, 1.0), kl=Estimate(math.nan, math.nan, math.nan, 0))
    assert equal_kl(_view(unknown, _run("harmless", 4.0, 1.0))) == ""


def test_slopes_and_gains_that_order_arms_differently_are_reconciled() -> None:
    runs = (_run("virtue", 4.0, 0.8), _run("harmless", 8.0, 1.2))
    differs = SlopeResult("virtue", "harmless", Slope(0.3, 0.1, 0.5, 0.001, 1), 0.003)
    said = equal_kl(_view(*runs, slopes=(differs,)))
    assert "Slopes and gains order virtue and harmless differently" in said
    mirrored = replace(differs, slope=Slope(-0.3, -0.5, -0.1, 0.001, 1))
    assert "Slopes and gains" not in equal_kl(_view(*runs, slopes=(mirrored,)))
    undecided = replace(differs, adjusted_p=0.2)
    assert "Slopes and gains" not in equal_kl(_view(*runs, slopes=(undecided,)))


@pytest.mark.parametrize(
    ("gain", "slope", "words"),
    [
        (1.0, Slope(2.2, -2.6, 7.0, 0.3, 1), "is not shown to differ from 0 (+2.20 [−2.60, 7.00] "
         "per 100 steps): it is fitted to rewards of single batches, while the gain compares"),
        (0.05, Slope(2.2, 0.6, 3.8, 0.01, 1), "is positive (+2.20 [0.60, 3.80] per 100 steps), "
         "but steering is judged by the gain on held-out prompts, which is not shown;"),
        (1.0, Slope(-2.2, -3.8, -0.6, 0.01, 1), "is negative (−2.20 [−3.80, −0.60] per 100 steps): "
         "it is that of a straight line"),
        (1.0, Slope(2.2, 0.6, 3.8, 0.01, 1), ""),
        (1.0, Slope(math.nan, math.nan, math.nan, math.nan, 1), ""),
    ],
)  # fmt: skip
def test_a_slope_that_disagrees_with_the_gain_is_explained(
    gain: float, slope: Slope, words: str
) -> None:
    view = _view(_run("virtue", 4.0, gain), slopes=(SlopeResult("virtue", "", slope),))
    line = _line(view, "virtue")
    assert ("slope of its reward" in line) == bool(words)
    assert words in line


def test_a_slope_of_several_seeds_says_what_its_interval_covers() -> None:
    slope = SlopeResult("virtue", "", Slope(2.2, -2.6, 7.0, 0.3, 2))
    runs = [_run("virtue", 4.0, 1.0, seed=seed) for seed in (0, 1)]
    assert "and its interval covers other seeds" in _line(_view(*runs, slopes=(slope,)), "virtue")

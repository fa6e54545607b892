"""The simulation of collections: its truth, and that it runs."""

from __future__ import annotations

import numpy as np
import pytest

import simulate_collection as simulation


def test_the_truth_is_of_the_average_over_prompts_and_annotators():
    alike = simulation.Setting(3, 10, 2, 10, 0.0, 0.0, nu=0.4)
    assert alike.truth() == pytest.approx(alike.strengths, abs=1e-5)
    varied = simulation.Setting(2, 10, 2, 10, 0.8, 0.6, nu=0.4)
    # the log odds of a win and a loss, each averaged over a normal of variance 2 (0.64 + 0.36)
    difference = 1.2 + 2**0.5 * np.random.default_rng(0).normal(size=1_000_000)
    win, loss = np.exp(difference / 2), np.exp(-difference / 2)
    total = win + loss + 0.4
    expected = np.log((win / total).mean() / (loss / total).mean())
    assert varied.truth()[0] - varied.truth()[1] == pytest.approx(expected, abs=0.01)


def test_a_reward_model_is_the_ridge_of_a_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(1)
    rows = generator.normal(size=(60, simulation.FEATURES))
    outcomes = np.where(generator.random(60) < 1 / (1 + np.exp(-rows[:, 0])), 1.0, -1.0)
    expected = LogisticRegression(C=1 / simulation.RIDGE, fit_intercept=False, tol=1e-10).fit(
        rows, outcomes
    )
    assert simulation.reward_model(rows, outcomes) == pytest.approx(expected.coef_[0], abs=1e-4)


def test_the_judgements_needed_are_those_at_which_a_curve_first_reaches_the_target():
    curve = np.array([0.7, 0.81, 0.79, 0.9])
    assert simulation.needed(curve, 0.8) == simulation.FIRST + simulation.STEP
    assert simulation.needed(curve, 0.7) == simulation.FIRST
    assert simulation.needed(curve, 0.95) == float("inf")


@pytest.mark.parametrize("choice", ["random", "disagreement", "uncertainty"])
def test_a_curve_rises(choice, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(simulation, "JUDGEMENTS", 150)
    curve = simulation.curve(choice, 3, renewed=False)
    assert len(curve) == 11
    assert curve == simulation.curve(choice, 3, renewed=False)
    assert curve[-1] > curve[0] > 0.5


def test_coverage_is_a_line_of_numbers():
    line = simulation.coverage(simulation.SETTINGS[-1], 5)
    numbers = [float(word) for word in line.replace("±", " ").split()[:5]]
    assert all(0 <= number <= 1 for number in numbers[:4])

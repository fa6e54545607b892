"""Reward models and steering: their quality, each arm's gain in reward, and its rate."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from ethosteer import catalog
from ethosteer.report.blocks import Cell, Table
from ethosteer.report.differences import CORRECTIONS
from ethosteer.report.numbers import MINUS, listing, p_value, signed
from ethosteer.report.reward_models import doubt_of, reward_unit
from ethosteer.report.table import Numbers, cell, record_table
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult, SlopeResult
from ethosteer.results.estimates import Slope
from ethosteer.results.reward_models import ValidationPoint

TOO_FEW = "too few points"
DIFFER = "differ"
RULES = {
    "step": "The evaluated checkpoint is each arm's last step.",
    "kl": "The evaluated checkpoint is each arm's last within the study's KL target, so arms are "
    "compared at about equal KL, not at equal steps.",
}


def reward_table(view: View) -> Table:
    """Return how well each reward model tells held-out pairs apart, and its normalisation."""

    def accuracy(run: ArmResult) -> Cell:
        reason = doubt_of(run)
        return cell(run.accuracy, flags=[reason] if reason else [])

    return record_table(
        "Reward models",
        view.runs,
        {
            "arm": lambda run: run.arm,
            Numbers("seed"): lambda run: str(run.seed),
            Numbers("held-out accuracy"): accuracy,
            "pairs": lambda run: run.accuracy.n,
            "accuracy at matched length": lambda run: (
                None if isnan(run.matched_accuracy.value) else run.matched_accuracy
            ),
            Numbers("correlation with length", signed, 2): lambda run: run.length_correlation,
            "normalisation gain": lambda run: run.normalisation_gain,
            "normalisation bias": lambda run: run.normalisation_bias,
            "step kept": lambda run: kept.step if (kept := kept_point(run)) else None,
        },
        note="Accuracy: share of held-out pairs whose chosen response has the higher reward "
        "(chance: 0.5). At matched length: as if the chosen response were as often the longer as "
        "the shorter one; a reward that follows length alone has 0.5. Flagged: nothing is "
        "concluded from these rewards. Gain and bias normalise rewards, in "
        f"{reward_unit(view)}, whose mean is 0. "
        "Step kept: the training step with the lowest loss on validation pairs (early stopping).",
    )


def kept_point(run: ArmResult) -> ValidationPoint | None:
    """Return the validation point of the weights that were kept, None without validation."""
    return min(run.validation, key=lambda point: point.loss, default=None)


def validation_table(view: View) -> Table | None:
    """Return the course of every reward model on its validation pairs; None where there is none."""
    points = [(run, point) for run in view.runs for point in run.validation]
    if not points:
        return None
    return record_table(
        "Reward models on validation pairs during training",
        points,
        {
            "arm": lambda row: row[0].arm,
            Numbers("seed"): lambda row: str(row[0].seed),
            "step": lambda row: row[1].step,
            "loss": lambda row: row[1].loss,
            "accuracy": lambda row: row[1].accuracy,
            "": lambda row: "kept" if row[1] == kept_point(row[0]) else "",
        },
        folded=True,
    )


def evaluated_step(result: ArmResult) -> int | None:
    """Return the step of the evaluated checkpoint, None where a study did not keep it.

    Such a study's field is 0, as is that of an arm that was stopped at its first step.
    """
    known = result.step > 0 or result.stopped or result.select == "kl"
    return result.step if known else None


def steering_table(view: View) -> Table:
    """Return each arm's reward before and after steering, and the KL of its checkpoint."""
    rules = dict.fromkeys(RULES.get(run.select, run.select) for run in view.runs)

    def algorithm(run: ArmResult) -> Cell:
        name, reward_model = catalog.algorithm_title(run.algorithm), run.reward_model
        shared = reward_model and reward_model != run.arm
        return cell(name, small=[f"reward model: {reward_model}"] if shared else [])

    def step(run: ArmResult) -> Cell:
        stopped = [f"stopped early: {run.stopped}"] if run.stopped else []
        return cell(evaluated_step(run), flags=stopped)

    return record_table(
        "Steering",
        view.runs,
        {
            "arm": lambda run: run.arm,
            Numbers("seed"): lambda run: str(run.seed),
            "algorithm": algorithm,
            Numbers("evaluated step"): step,
            Numbers("reward before", digits=2): lambda run: run.start,
            Numbers("reward after", digits=2): lambda run: run.end,
            Numbers("gain", signed, 2): lambda run: run.gain,
            Numbers("KL, nats per response", digits=2): lambda run: run.kl,
            "prompts": lambda run: run.gain.n,
        },
        note=f"Normalised reward ({reward_unit(view)}) under the arm's own reward model on "
        f"held-out prompts; the gain is the paired difference. {' '.join(rules)}",
    )


def slope_tables(view: View) -> tuple[Table, ...]:
    """Return every arm's slope of reward over steps, and their differences, where there are any."""
    arms = [result for result in view.results.slopes if not result.b]
    pairs = [result for result in view.results.slopes if result.b]
    rates = record_table(
        "Slope of reward over steps",
        arms,
        {
            "arm": lambda result: result.a,
            "algorithm": lambda result: _algorithms(view, result.a),
            Numbers("slope per 100 steps", signed): _slope,
            Numbers("p", p_value): lambda result: _known(result, result.slope.p),
            "seeds": lambda result: result.slope.seeds,
        },
        note=f"Least-squares slope of the arm's own reward ({reward_unit(view)}) over all steps, "
        f"with its 95 % confidence interval; p tests a slope of 0. {_interval_note(arms)}",
    )
    differences = record_table(
        "Differences in slope",
        pairs,
        {
            f"a {MINUS} b": lambda result: f"{result.a} {MINUS} {result.b}",
            "algorithm": lambda result: _algorithms(view, result.a),
            Numbers("difference per 100 steps", signed): _slope,
            Numbers("p", p_value): lambda result: _known(result, result.slope.p),
            Numbers("adjusted p", p_value): lambda result: _known(result, result.adjusted_p),
            "result": lambda result: slope_verdict(result, view.results.alpha),
        },
        note="Between arms steered by the same algorithm, paired by step on the same prompts; p "
        f"adjusted by {CORRECTIONS[view.results.correction]} over all pairs. Two arms differ where "
        f"the adjusted p is below {view.results.alpha:g} and the interval excludes 0. "
        f"{_interval_note(pairs)}",
    )
    return tuple(made for made in (rates, differences) if made.rows)


def slope_verdict(result: SlopeResult, alpha: float) -> str:
    """Return whether two slopes differ: only where the adjusted p and the interval both say so."""
    if isnan(result.slope.value):
        return TOO_FEW
    excludes_zero = result.slope.low > 0 or result.slope.high < 0
    return DIFFER if excludes_zero and result.adjusted_p < alpha else "no difference shown"


def slope_of(view: View, arm: str) -> Slope | None:
    """Return the slope of an arm's reward over steps; None where it is unknown."""
    slopes = (result.slope for result in view.results.slopes if (result.a, result.b) == (arm, ""))
    return next((slope for slope in slopes if not isnan(slope.value)), None)


def _slope(result: SlopeResult) -> Slope | str:
    return TOO_FEW if isnan(result.slope.value) else result.slope


def _known(result: SlopeResult, p: float) -> float | None:
    return None if isnan(result.slope.value) else p


def _interval_note(results: Sequence[SlopeResult]) -> str:
    """Return what the intervals cover: seeds, or the noise along a single run."""
    if any(result.slope.seeds == 1 for result in results):
        return (
            "With a single seed, the interval covers the noise along that run only, not the "
            "variation between seeds."
        )
    return "Intervals and p-values come from Student's t over seeds."


def _algorithms(view: View, arm: str) -> str | None:
    names = dict.fromkeys(result.algorithm for result in view.arm_results(arm))
    return listing([catalog.algorithm_title(name) for name in names]) or None

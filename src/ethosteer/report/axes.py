"""The axes of the charts of steering: what each shows of a curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, isfinite, nan

from ethosteer import catalog
from ethosteer.report.reward_models import reward_unit
from ethosteer.report.steering import evaluated_step
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult
from ethosteer.results.steering import CurvePoint

POINTS_OVER_STEPS = 120
POINTS_ALONG_KL = 24
RUNAWAY = 2.0
"""A stopped arm is drawn up to this many times the largest KL of the arms that were not."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What an axis shows: of every point of a curve, and of the evaluated checkpoint."""

    label: str
    measured: Callable[[CurvePoint], float]
    evaluated: Callable[[ArmResult], float]


@dataclass(frozen=True, slots=True)
class Axes:
    """One chart of curves: at most ``points`` of each line, stopped arms up to a KL of ``limit``.

    x_digits, y_digits: decimals of the numbers below it.
    banded: seeds are shown as a band around their mean, else as lines.
    """

    title: str
    x: Quantity
    y: Quantity
    points: int = POINTS_OVER_STEPS
    limit: float = inf
    x_digits: int = 0
    y_digits: int = 2
    banded: bool = True


def all_axes(view: View) -> tuple[Axes, Axes, Axes]:
    """Return the axes of reward over steps, KL over steps, and reward against KL."""
    names = {catalog.algorithm_title(result.algorithm) for result in view.results.arms}
    step = Quantity(
        f"{names.pop()} step" if len(names) == 1 else "step",
        lambda point: point.step,
        lambda result: nan if (step := evaluated_step(result)) is None else step,
    )
    reward = Quantity(
        f"reward, {reward_unit(view)}",
        lambda point: point.reward,
        lambda result: result.end.value,
    )
    kl = Quantity(
        "KL to the reference, nats", lambda point: point.kl, lambda result: result.kl.value
    )
    limit = _kl_limit(view.results.arms)
    return (
        Axes("Reward over steps", step, reward),
        Axes("KL over steps", step, kl, limit=limit),
        Axes("Reward against KL", kl, reward, POINTS_ALONG_KL, limit, x_digits=2, banded=False),
    )


def _kl_limit(results: Iterable[ArmResult]) -> float:
    """Return the KL up to which stopped arms are drawn: one far beyond would flatten the rest."""
    completed = [result for result in results if not result.stopped]
    measured = [point.kl for result in completed for point in result.curve]
    measured += [result.kl.value for result in completed]
    largest = max(filter(isfinite, measured), default=0.0)
    return RUNAWAY * largest if largest > 0 else inf


def engine_axes(view: View) -> list[tuple[str, Axes]]:
    """Return the axes of the disagreement between engine and trainer, where an engine sampled."""
    points = [point for result in view.results.arms for point in result.curve]
    if all(point.engine_difference is None for point in points):
        return []

    def measured(point: CurvePoint) -> float:
        return nan if point.engine_difference is None else point.engine_difference

    difference = Quantity("mean |difference of log p|, nats per token", measured, lambda _: nan)
    step = all_axes(view)[0].x
    return [("curve-engine", Axes("Engine against trainer", step, difference, y_digits=4))]

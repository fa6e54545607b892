"""Curves of unequal length, with gaps, and of arms that ran away."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from ethosteer.report.axes import all_axes
from ethosteer.report.curves import (
    arm_figures,
    binned,
    curve_figures,
    line_of,
    mean_line,
    reward_model_figures,
)
from ethosteer.report.view import View
from ethosteer.results.steering import CurvePoint
from tests.report.example import ARMS, example_results

RESULTS = example_results()
VIEW = View(RESULTS)
POINT = replace(RESULTS.arms[0].curve[0], rewards={})


def _curve(rewards: dict[int, float]) -> tuple[CurvePoint, ...]:
    return tuple(
        replace(POINT, step=step, reward=value, kl=step / 10) for step, value in rewards.items()
    )


def _study(*curves: dict[int, float], stopped: str = "") -> View:
    """Return a study of one arm, a seed for every curve; the last seed may have been stopped."""
    arms = [
        replace(RESULTS.arms[0], arm="virtue", seed=seed, curve=_curve(rewards), stopped="")
        for seed, rewards in enumerate(curves)
    ]
    arms[-1] = replace(arms[-1], stopped=stopped)
    seeds = tuple(range(len(curves)))
    return View(
        replace(RESULTS, models=("base", "fine-tuned", "virtue"), arms=tuple(arms), seeds=seeds)
    )


def test_seeds_are_averaged_by_step_and_not_by_index() -> None:
    lines = [{1: (0.0, 1.0), 2: (0.0, 3.0)}, {2: (1.0, 5.0), 3: (9.0, 9.0)}]
    assert mean_line(lines) == {2: (0.5, 4.0)}
    assert mean_line([]) == {}
    sparse = {0: 1.0, 5: 3.0, 10: 5.0}
    whole = dict.fromkeys(range(8), 2.0)
    (reward, _, _) = curve_figures(_study(whole, sparse))
    rows = [[cell.text for cell in row] for row in reward.table.rows]
    assert rows == [["virtue", "0", "1.50"], ["virtue", "5", "2.50"]]


def test_points_are_averaged_by_step_and_not_by_index() -> None:
    line = {0: (0.0, 1.0), 1: (1.0, 3.0), 10: (10.0, 7.0), 11: (11.0, 9.0), 12: (12.0, 4.0)}
    assert binned(line, 2) == ((0.5, 2.0), (10.5, 8.0), (12.0, 4.0))
    assert binned(line, 1) == tuple(line.values())
    assert binned({}, 3) == ()


def test_a_stopped_seed_ends_the_mean_but_not_the_others_line() -> None:
    long, short = dict.fromkeys(range(10), 1.0), dict.fromkeys(range(4), 3.0)
    (reward, _, _) = curve_figures(_study(long, short, stopped="astray"))
    counts: dict[str, list[int]] = {"line mean s0": [], "line seed s0": []}
    for element in ET.fromstring(reward.svg).iter("polyline"):
        counts[element.get("class") or ""].append(len((element.get("points") or "").split()))
    assert counts == {"line mean s0": [4], "line seed s0": [10, 4]}


def test_points_that_are_not_finite_are_left_out() -> None:
    axes = all_axes(VIEW)[0]
    (result,) = _study({0: 1.0, 1: math.nan, 2: 3.0}).results.arms
    assert list(line_of(result, axes)) == [0, 2]
    for figure in curve_figures(_study({0: 1.0, 1: math.nan, 2: 3.0})):
        assert "nan" not in figure.svg
        assert "n/a" not in [cell.text for row in figure.table.rows for cell in row]


def _y_ticks(svg: str) -> list[float]:
    texts = [e for e in ET.fromstring(svg).iter("text") if e.get("class") == "tick"]
    return [float(e.text or "") for e in texts if e.get("text-anchor") == "end"]


def test_an_arm_that_ran_away_does_not_flatten_the_rest() -> None:
    reward, kl, against = curve_figures(VIEW)
    for figure in (kl, against):
        assert "the end of deontology (229 nats)" in figure.note
    assert "Not drawn" not in reward.note
    assert max(_y_ticks(kl.svg)) < 20
    calm = View(replace(RESULTS, arms=tuple(replace(each, stopped="") for each in RESULTS.arms)))
    whole = curve_figures(calm)[1]
    assert "Not drawn" not in whole.note
    assert max(_y_ticks(whole.svg)) > 100


def test_the_evaluated_checkpoint_is_marked_where_it_was_measured() -> None:
    (reward, _, against) = curve_figures(VIEW)
    marks = [e.get("class") for e in ET.fromstring(against.svg).iter("path")]
    # deontology's seeds were evaluated at different steps, so each has its mark
    assert marks == ["pick s0", "pick s0", "pick s1", "pick s2", "pick s3"]
    view = _study({0: 0.0, 100: 1.0})
    (only,) = view.results.arms
    end = replace(only.end, value=1.0)
    kl = replace(only.kl, value=10.0)
    placed = View(replace(view.results, arms=(replace(only, end=end, kl=kl, step=100),)))
    for figure in (curve_figures(placed)[0], curve_figures(placed)[2]):
        root = ET.fromstring(figure.svg)
        dot = next(root.iter("circle"))
        path = next(root.iter("path")).get("d") or ""
        x, y = (float(part) for part in re.findall(r"[\d.]+", path)[:2])
        assert abs(x - float(dot.get("cx") or "")) < 0.11
        assert abs(y + 6 - float(dot.get("cy") or "")) < 0.11
    assert "Diamond: the evaluated checkpoint" in reward.note


def test_a_step_that_was_not_kept_has_no_mark_over_steps() -> None:
    view = _study({0: 0.0, 1: 1.0})
    older = View(replace(view.results, arms=(replace(view.results.arms[0], step=0),)))
    over_steps, _, against = curve_figures(older)
    assert "<path" not in over_steps.svg
    assert "<path" in against.svg


def test_each_arm_has_its_own_chart_on_shared_scales() -> None:
    figures = arm_figures(VIEW)
    assert [figure.title for figure in figures] == [f"{arm}: reward against KL" for arm in ARMS]
    ticks = set()
    for figure in figures:
        root = ET.fromstring(figure.svg)
        lines = [e.get("class") or "" for e in root.iter("polyline")]
        assert lines.count("line quiet") == len(ARMS) - 1
        assert sum(line.startswith("line mean") for line in lines) == 2
        assert len(list(root.iter("path"))) == 2
        ticks.add(tuple(e.text for e in root.iter("text") if e.get("class") == "tick"))
    assert len(ticks) == 1
    evaluated = [row for row in figures[0].table.rows if "evaluated" in row[0].text]
    assert [cell.text for cell in evaluated[1]] == ["seed 1, evaluated", "4.10", "0.96"]
    assert "Seed 1 was stopped early" in figures[0].note
    assert arm_figures(_study({0: 0.0, 1: 1.0})) == ()


def test_arms_are_drawn_under_every_reward_model() -> None:
    figures = reward_model_figures(VIEW)
    assert [figure.title for figure in figures] == [
        f"Answers of {arm} under every reward model" for arm in ARMS
    ]
    rows = [[cell.text for cell in row] for row in figures[1].table.rows if row[0].text == "virtue"]
    assert len(rows) == 5
    assert float(rows[-1][2].replace("−", "-")) == pytest.approx(-0.6, abs=0.15)
    assert "Own reward model: harmless." in figures[1].note
    assert reward_model_figures(_study({0: 0.0, 1: 1.0})) == ()


def test_steps_are_named_after_the_only_algorithm() -> None:
    assert all_axes(VIEW)[0].x.label == "step"
    assert all_axes(_study({0: 0.0}))[0].x.label == "PPO step"


def test_the_disagreement_with_an_engine_is_drawn_where_one_sampled():
    names = [figure.title for figure in curve_figures(VIEW)]
    arms = tuple(
        replace(
            result,
            curve=tuple(
                replace(point, engine_difference=0.0012, engine_largest=0.5)
                for point in result.curve
            ),
        )
        if result.arm == RESULTS.arms[0].arm
        else result
        for result in RESULTS.arms
    )
    *others, figure = curve_figures(View(replace(RESULTS, arms=arms)))
    assert [other.title for other in others] == names
    assert figure.title == "Engine against trainer"
    assert "Diamond" not in figure.note and "Diamond" in others[0].note
    assert {row[0].text for row in figure.table.rows} == {RESULTS.arms[0].arm}
    assert {row[2].text for row in figure.table.rows} == {"0.0012"}

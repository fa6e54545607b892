"""Where arms ended, and how fast rewards rose."""

import math
from dataclasses import replace

import pytest

from ethosteer.report.blocks import Cell
from ethosteer.report.steering import (
    TOO_FEW,
    reward_table,
    slope_tables,
    slope_verdict,
    steering_table,
    validation_table,
)
from ethosteer.report.view import View
from ethosteer.results.arms import SlopeResult
from ethosteer.results.estimates import Slope
from ethosteer.results.reward_models import ValidationPoint
from tests.report.example import ARMS, example_results

RESULTS = example_results()
VIEW = View(RESULTS)
NAN = math.nan


def _with_arms(**changes: object) -> View:
    arms = tuple(replace(each, **changes) for each in RESULTS.arms)  # type: ignore[arg-type]
    return View(replace(RESULTS, arms=arms))


def test_arms_show_algorithm_step_and_why_they_were_stopped() -> None:
    rows = steering_table(VIEW).rows
    kl = f"{RESULTS.arms[0].kl.value:.2f}"
    assert [cell.text for cell in rows[0]] == [
        "deontology", "0", "PPO", "400", "0.00", "1.10", "+1.10", kl, "64",
    ]  # fmt: skip
    assert rows[1][3] == Cell(
        "206", flags=("stopped early: KL 230 nats at step 207, above max_kl 200",)
    )
    assert [row[2].text for row in rows] == ["PPO"] * 4 + ["DPO"] * 2 + ["PPO"] * 2
    assert sum(bool(cell.flags) for row in rows for cell in row) == 1


def test_the_rule_for_checkpoints_is_said_in_words() -> None:
    assert "The evaluated checkpoint is each arm's last step." in steering_table(VIEW).note
    at_kl = steering_table(_with_arms(select="kl")).note
    assert "last within the study's KL target" in at_kl
    assert "last step" not in at_kl


def test_a_step_that_was_not_kept_is_no_step() -> None:
    assert steering_table(_with_arms(step=0, stopped="")).rows[0][3].text == "–"
    assert steering_table(_with_arms(step=0, stopped="at once")).rows[0][3].text == "0"
    assert steering_table(_with_arms(step=0, stopped="", select="kl")).rows[0][3].text == "0"


def test_rates_and_differences_are_the_results() -> None:
    rates, differences = slope_tables(VIEW)
    assert [row[0].text for row in rates.rows] == list(ARMS)
    assert rates.rows[1] == (
        Cell("harmless"), Cell("PPO"), Cell("+0.412", ("[0.372, 0.452]",)), Cell("<\u202f0.001"),
        Cell("2"),
    )  # fmt: skip
    assert [[cell.text for cell in row] for row in differences.rows] == [
        ["deontology − harmless", "PPO", "−0.191", "0.001", "0.003", "differ"],
        ["deontology − virtue", "PPO", "−0.082", "0.001", "0.210", "no difference shown"],
        ["harmless − virtue", "PPO", "+0.109", "0.001", "0.048", "differ"],
    ]
    assert [column.kind for column in differences.columns[2:5]] == ["number"] * 3


@pytest.mark.parametrize(
    ("low", "high", "adjusted", "words"),
    [
        (0.1, 0.3, 0.049, "differ"),
        (-0.3, -0.1, 0.049, "differ"),
        (0.1, 0.3, 0.05, "no difference shown"),
        (-0.1, 0.3, 0.01, "no difference shown"),
        (0.1, 0.3, NAN, "no difference shown"),
        (NAN, NAN, 0.01, "no difference shown"),
    ],
)
def test_words_need_both_p_and_interval(
    low: float, high: float, adjusted: float, words: str
) -> None:
    assert (
        slope_verdict(SlopeResult("a", "b", Slope(0.2, low, high, 0.01, 2), adjusted), 0.05)
        == words
    )


def test_a_slope_that_is_unknown_is_not_enough_data() -> None:
    unknown = Slope(NAN, NAN, NAN, NAN, 2)
    slopes = (SlopeResult("virtue", "", unknown), SlopeResult("virtue", "harmless", unknown))
    rates, differences = slope_tables(View(replace(RESULTS, slopes=slopes)))
    assert [cell.text for cell in rates.rows[0]] == ["virtue", "PPO", TOO_FEW, "–", "2"]
    assert [cell.text for cell in differences.rows[0]][2:] == [TOO_FEW, "–", "–", TOO_FEW]


def test_one_seed_is_told_from_several() -> None:
    words = "covers the noise along that run only"
    for table in slope_tables(View(example_results(seeds=(0,)))):
        assert words in table.note
    for table in slope_tables(VIEW):
        assert words not in table.note
        assert "Student's t over seeds" in table.note


def test_without_slopes_there_are_no_tables() -> None:
    assert slope_tables(View(replace(RESULTS, slopes=()))) == ()
    only = slope_tables(View(replace(RESULTS, slopes=RESULTS.slopes[:4])))
    assert [table.title for table in only] == ["Slope of reward over steps"]


def test_reward_models() -> None:
    rewards = [[cell.text for cell in row] for row in reward_table(VIEW).rows]
    assert rewards[-1] == ["virtue", "1", "0.770", "400", "0.750", "+0.30", "1.130", "0.290", "–"]


def test_early_stopping_is_shown_where_there_was_validation() -> None:
    assert validation_table(VIEW) is None
    points = [(5, 0.7, 0.4), (10, 0.5, 0.8), (15, 0.6, 0.9)]
    view = _with_arms(validation=tuple(ValidationPoint(*point) for point in points))
    assert {row[-1].text for row in reward_table(view).rows} == {"10"}
    table = validation_table(view)
    assert table is not None
    rows = [[cell.text for cell in row] for row in table.rows[:3]]
    assert [row[2:] for row in rows] == [
        ["5", "0.700", "0.400", ""], ["10", "0.500", "0.800", "kept"], ["15", "0.600", "0.900", ""],
    ]  # fmt: skip

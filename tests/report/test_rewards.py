"""The matrices of rewards and accuracies: golden cells, what is marked, and what is said."""

import math
from dataclasses import replace

from ethosteer.report.blocks import Bullets, Cell, Table, Text
from ethosteer.report.rewards import (
    accuracy_matrix,
    reward_blocks,
    reward_matrix,
    rises,
)
from ethosteer.report.view import View
from ethosteer.results.comparisons import Verdict
from ethosteer.results.estimates import Estimate
from ethosteer.results.reward_models import CrossCell
from tests.report.example import ARMS, MODELS, example_results

RESULTS = example_results()
VIEW = View(RESULTS)
NO_CONFLICT = Text(
    "No arm scored significantly above fine-tuned under its own reward model and significantly "
    "below it under another."
)


def _cell(table: Table | None, row: str, column: str) -> Cell:
    assert table is not None
    place = [head.head for head in table.columns].index(f"reward: {column}")
    return next(cells for cells in table.rows if cells[0].text == row)[place]


def _with(model: str, reward_model: str, difference: float, verdict: Verdict) -> View:
    """Return the example with one comparison of rewards changed."""
    changed = tuple(
        replace(each, difference=Estimate(difference, math.nan, math.nan, 64), verdict=verdict)
        if (each.a, each.benchmark) == (model, reward_model)
        else each
        for each in RESULTS.reward_comparisons
    )
    return View(replace(RESULTS, reward_comparisons=changed))


def _said(view: View, title: str) -> tuple[str, ...]:
    found = [each for each in reward_blocks(view) if isinstance(each, Bullets)]
    return next((each.items for each in found if each.title.startswith(title)), ())


def test_rewards_stand_where_their_model_and_reward_model_meet() -> None:
    table = reward_matrix(VIEW)
    assert table is not None
    assert [row[0].text for row in table.rows] == list(MODELS)
    assert [column.head for column in table.columns[1:]] == [f"reward: {arm}" for arm in ARMS]
    assert {column.kind for column in table.columns[1:]} == {"number"}
    assert _cell(table, "harmless", "virtue") == Cell("↓ −0.64", ("[−0.79, −0.49]",), tint=-2)
    assert _cell(table, "virtue", "harmless") == Cell("−0.19", ("[−0.34, −0.04]",))
    own = Cell("↑ +1.95", ("[1.80, 2.10]", "own"), tint=3, ring=True)
    assert _cell(table, "harmless", "harmless") == own
    assert _cell(table, "deontology", "virtue").tint == 1
    assert "over the same 64 held-out prompts" in table.note


def test_only_an_arms_own_reward_is_framed_and_controls_are_never_tinted() -> None:
    table = reward_matrix(VIEW)
    assert table is not None
    framed = [
        (row[0].text, place) for row in table.rows for place, cell in enumerate(row) if cell.ring
    ]
    assert framed == [(arm, place + 1) for place, arm in enumerate(ARMS)]
    assert {cell.tint for row in table.rows[:2] for cell in row} == {0}


def test_a_cell_is_tinted_only_where_the_difference_is_shown() -> None:
    undecided = _with("virtue", "harmless", 0.7, "undecided")
    assert _cell(reward_matrix(undecided), "virtue", "harmless").tint == 0
    shown = _with("virtue", "harmless", 0.7, "better")
    assert _cell(reward_matrix(shown), "virtue", "harmless").tint == 2
    assert _cell(reward_matrix(shown), "virtue", "harmless").text == "↑ −0.19"
    equal = _with("virtue", "harmless", 0.01, "equivalent")
    assert _cell(reward_matrix(equal), "virtue", "harmless").tint == 0
    none = View(replace(RESULTS, reward_comparisons=()))
    table = reward_matrix(none)
    assert table is not None
    assert {cell.tint for row in table.rows for cell in row} == {0}


def test_a_rise_beside_a_fall_is_said_with_both_numbers() -> None:
    assert _said(VIEW, "Conflicts") == (
        "harmless scored above fine-tuned under its own reward model (+1.95 [1.80, 2.10]) but "
        "below it under the reward models of deontology (−0.36 [−0.51, −0.21]) and virtue (−0.64 "
        "[−0.79, −0.49]).",
    )


def test_a_fall_without_a_rise_is_no_conflict() -> None:
    flat = _with("harmless", "harmless", 0.1, "undecided")
    assert rises(flat, "harmless") is None
    assert _said(flat, "Conflicts") == ()
    assert NO_CONFLICT in reward_blocks(flat)
    assert NO_CONFLICT not in reward_blocks(VIEW)


def test_accuracies_are_held_to_chance() -> None:
    table = accuracy_matrix(VIEW)
    assert table is not None
    assert [row[0] for row in table.rows] == [Cell(arm, ("200 pairs",)) for arm in ARMS]
    assert _cell(table, "harmless", "virtue") == Cell("↓ 0.38", ("[0.32, 0.44]",), tint=-2)
    assert _cell(table, "virtue", "harmless") == Cell("↓ 0.41", ("[0.35, 0.47]",), tint=-1)
    assert _cell(table, "harmless", "deontology") == Cell("0.44", ("[0.38, 0.50]",))
    own = Cell("↑ 0.77", ("[0.71, 0.83]", "own"), tint=3, ring=True)
    assert _cell(table, "virtue", "virtue") == own
    said = _said(VIEW, "Datasets that contradict")
    assert [line.partition(" preferred")[0] for line in said] == [
        "The reward model of virtue", "The reward model of harmless",
    ]  # fmt: skip
    assert "harmless's pairs" in said[0]


def test_an_arm_that_shares_pairs_is_held_to_their_reward_model() -> None:
    """A second arm of virtue's pairs: the same reward model, so the same scale in every seed."""
    again = tuple(
        replace(each, arm="virtue-rloo", reward_model="virtue", algorithm="rloo")
        for each in RESULTS.arms
        if each.arm == "virtue"
    )
    cells = tuple(
        CrossCell("virtue-rloo", cell.reward_model, cell.estimate)
        for cell in RESULTS.cross_rewards
        if cell.name == "virtue"
    )
    view = View(
        replace(
            RESULTS,
            models=(*MODELS, "virtue-rloo"),
            arms=(*RESULTS.arms, *again),
            cross_rewards=(*RESULTS.cross_rewards, *cells),
        )
    )
    assert view.reward_model_of("virtue-rloo") == "virtue"
    assert view.reward_model_of("fine-tuned") is None
    table = reward_matrix(view)
    assert _cell(table, "virtue-rloo", "virtue").ring
    assert table is not None
    assert table.rows[-1][0].small == ("reward model: virtue",)
    assert len(table.columns) == 1 + len(ARMS)


def test_nothing_measured_nothing_shown() -> None:
    arms = tuple(
        replace(each, curve=tuple(replace(point, rewards={}) for point in each.curve))
        for each in RESULTS.arms
    )
    bare = replace(RESULTS, arms=arms, cross_rewards=(), cross_accuracies=())
    assert reward_blocks(View(bare)) == ()
    only = View(replace(bare, cross_accuracies=RESULTS.cross_accuracies))
    assert accuracy_matrix(only) in reward_blocks(only)
    missing = View(replace(RESULTS, cross_rewards=RESULTS.cross_rewards[:-1]))
    assert _cell(reward_matrix(missing), "virtue", "virtue") == Cell("–")

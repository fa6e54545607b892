"""No conclusion rests on a reward model at chance, or on one that may follow length alone."""

import math
from dataclasses import replace

import pytest

from ethosteer.report import first_screen
from ethosteer.report.answer import answer
from ethosteer.report.axes import all_axes
from ethosteer.report.blocks import Bullets, Table, Text
from ethosteer.report.certainty import limits
from ethosteer.report.glossary import explained
from ethosteer.report.reward_models import doubt_of, doubts, is_sound, reward_unit, warnings
from ethosteer.report.rewards import accuracy_matrix, falls, reward_blocks, reward_matrix, rises
from ethosteer.report.steering import reward_table, slope_tables, steering_table
from ethosteer.report.view import View
from ethosteer.results.estimates import UNKNOWN, Estimate
from tests.report.example import ARMS, MODELS, example_results

RESULTS = example_results()
VIEW = View(RESULTS)
AT_CHANCE = Estimate(0.53, 0.42, 0.64, 200)
ABOVE = Estimate(0.8, 0.74, 0.86, 200)


def _with(arm: str, seed: int | None = None, **changes: object) -> View:
    """Return the example with the reward model of one arm changed, in one seed or in all."""
    arms = tuple(
        replace(run, **changes)  # type: ignore[arg-type]
        if run.arm == arm and seed in (None, run.seed)
        else run
        for run in RESULTS.arms
    )
    return View(replace(RESULTS, arms=arms))


def _bullets(view: View, title: str) -> tuple[str, ...]:
    blocks = (*answer(view), *reward_blocks(view))
    found = [block for block in blocks if isinstance(block, Bullets)]
    return next((block.items for block in found if block.title.startswith(title)), ())


def _tints(table: Table | None, column: str) -> list[int]:
    assert table is not None
    index = [head.head for head in table.columns].index(f"reward: {column}")
    return [cells[index].tint for cells in table.rows]


@pytest.mark.parametrize(
    ("accuracy", "matched", "correlation", "reason"),
    [
        (ABOVE, ABOVE, 0.1, None),
        (AT_CHANCE, ABOVE, 0.1, "not above chance"),
        (replace(ABOVE, low=0.5), ABOVE, 0.1, "not above chance"),
        (Estimate(0.3, 0.2, 0.4, 9), ABOVE, 0.1, "not above chance"),
        (UNKNOWN, ABOVE, 0.1, "not above chance"),
        (ABOVE, AT_CHANCE, 0.1, "not above chance at matched length"),
        (ABOVE, UNKNOWN, 0.9, "length not excluded"),
        (ABOVE, UNKNOWN, 0.0, "length not excluded"),
        (ABOVE, UNKNOWN, math.nan, None),  # all responses have one length
    ],
)
def test_conclusions_need_an_accuracy_above_chance_also_at_matched_length(
    accuracy: Estimate, matched: Estimate, correlation: float, reason: str | None
) -> None:
    run = replace(
        RESULTS.arms[0],
        accuracy=accuracy,
        matched_accuracy=matched,
        length_correlation=correlation,
    )
    assert doubt_of(run) == reason


def test_one_seed_at_chance_is_enough_for_doubt() -> None:
    assert doubts(VIEW) == {}
    view = _with("virtue", seed=1, accuracy=AT_CHANCE)
    assert list(doubts(view)) == ["virtue"]
    assert not is_sound(view, "virtue") and is_sound(view, "harmless")
    assert warnings(view) == (
        "The reward model of virtue is not shown to be above chance on held-out pairs "
        "(seed 1: 0.53 [0.42, 0.64]); nothing is concluded from its rewards.",
    )


def test_the_gravest_reason_and_the_lowest_accuracy_are_named() -> None:
    mixed = _with("virtue", seed=0, matched_accuracy=UNKNOWN)
    lower = replace(AT_CHANCE, value=0.5)
    arms = tuple(
        replace(run, matched_accuracy=lower) if (run.arm, run.seed) == ("virtue", 1) else run
        for run in mixed.results.arms
    )
    doubt = doubts(View(replace(RESULTS, arms=arms)))["virtue"]
    assert (doubt.reason, doubt.run.seed) == ("not above chance at matched length", 1)
    assert doubt.estimate == lower
    both = tuple(
        replace(run, accuracy=replace(AT_CHANCE, value=0.55 - 0.04 * run.seed))
        if run.arm == "virtue"
        else run
        for run in arms
    )
    assert doubts(View(replace(RESULTS, arms=both)))["virtue"].run.seed == 1


def test_a_reward_model_that_may_follow_length_is_named_with_its_correlation() -> None:

    def at_matched_length(matched: Estimate) -> View:
        perfect = Estimate(1.0, 0.9, 1.0, 42)
        return _with(
            "harmless", accuracy=perfect, length_correlation=0.91, matched_accuracy=matched
        )

    (unknown,) = warnings(at_matched_length(UNKNOWN))
    assert unknown.startswith("The reward model of harmless is above chance on held-out pairs (")
    assert "1.00 [0.90, 1.00]" in unknown and "(correlation +0.91)" in unknown
    (matched,) = warnings(at_matched_length(AT_CHANCE))
    assert "lengths of chosen and rejected responses are matched" in matched
    assert "0.53 [0.42, 0.64]; correlation of its rewards with length +0.91" in matched


def test_doubtful_reward_models_are_a_warning_on_the_first_screen() -> None:
    shown = first_screen.warnings(_with("virtue", accuracy=AT_CHANCE))
    assert shown is not None
    (notice,) = [notice for notice in shown.notices if notice.title == "Reward models"]
    assert notice.text == (
        "Nothing is concluded from the rewards of virtue (accuracy 0.53 [0.42, 0.64], not above "
        "chance)."
    )
    without = first_screen.warnings(VIEW)
    assert without is None or "Reward models" not in [each.title for each in without.notices]


def test_an_arms_rise_is_no_claim_where_its_reward_model_is_at_chance() -> None:
    title = "Reward, KL and cost"
    sound = next(line for line in _bullets(VIEW, title) if line.startswith("virtue: "))
    assert "its own reward rose" in sound
    view = _with("virtue", accuracy=AT_CHANCE)
    lines = _bullets(view, title)
    assert "nothing is concluded from its rewards" in lines[0]
    line = next(line for line in lines if line.startswith("virtue: "))
    assert "rose" not in line
    assert "allows no conclusion, since the reward model is not shown to be above chance;" in line


def test_an_arm_that_shares_a_doubtful_reward_model_is_in_doubt() -> None:
    arms = tuple(
        replace(run, reward_model="virtue") if run.arm == "harmless" else run
        for run in _with("virtue", accuracy=AT_CHANCE).results.arms
    )
    lines = _bullets(View(replace(RESULTS, arms=arms)), "Reward, KL and cost")
    line = next(line for line in lines if line.startswith("harmless: "))
    assert "since the reward model of virtue is not shown to be above chance" in line


def test_no_conflict_rests_on_a_doubtful_reward_model() -> None:
    assert "deontology (−0.36" in _bullets(VIEW, "Conflicts")[0]
    other = _with("deontology", matched_accuracy=AT_CHANCE)
    (conflict,) = _bullets(other, "Conflicts")
    assert "deontology" not in conflict and "virtue (−0.64" in conflict
    assert [cell.reward_model for cell in falls(other, "harmless")] == ["virtue"]
    arm = _with("harmless", accuracy=AT_CHANCE)
    assert rises(arm, "harmless") is None
    assert _bullets(arm, "Conflicts") == ()
    said = [block.text for block in reward_blocks(arm) if isinstance(block, Text)]
    assert any(
        "The reward model of harmless was left out, since nothing is concluded from its rewards."
        in text
        for text in said
    )


@pytest.mark.parametrize(("sound", "words"), [(0, "there is none."), (1, "there is one.")])
def test_without_two_sound_reward_models_no_conflict_is_denied(sound: int, words: str) -> None:
    arms = tuple(
        run if run.arm in ARMS[:sound] else replace(run, accuracy=AT_CHANCE) for run in RESULTS.arms
    )
    blocks = reward_blocks(View(replace(RESULTS, arms=arms)))
    said = [block.text for block in blocks if isinstance(block, Text)]
    assert any(text.endswith(words) for text in said)
    assert not any("No arm scored significantly" in text for text in said)


def test_no_contradiction_rests_on_a_doubtful_reward_model() -> None:
    assert len(_bullets(VIEW, "Datasets that contradict")) == 2
    (only,) = _bullets(_with("virtue", accuracy=AT_CHANCE), "Datasets that contradict")
    assert only.startswith("The reward model of harmless preferred")


def test_columns_of_doubtful_reward_models_have_no_tints() -> None:
    assert any(_tints(reward_matrix(VIEW), "virtue"))
    view = _with("virtue", accuracy=AT_CHANCE)
    for matrix in (reward_matrix(view), accuracy_matrix(view)):
        assert not any(_tints(matrix, "virtue"))
        assert any(_tints(matrix, "harmless"))
        assert matrix is not None
        assert "Without tints: rewards from which nothing is concluded (virtue)." in matrix.note
    for matrix in (reward_matrix(VIEW), accuracy_matrix(VIEW)):
        assert matrix is not None and "Without tints" not in matrix.note
    matrix = accuracy_matrix(view)
    assert matrix is not None
    flags = [flag for row in matrix.rows for entry in row for flag in entry.flags]
    assert flags == ["not above chance"]


def test_the_table_of_reward_models_flags_the_seed() -> None:
    table = reward_table(_with("virtue", seed=1, matched_accuracy=AT_CHANCE))
    flagged = [(row[0].text, row[1].text) for row in table.rows if any(c.flags for c in row)]
    assert flagged == [("virtue", "1")]
    assert not any(entry.flags for row in reward_table(VIEW).rows for entry in row)


def test_the_unit_of_rewards_names_the_base() -> None:
    raw = View(replace(RESULTS, models=("base", *MODELS[2:]), control="base"))
    assert reward_unit(VIEW) == "sd of the fine-tuned base's answers"
    assert reward_unit(raw) == "sd of the raw base's answers"
    for view in (VIEW, raw):
        unit = reward_unit(view)
        assert 'class="term"' in explained(unit), "the unit is in the glossary"
        assert f"reward, {unit}" in [axes.y.label for axes in all_axes(view)]
        for table in (steering_table(view), slope_tables(view)[0], reward_matrix(view)):
            assert table is not None and unit in table.note
        assert any(unit in line for line in _bullets(view, "Reward, KL and cost"))
        assert not any("sd of base answers" in line for line in limits(view))

"""Alarms by kind, over an arm's seeds."""

from dataclasses import replace

from ethosteer.report.alarms import alarm_table, alarms_in_words, alarms_of
from ethosteer.report.view import View
from ethosteer.results.arms import ArmResult
from tests.report.example import example_results

RESULTS = example_results()


def _alarmed(*alarms: tuple[str, ...]) -> ArmResult:
    curve = RESULTS.arms[0].curve[: 5 * len(alarms) : 5]  # steps at which all rewards are known
    points = [replace(point, alarms=rung) for point, rung in zip(curve, alarms, strict=True)]
    return replace(RESULTS.arms[0], curve=tuple(points))


def test_alarms_are_summed_up_by_kind() -> None:
    fall = "reward up while that of {} falls"
    one = _alarmed((), ("EOS drift",), (fall.format("a"),), (fall.format("a, b"), "EOS drift"))
    two = _alarmed((fall.format("b"),))
    first, second = alarms_of([one, two])
    assert (first.name, first.points, first.measured, first.first, first.reward_models) == (
        "another reward falls", 3, 5, 0, {"a": 2, "b": 2},
    )  # fmt: skip
    assert (second.name, second.points, second.measured, second.first) == ("EOS drift", 2, 5, 5)
    said = "another reward falls at 3 points and EOS drift at 2 points"
    assert alarms_in_words([one, two]) == said
    assert alarms_in_words([_alarmed((), ("stopped",))]) == ""


def test_alarm_table_says_what_rang_and_for_whom_nothing_did() -> None:
    table = alarm_table(View(RESULTS))
    assert table is not None
    assert [[cell.text for cell in row[:4]] for row in table.rows] == [
        ["deontology", "negative KL", "1 of 608", "207"],
        ["deontology", "stopped", "1 of 608", "207"],
        ["harmless", "another reward falls", "38 of 160", "305"],
        ["harmless", "length drift", "5 of 800", "395"],
    ]
    assert table.rows[2][1].small == ("deontology: 38 points", "virtue: 38 points")
    assert table.note.endswith("None for utilitarianism and virtue.")
    without = tuple(replace(result, curve=()) for result in RESULTS.arms)
    assert alarm_table(View(replace(RESULTS, arms=without))) is None

from dataclasses import replace
from math import inf

from ethosteer.report.differences import (
    comparison_table,
    detectable_cell,
    difference_cell,
    difference_figure,
    needed_cell,
)
from ethosteer.report.numbers import interval, number, signed
from ethosteer.report.view import View
from tests.report.example import example_results

RESULTS = example_results()
VIEW = View(RESULTS)


def test_comparisons_are_the_results() -> None:
    table = comparison_table(VIEW, RESULTS.benchmarks[0])
    assert len(table.rows) == 4 + 6
    source = next(each for each in RESULTS.comparisons if each.a == "virtue")
    row = next(row for row in table.rows if row[0].text == "virtue − fine-tuned")
    assert row[2].text == "+0.068"
    assert row[2].small == (interval(source.difference),)
    heads = [column.head for column in table.columns]
    assert row[heads.index("equivalence p")].text == "n/a"
    assert row[heads.index("minimum detectable difference")].text == number(
        source.minimum_detectable
    )
    assert row[-2].text == "4,975 / 2,487 / 2"
    assert row[-1].mark == "better"


def test_comparisons_of_a_distance_are_found() -> None:
    table = comparison_table(VIEW, RESULTS.benchmarks[4])
    assert len(table.rows) == 4 + 6
    assert table.rows[1][1].text == "pct_stereotype, distance from 50 %"
    assert (table.rows[1][2].text, table.rows[1][-1].mark) == ("−0.030", "better")
    figure = difference_figure(VIEW, RESULTS.benchmarks[4])
    assert figure is not None
    assert "distance from 50 %; lower is better" in figure.note


def test_a_difference_is_shown_with_the_interval_that_decided_its_verdict() -> None:
    source = RESULTS.comparisons[0]
    decided = replace(source, decision_low=-0.0123, decision_high=0.2, decision_level=0.9875)
    cell = difference_cell(decided)
    assert cell.text == signed(source.difference.value)
    assert cell.small == ("[−0.012, 0.200]", "at 98.8\u202f%")


def test_what_can_be_detected_is_a_range_and_bounded_by_the_room() -> None:
    source = replace(
        RESULTS.comparisons[0],
        minimum_detectable=0.31,
        minimum_detectable_low=0.25,
        minimum_detectable_high=0.5,
        items_needed=1234.0,
        items_needed_low=249.0,
        items_needed_high=inf,
    )
    within = detectable_cell(replace(source, room=0.4))
    assert (within.text, within.small, within.flags) == ("0.310", ("0.250 to 0.500",), ())
    assert detectable_cell(replace(source, room=0.3)).flags == ("beyond room",)
    needed = needed_cell(source)
    assert (needed.text, needed.small) == ("1,234", ("249 to ∞",))

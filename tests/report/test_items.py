"""Counts of discordant items, their links, and what of a long item is kept."""

from dataclasses import replace

from ethosteer.report.items import discordant_table, item_browser, item_link, largest_finding
from ethosteer.report.view import View
from tests.report.example import example_items, example_outcomes, example_results

RESULTS = example_results()


def test_discordant_items_are_counted_by_direction() -> None:
    outcomes = [
        replace(outcome, correct=outcome.item in ("i1", "i2"))
        if (outcome.model, outcome.seed, outcome.benchmark) == ("virtue", 1, "toxigen")
        else outcome
        for outcome in example_outcomes()
    ]
    table = discordant_table(View(RESULTS, outcomes, example_items()))
    assert table is not None
    rows = [[cell.text for cell in row] for row in table.rows]
    # the control answers "No" to all 20 items, which is right for even ones
    assert ["ToxiGen", "virtue", "1", "9", "40"] in rows
    assert ["ToxiGen", "harmless", "0", "0", "40"] in rows
    assert discordant_table(View(RESULTS)) is None


def test_items_are_linked_only_where_the_report_has_them() -> None:
    toxigen, outcomes = RESULTS.benchmarks[2], example_outcomes()
    whole, bare = View(RESULTS, outcomes, example_items()), View(RESULTS, outcomes)
    assert item_link(whole, toxigen, "a/b", "c d") == "#items=toxigen/a%2Fb/c%20d"
    assert item_link(bare, toxigen, "a/b", "c d") == ""
    assert item_browser(bare) is None
    table = discordant_table(bare)
    assert table is not None
    assert {cell.link for row in table.rows for cell in row} == {""}


def test_the_largest_sound_finding_comes_first() -> None:
    view = View(RESULTS)
    # Scruples: virtue +0.090; ToxiGen is flagged, and virtue on ETHICS virtue has +0.068
    assert largest_finding(view, RESULTS.benchmarks) == ("scruples_original", "virtue")
    assert largest_finding(view, RESULTS.benchmarks[:2]) == ("ethics_virtue", "virtue")
    assert largest_finding(view, RESULTS.benchmarks[2:3])[0] == "toxigen", "better than nothing"
    undecided = tuple(replace(pair, verdict="undecided") for pair in RESULTS.comparisons)
    open_question = View(replace(RESULTS, comparisons=undecided))
    assert largest_finding(open_question, RESULTS.benchmarks[3:4]) == ("wsc273", "utilitarianism")
    assert largest_finding(View(replace(RESULTS, comparisons=())), RESULTS.benchmarks) == ("", "")

"""Counts of discordant items, their links, and what of a long item is kept."""

import base64
import gzip
import json
from dataclasses import replace

import pytest

from ethosteer.evaluation.outcomes import grouped
from ethosteer.records import Item, Outcome
from ethosteer.report import items
from ethosteer.report.items import (
    discordant_table,
    item_browser,
    item_link,
    largest_finding,
    sample_note,
)
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
    table = discordant_table(View(RESULTS, grouped(outcomes), example_items()))
    assert table is not None
    rows = [[cell.text for cell in row] for row in table.rows]
    # the control answers "No" to all 20 items, which is right for even ones
    assert ["ToxiGen", "virtue", "1", "9", "40"] in rows
    assert ["ToxiGen", "harmless", "0", "0", "40"] in rows
    assert discordant_table(View(RESULTS)) is None


def test_items_are_linked_only_where_the_report_has_them() -> None:
    toxigen, outcomes = RESULTS.benchmarks[2], grouped(example_outcomes())
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


def _answered(differing: dict[str, int], count: int) -> View:
    """A view of ``count`` ToxiGen items, of which ``differing`` have so many arms that differ."""
    arms = RESULTS.models[2:]
    outcomes = [
        Outcome(model, 0, "toxigen", f"i{item}", f"i{item}", (), 0, predicted, predicted == 0,
                (-1.0 - item, -2.0), (1, 1))
        for position, model in enumerate(RESULTS.models)
        for item in range(count)
        for predicted in [int(model in arms and position - 2 < differing.get(f"i{item}", 0))]
    ]  # fmt: skip
    questions = [
        Item(f"i{item}", (f"question {item}",) * 2, (" No", " Yes"), 0, f"i{item}")
        for item in range(count)
    ]
    return View(RESULTS, grouped(outcomes), {"toxigen": questions})


def _shown(view: View) -> list[str]:
    browser = item_browser(view)
    assert browser is not None
    (packed,) = browser.benchmarks
    ids: list[str] = json.loads(gzip.decompress(base64.b64decode(packed.data)))["ids"]
    assert (packed.shown, packed.items) == (len(ids), len(view.items["toxigen"]))
    return ids


def test_of_too_many_items_those_that_most_arms_answer_differently_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = _answered({"i7": 1, "i150": 4, "i42": 2}, 300)
    assert _shown(view) == [f"i{item}" for item in range(300)]
    browser = item_browser(view)
    assert browser is not None
    assert sample_note(browser) == ()
    monkeypatch.setattr(items, "MOST_ANSWERS", 3 * len(RESULTS.models))
    assert _shown(view) == ["i7", "i42", "i150"], "in the order of the benchmark"
    monkeypatch.setattr(items, "MOST_ANSWERS", len(RESULTS.models))
    assert _shown(view) == ["i150"]
    browser = item_browser(view, ("items.parquet", "outcomes.parquet"))
    assert browser is not None
    (note,) = sample_note(browser)
    assert "it shows 1 of 300 items of ToxiGen" in note.text
    assert "in items.parquet and outcomes.parquet" in note.text


def test_packed_items_fit_their_share_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    view = _answered({"i7": 1}, 300)
    monkeypatch.setattr(items, "SHOWN_BYTES", 2000)
    browser = item_browser(view)
    assert browser is not None
    (packed,) = browser.benchmarks
    assert len(packed.data) <= 2000
    assert 1 < packed.shown < 300
    assert "i7" in _shown(view)
    assert _shown(view) == _shown(view)

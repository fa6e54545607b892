"""The first screen: what of the answer is set large, and the warnings beside it."""

import re
from dataclasses import replace

from ethosteer.evaluation.outcomes import grouped
from ethosteer.report.blocks import Bullets, FirstScreen
from ethosteer.report.document import _answer
from ethosteer.report.first_screen import warnings
from ethosteer.report.headline import headline
from ethosteer.report.view import View
from ethosteer.results.study import StudyResults
from tests.report.example import ALWAYS_NO, CONTROL, example_outcomes, example_results

RESULTS = example_results()


def _notices(results: StudyResults) -> dict[str, str]:
    result = warnings(View(results))
    return {notice.title: notice.text for notice in result.notices} if result else {}


def _without_flags(results: StudyResults, *kept: str) -> StudyResults:
    """Return the results with the flags of the models ``kept`` alone."""
    benchmarks = tuple(
        replace(
            benchmark,
            cells=tuple(
                cell if cell.model in kept else replace(cell, flags=()) for cell in benchmark.cells
            ),
        )
        for benchmark in results.benchmarks
    )
    return replace(results, benchmarks=benchmarks)


def test_what_moved_is_set_large_and_what_qualifies_it_follows() -> None:
    blocks = _answer(View(RESULTS), ())
    screen, *lists = blocks
    assert isinstance(screen, FirstScreen)
    steering, findings, detectable, details = screen.texts
    assert [text.lead for text in screen.texts] == [True, True, True, False]
    assert steering.text.startswith("Steering changed the rewards of")
    assert findings.text.startswith("Compared with the fine-tuned control")
    assert detectable.text.startswith("The minimum detectable difference")
    assert "better than every other arm" in details.text
    assert all(isinstance(block, Bullets) and block.folded for block in lists)


def test_many_findings_are_given_by_their_size_alone() -> None:
    def lead(findings: int) -> str:
        changed = [
            replace(comparison, verdict="better" if index < findings else "undecided")
            for index, comparison in enumerate(
                sorted(RESULTS.comparisons, key=lambda pair: pair.b != CONTROL)
            )
        ]
        return headline(View(replace(RESULTS, comparisons=tuple(changed))))[0][0]

    assert "Holm-adjusted CI" in lead(1)
    assert "Holm-adjusted CI" not in lead(40)
    assert re.search(r"better on .*ETHICS virtue \([+−]0\.\d+\)", lead(40))


def test_what_limits_the_answer_is_said_beside_it() -> None:
    notices = _notices(RESULTS)
    assert list(notices) == [
        "Few seeds", "Uninformative control", "Shared text", "Stopped early",
        "Alarms during training",
    ]  # fmt: skip
    assert "On ToxiGen the fine-tuned control" in notices["Uninformative control"]
    shared = notices["Shared text"]
    assert shared.startswith("Preference pairs that share text with a benchmark: deontology with")
    assert "virtue with ETHICS virtue (5.3\u202f% of pairs)" in shared
    assert notices["Stopped early"] == (
        "Training of deontology was stopped before its end in at least one seed."
    )
    assert "harmless: another reward falls at 38 points" in notices["Alarms during training"]


def test_a_flag_of_an_arm_is_told_apart_from_one_of_the_control() -> None:
    notices = _notices(_without_flags(RESULTS, "virtue"))
    assert "Uninformative control" not in notices
    assert notices["Constant answers"].startswith(f"virtue ({ALWAYS_NO}) on ToxiGen.")
    assert _notices(_without_flags(RESULTS, "virtue", "harmless"))["Constant answers"].startswith(
        f"harmless ({ALWAYS_NO}) and virtue ({ALWAYS_NO}) on ToxiGen."
    )
    assert "Constant answers" not in _notices(_without_flags(RESULTS, CONTROL, "virtue"))


def test_seeds_are_warned_of_where_they_are_few() -> None:
    assert "A single seed" in _notices(example_results((0,)))
    assert "with 2 seeds" in _notices(RESULTS)["Few seeds"].lower()
    assert not {"A single seed", "Few seeds"} & set(_notices(example_results((0, 1, 2, 3, 4))))


def test_rare_overlaps_changed_settings_and_unequal_items() -> None:
    rare = tuple(replace(overlap, overlapping=39) for overlap in RESULTS.overlaps)
    assert "Shared text" not in _notices(replace(RESULTS, overlaps=rare))
    changed = _notices(replace(RESULTS, deviations=("margin: none, later 0.02",)))
    assert changed["Changed after outcomes were known"] == "margin: none, later 0.02."
    result = warnings(View(RESULTS, grouped(example_outcomes()[1:])))
    assert result is not None
    assert ("Different items", "Models answered different items of toxigen.") in {
        (notice.title, notice.text) for notice in result.notices
    }


def test_a_study_without_doubts_has_no_warning() -> None:
    sound = _without_flags(replace(RESULTS, overlaps=(), arms=()))
    assert warnings(View(sound)) is None

"""What qualifies the answer in short: each cause is told once, with all that it holds for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ethosteer.report.headline import headline
from ethosteer.report.view import View
from ethosteer.results.study import StudyResults
from tests.report.example import CONTROL, example_results


def _details(results: StudyResults, gains: Collection[tuple[str, str]] = ()) -> str:
    """Return what qualifies the answer where only these arms (benchmark, arm) are better."""
    comparisons = tuple(
        replace(
            pair,
            verdict="better"
            if pair.b == CONTROL and (pair.benchmark, pair.a) in gains
            else "undecided",
        )
        for pair in results.comparisons
    )
    return headline(View(replace(results, comparisons=comparisons)))[1]


def _answers(*answers: tuple[str, str, str]) -> StudyResults:
    """Return results in which models give constant answers on benchmarks."""
    flags = {(benchmark, model): (answer,) for benchmark, model, answer in answers}
    results = example_results()
    benchmarks = tuple(
        replace(
            each,
            cells=tuple(
                replace(cell, flags=flags.get((each.name, cell.model), ())) for cell in each.cells
            ),
        )
        for each in results.benchmarks
    )
    return replace(results, benchmarks=benchmarks)


def test_constant_answers_are_told_once_for_each_benchmark() -> None:
    details = _details(
        _answers(
            ("wsc273", "virtue", "answers 'a'"),
            ("toxigen", "harmless", "answers 'No'"),
            ("wsc273", "deontology", "answers 'b'"),
        )
    )
    assert details.count("no difference was shown") == 1
    assert (
        "Constant answers for which no difference was shown: harmless (answers 'No') on ToxiGen; "
        "deontology (answers 'b') and virtue (answers 'a') on WSC273." in details
    )


def test_constant_answers_of_the_control_are_told_once_for_each_answer() -> None:
    details = _details(
        _answers(
            ("ethics_virtue", "fine-tuned", "answers 'no' to all items"),
            ("toxigen", "fine-tuned", "answers 'No' to all items"),
            ("wsc273", "fine-tuned", "answers 'no' to all items"),
        )
    )
    assert (
        "The fine-tuned control answers 'no' to all items on ETHICS virtue and WSC273; answers "
        "'No' to all items on ToxiGen, so a difference from it there is no evidence of skill."
        in details
    )
    assert details.count("fine-tuned control") == 1


def test_gains_in_doubt_are_told_in_one_sentence() -> None:
    gains = (("ethics_virtue", "virtue"), ("ethics_deontology", "deontology"))
    details = _details(example_results(), gains)
    shared = "5.3\u202f% of its preference pairs share a sequence of 8 words with the benchmark"
    assert (
        f"Gains of deontology on ETHICS deontology ({shared}) and virtue on ETHICS virtue "
        f"({shared}) may reflect contamination." in details
    )

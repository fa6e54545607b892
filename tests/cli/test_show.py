"""The tables of results that ``ethosteer evaluate`` and ``ethosteer run`` print."""

import io
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from ethosteer.cli.show import VERDICTS_SHOWN, results_table, verdicts_table
from ethosteer.evaluation.standalone import Evaluation
from ethosteer.evaluation.summary import summarise
from ethosteer.results.comparisons import Verdict
from ethosteer.results.estimates import Estimate
from ethosteer.results.study import StudyResults
from ethosteer.statistics.metrics import ACCURACY, BIAS_FREE
from tests.evaluation.small import benchmark, outcomes
from tests.report.example import example_results

LABELS = [0] * 60 + [1] * 40
ANSWERS = {
    "right": LABELS,
    "constant": [0] * 100,
    "unskilled": [0] * 55 + [1] * 10 + [0] * 35,
}


def test_the_table_has_the_primary_metric_alone_and_remarks_on_constant_answers():
    answered = {model: outcomes(LABELS, answers) for model, answers in ANSWERS.items()}
    asked = benchmark(ACCURACY, *BIAS_FREE, answers=("No", "Yes"))
    result = summarise(asked, 100, {model: {0: given} for model, given in answered.items()})
    table = results_table([Evaluation(result, answered)])
    assert table.row_count == len(ANSWERS)
    assert table.caption == (
        "* b, constant: answers 'No' to all items\n"
        "b, unskilled: not shown better than always answering 'No'"
    )


def many(verdict: Verdict, count: int) -> StudyResults:
    """Return results of one arm on ``count`` benchmarks; the first verdict is "better"."""
    results = example_results()
    (first, *_) = results.benchmarks
    arm = next(model for model in results.models if model not in ("base", "fine-tuned"))
    comparison = next(
        comparison
        for comparison in results.comparisons
        if comparison.benchmark == first.name and comparison.metric == first.primary
    )
    return replace(
        results,
        models=("base", "fine-tuned", arm),
        benchmarks=tuple(replace(first, name=f"b{index}") for index in range(count)),
        comparisons=tuple(
            replace(
                comparison,
                benchmark=f"b{index}",
                a=arm,
                b="fine-tuned",
                difference=Estimate(0.25, 0.1, 0.4, 90),
                decision_low=0.05,
                decision_high=0.45,
                decision_level=0.99,
                verdict=verdict if index else "better",
            )
            for index in range(count)
        ),
    )


def printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_verdicts_are_shown_with_the_interval_that_decided_them():
    text = printed(verdicts_table(many("undecided", 3)))
    assert text.count("+0.250 [0.050, 0.450]") == 3
    assert text.count("undecided") == 2
    assert text.count("better") == 1


def test_of_many_verdicts_the_undecided_ones_are_counted():
    table = verdicts_table(many("undecided", VERDICTS_SHOWN + 1))
    assert table.row_count == 1
    assert table.caption == f"undecided: {VERDICTS_SHOWN} of {VERDICTS_SHOWN + 1}"
    assert verdicts_table(many("equivalent", VERDICTS_SHOWN + 1)).row_count == VERDICTS_SHOWN + 1

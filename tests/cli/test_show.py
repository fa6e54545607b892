"""The table of results that ``ethosteer evaluate`` prints."""

from ethosteer.cli.show import results_table
from ethosteer.evaluation.standalone import Evaluation
from ethosteer.evaluation.summary import summarise
from ethosteer.statistics.metrics import ACCURACY, BIAS_FREE
from tests.evaluation.small import benchmark, outcomes

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

"""One benchmark's summary: cells, slices, baselines and flags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from ethosteer.evaluation.summary import (
    baselines,
    difference_from_constant,
    flags,
    slice_cells,
    summarise,
)
from ethosteer.results.benchmarks import SliceCell
from ethosteer.statistics.metrics import (
    ACCURACY,
    MCC,
)
from tests.evaluation.small import (
    SHARES,
    answering,
    benchmark,
    outcome,
    outcomes,
)


def test_a_summary_has_a_cell_for_every_model_and_metric():
    given = answering(SHARES, seeds=2)
    own = benchmark(MCC, ACCURACY, answers=("No", "Yes"))
    found = summarise(own, 80, given, "judged by x")
    assert (found.name, found.title, found.primary, found.better) == ("b", "B", "mcc", "higher")
    assert (found.items, found.truncated, found.classifier) == (80, 0, "judged by x")
    assert (found.source, found.licence) == ("https://example.org/b", "MIT")
    assert [(cell.model, cell.metric) for cell in found.cells] == [
        (model, metric) for model in SHARES for metric in ("mcc", "acc")
    ]
    for cell in found.cells:
        seeds = given[cell.model]
        assert list(cell.by_seed) == list(seeds)
        for seed, value in cell.by_seed.items():
            labels = [each.label for each in seeds[seed]]
            predicted = [each.predicted for each in seeds[seed]]
            expected = (
                matthews_corrcoef(labels, predicted)
                if cell.metric == "mcc"
                else np.mean(np.array(labels) == np.array(predicted))
            )
            assert value == pytest.approx(expected)
        assert cell.estimate.value == pytest.approx(np.mean(list(cell.by_seed.values())))
        assert cell.estimate.n == 80
        assert cell.estimate.low < cell.estimate.value < cell.estimate.high


def test_items_that_lost_text_are_counted_once():
    own = [outcome(i, 1, 1, cut=i < 3) for i in range(5)]
    given = {"base": {0: own}, "duty": {0: own, 1: own}}
    assert summarise(benchmark(ACCURACY), 5, given).truncated == 3


def test_clusters_are_counted_and_the_largest_is_known():
    names = ("g", "g", "g", "h", "i", "h")
    own = [replace(outcome(i, 1, 1), group=group) for i, group in enumerate(names)]
    summary = summarise(benchmark(ACCURACY), 6, {"base": {0: own}, "duty": {0: own, 1: own}})
    assert (summary.clusters, summary.largest_cluster) == (3, 3)


def test_slices_take_all_seeds_together_and_count_items_once():
    first = [
        outcome(0, 1, 1, slices=("x",)),
        outcome(1, 1, 0, slices=("x", "y")),
        outcome(2, 1, 1),
    ]
    second = [outcome(i, 1, 1, slices=each.slices) for i, each in enumerate(first)]
    cells = list(slice_cells(ACCURACY, {"m": {0: first, 1: second}}))
    assert cells == [SliceCell("m", "x", 0.75, 2), SliceCell("m", "y", 0.5, 1)]


# --- baselines and warnings


def test_baselines_are_what_one_answer_to_all_would_score():
    labels = [0, 0, 0, 1]
    own = benchmark(ACCURACY, MCC, answers=("No", "Yes"))
    found = baselines(own, outcomes(labels, [1, 0, 1, 0]))
    assert found == {"always No": 0.75, "always Yes": 0.25}
    correlated = benchmark(MCC, answers=("No", "Yes"))
    assert set(baselines(correlated, outcomes(labels, labels)).values()) == {0.0}
    assert baselines(benchmark(ACCURACY), outcomes(labels, labels)) == {}


LABELS = [0] * 60 + [1] * 40


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([0] * 60 + [1] * 40, ()),
        ([0] * 100, ("answers 'No' to all items",)),
        ([1] * 96 + [0] * 4, ("answers 'Yes' to 96.0\u202f% of items",)),
        ([1] * 95 + [0] * 5, ()),
        ([None] * 98 + [0, 1], ("gives no answer to 98.0\u202f% of items",)),
        # 60 right, as with No always, but by varied answers: a coincidence
        ([0] * 30 + [1] * 30 + [1] * 30 + [0] * 10, ()),
    ],
    ids=["all right", "always No", "nearly always Yes", "often Yes", "no answer", "class rate"],
)
def test_one_answer_to_nearly_all_items_is_flagged(predicted, expected):
    own = benchmark(ACCURACY, answers=("No", "Yes"))
    assert flags(own, {0: outcomes(LABELS, predicted)}) == expected


def test_flags_are_of_all_seeds_together_or_of_the_seeds_that_collapsed():
    own = benchmark(ACCURACY, answers=("No", "Yes"))
    always, fair = outcomes(LABELS, [0] * 100), outcomes(LABELS, LABELS)
    nearly, other = outcomes(LABELS, [0] * 98 + [1] * 2), outcomes(LABELS, [1] * 100)
    assert flags(own, {0: always, 1: always}) == ("answers 'No' to all items",)
    assert flags(own, {0: fair, 1: always, 2: fair}) == (
        "answers 'No' to all items in 1 of 3 seeds",
    )
    assert flags(own, {0: nearly, 1: always, 2: fair}) == (
        "answers 'No' to 99.0\u202f% of items in 2 of 3 seeds",
    )
    assert flags(own, {0: always, 1: other}) == (
        "answers 'No' to all items in 1 of 2 seeds",
        "answers 'Yes' to all items in 1 of 2 seeds",
    )


def test_varied_answers_are_never_flagged_by_coincidence():
    draw = np.random.default_rng(7)
    own = benchmark(ACCURACY, answers=("No", "Yes"))
    labels = [0] * 10 + [1] * 10
    equal = 0
    for _ in range(200):
        seeds = {seed: outcomes(labels, list(draw.integers(0, 2, 20))) for seed in range(3)}
        equal += any(ACCURACY.value(answers) == 0.5 for answers in seeds.values())
        assert flags(own, seeds) == ()
    assert equal > 50, "the coincidence that was flagged before"


def test_a_model_is_compared_with_the_best_constant_answer_item_by_item():
    own = benchmark(ACCURACY, answers=("No", "Yes"))
    right_on_90 = [0] * 55 + [1] * 5 + [1] * 35 + [0] * 5
    better = difference_from_constant(own, {0: outcomes(LABELS, right_on_90)})
    assert better is not None
    assert better.value == pytest.approx(0.9 - 0.6)
    assert 0 < better.low < 0.3 < better.high
    constant = difference_from_constant(own, {0: outcomes(LABELS, [0] * 100)})
    assert constant is not None
    assert constant.value == 0
    assert not constant.low > 0
    # 5 discordant items each way: no better than to answer No always
    close = difference_from_constant(own, {0: outcomes(LABELS, [0] * 55 + [1] * 10 + [0] * 35)})
    assert close is not None
    assert close.value == 0
    assert close.low < 0 < close.high
    correlated = benchmark(MCC, answers=("No", "Yes"))
    perfect = difference_from_constant(correlated, {0: outcomes(LABELS, LABELS)})
    assert perfect is not None
    assert perfect.value == 1
    assert difference_from_constant(benchmark(ACCURACY), {0: outcomes(LABELS, LABELS)}) is None


def test_the_difference_from_a_constant_answer_stands_with_the_primary_metric_alone():
    own = benchmark(ACCURACY, MCC, answers=("No", "Yes"))
    primary, other = summarise(own, 100, {"base": {0: outcomes(LABELS, LABELS)}}).cells
    assert primary.above_constant is not None
    assert primary.above_constant.value == pytest.approx(0.4)
    assert other.above_constant is None


def test_without_fixed_answers_nothing_is_flagged():
    assert flags(benchmark(ACCURACY), {0: outcomes(LABELS, [0] * 100)}) == ()

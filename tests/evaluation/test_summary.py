"""One benchmark's summary: cells, slices, baselines and flags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from ethosteer.evaluation.summary import baselines, flags, slice_cells, summarise
from ethosteer.results import SliceCell
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
        ([0] * 100, ("answers 'No' to 100% of items",)),
        ([1] * 96 + [0] * 4, ("answers 'Yes' to 96% of items",)),
        ([1] * 95 + [0] * 5, ()),
        ([None] * 98 + [0, 1], ("gives no answer to 98% of items",)),
        # 60 right by another way than to answer No always: 30 of the first 60, 30 of the others
        ([0] * 30 + [1] * 30 + [1] * 30 + [0] * 10, ("equals the class rate of 'always No'",)),
    ],
    ids=["all right", "always No", "nearly always Yes", "often Yes", "no answer", "class rate"],
)
def test_degenerate_results_are_flagged(predicted, expected):
    own = benchmark(ACCURACY, answers=("No", "Yes"))
    assert flags(own, {0: outcomes(LABELS, predicted)}) == expected


def test_flags_are_of_all_seeds_together_but_class_rates_of_any_one():
    own = benchmark(ACCURACY, answers=("No", "Yes"))
    always, fair = outcomes(LABELS, [0] * 100), outcomes(LABELS, LABELS)
    assert flags(own, {0: always, 1: always}) == ("answers 'No' to 100% of items",)
    assert flags(own, {0: fair, 1: always}) == ("equals the class rate of 'always No'",)


def test_without_fixed_answers_nothing_is_flagged():
    assert flags(benchmark(ACCURACY), {0: outcomes(LABELS, [0] * 100)}) == ()

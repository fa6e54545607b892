"""What every benchmark must keep to; a new one is picked up by itself."""

from __future__ import annotations

import math
import re

import pytest

from ethosteer import catalog
from ethosteer.records import Outcome
from ethosteer.statistics.metrics import BIAS_FREE
from tests.malformed import complaint, spoiled_files, spoiled_values

pytestmark = pytest.mark.parametrize("name", catalog.benchmark_names())


@pytest.fixture
def files(name, publish):
    """Write the examples and return their paths, in the order of the sources."""
    benchmark = catalog.benchmark(name)
    return [publish(source.path, benchmark.examples[source.path]) for source in benchmark.sources]


def test_the_examples_give_whole_items(name, files):
    benchmark = catalog.benchmark(name)
    items = benchmark.items(files)
    assert len(items) >= 3
    assert len({item.id for item in items}) == len(items)
    for item in items:
        assert item.group
        assert len(item.contexts) == max(1, len(item.continuations))
        choices = len(item.continuations) or len(benchmark.answers)
        assert choices == 2 or benchmark.classification
        assert item.label is None or item.label in range(choices)
        assert all(item.continuations)
        if item.trim:
            start, end = item.trim
            assert all(0 <= start <= end <= len(context) for context in item.contexts)


def test_generated_answers_have_a_length_and_a_parser(name, files):
    benchmark = catalog.benchmark(name)
    generated = {not item.continuations for item in benchmark.items(files)}
    read = (benchmark.parse is not None) + (benchmark.classification is not None)
    assert generated == {benchmark.new_tokens > 0} == {read == 1}
    assert read <= 1


def test_fixed_choices_are_the_named_answers(name, files):
    benchmark = catalog.benchmark(name)
    if benchmark.answers and not benchmark.new_tokens:
        expected = tuple(f" {answer}" for answer in benchmark.answers)
        assert {item.continuations for item in benchmark.items(files)} == {expected}


def test_fixed_choices_have_measures_without_a_threshold_after_the_others(name):
    benchmark = catalog.benchmark(name)
    if benchmark.answers and not benchmark.new_tokens:
        assert benchmark.metrics[-3:] == BIAS_FREE


def test_the_metrics_take_the_items_outcomes(name, files):
    benchmark = catalog.benchmark(name)
    outcomes = [
        Outcome(
            model="m",
            seed=0,
            benchmark=name,
            item=item.id,
            group=item.group,
            slices=item.slices,
            label=item.label,
            predicted=item.label or 0,
            correct=None if item.label is None else True,
            log_likelihoods=(-2.0, -1.0) if item.label else (-1.0, -2.0),
            lengths=(4, 4),
        )
        for item in benchmark.items(files)
    ]
    values = {metric.name: metric.value(outcomes) for metric in benchmark.metrics}
    assert len(values) == len(benchmark.metrics)
    assert all(math.isfinite(value) for value in values.values())
    # All answers are right.
    for metric in ("acc", "acc_norm", "mcc", "balanced_acc", "mcc_answered", "auc"):
        assert values.get(metric, 1.0) == 1.0


def test_the_sources_are_complete(name):
    benchmark = catalog.benchmark(name)
    others = [source for group in (benchmark.alternatives or {}).values() for source in group]
    for source in (*benchmark.sources, *others):
        assert source.home.startswith("https://")
        assert source.licence
        assert bool(source.repository) == bool(source.revision) == bool(source.hub_path)
        assert re.fullmatch(r"([0-9a-f]{40})?", source.revision)
        assert bool(source.repository) != source.address.startswith("https://")
    assert set(benchmark.examples) == {source.path for source in benchmark.sources}


def test_a_malformed_file_is_named_with_the_line(name, files, publish):
    benchmark = catalog.benchmark(name)
    for source in benchmark.sources:
        for problem, content, line in spoiled_files(source.path, benchmark.examples[source.path]):
            path = publish(source.path, content)
            said = complaint(lambda: benchmark.items(files))
            assert said is not None and said.startswith(f"{path}:{line}: "), problem
        publish(source.path, benchmark.examples[source.path])


def test_a_malformed_value_is_named_with_the_line_or_not_needed(name, files, publish):
    benchmark = catalog.benchmark(name)
    for source in benchmark.sources:
        for _, text in spoiled_values(source.path, benchmark.examples[source.path]):
            path = publish(source.path, text)
            said = complaint(lambda: benchmark.items(files))
            assert said is None or said.startswith(f"{path}:2: ")
        publish(source.path, benchmark.examples[source.path])

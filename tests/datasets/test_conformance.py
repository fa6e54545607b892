"""What every preference dataset must keep to; a new one is picked up by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ethosteer import catalog
from ethosteer.datasets.base import Dataset, Dropped
from ethosteer.records import PreferencePair
from tests.malformed import complaint, spoiled_files, spoiled_values

pytestmark = pytest.mark.parametrize("name", catalog.dataset_names())


def read_all(dataset: Dataset, path: Path) -> list[PreferencePair | Dropped]:
    return list(dataset.pairs(dataset.rows(path), 2))


def read(name: str, publish: Callable[[str, str | bytes], Path]) -> list[PreferencePair]:
    dataset = catalog.dataset(name)
    found = read_all(dataset, publish(dataset.source.path, dataset.examples))
    assert all(isinstance(entry, PreferencePair | Dropped) for entry in found)
    return [entry for entry in found if isinstance(entry, PreferencePair)]


def test_the_examples_give_whole_pairs(name, publish):
    pairs = read(name, publish)
    assert len(pairs) >= 2
    assert len({pair.id for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.id.startswith(f"{name}-")
        assert pair.group
        assert pair.chosen != pair.rejected
        for text in (pair.prompt, pair.chosen, pair.rejected):
            assert text.strip()
        assert pair.turns[-1][0] == "human"
        assert 1 <= pair.row <= len(catalog.dataset(name).examples.splitlines())


def test_the_same_file_gives_the_same_pairs(name, publish):
    assert read(name, publish) == read(name, publish)


def test_the_source_is_complete(name):
    source = catalog.dataset(name).source
    assert source.home.startswith("https://")
    assert source.licence
    assert bool(source.repository) == bool(source.revision) == bool(source.hub_path)
    assert re.fullmatch(r"([0-9a-f]{40})?", source.revision)


def test_a_malformed_file_is_named_with_the_line(name, publish):
    dataset = catalog.dataset(name)
    for problem, content, line in spoiled_files(dataset.source.path, dataset.examples):
        path = publish(dataset.source.path, content)
        said = complaint(partial(read_all, dataset, path))
        assert said is not None and said.startswith(f"{path}:{line}: "), problem


def test_a_malformed_value_is_named_with_the_line_or_not_needed(name, publish):
    dataset = catalog.dataset(name)
    for _, text in spoiled_values(dataset.source.path, dataset.examples):
        path = publish(dataset.source.path, text)
        said = complaint(partial(read_all, dataset, path))
        assert said is None or said.startswith(f"{path}:2: ")

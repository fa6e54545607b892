from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethosteer.models.fast import budget as memory
from ethosteer.models.fast.budget import passes, sampling_tokens, training_tokens
from ethosteer.settings import LoraSettings


def test_the_tokens_of_a_pass_are_those_asked_for_or_what_suits_a_processor(llama):
    assert training_tokens(llama, LoraSettings(), 7) == 7
    assert training_tokens(llama, LoraSettings(), None) == memory.CPU_TOKENS


@pytest.mark.parametrize(("name", "heads"), [("llama", 2), ("gpt2", 4)])
def test_answers_sampled_at_once_fit_in_the_room_for_their_cache(
    name, heads, tiny_bases, monkeypatch
):
    # Keys and values of two layers: heads of 8 numbers of 4 bytes each.
    token = 2 * 2 * heads * 8 * 4
    base = tiny_bases[name]
    monkeypatch.setattr(memory, "CPU_CACHE", 10_000 * token + token - 1)
    assert sampling_tokens(base) == 10_000
    # a larger base is read at every token, so the cache may take as much
    monkeypatch.setattr(memory, "CPU_CACHE", 0)
    weights = sum(weight.numel() for weight in base.model.parameters())
    assert sampling_tokens(base) == 4 * weights // token


def test_memory_is_the_machines_or_what_a_container_may_use(tmp_path, monkeypatch):
    if (whole := memory.machine_memory(tmp_path)) is None:
        pytest.skip("this system does not tell its memory")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.machine_memory(tmp_path) == whole
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory.machine_memory(tmp_path) == 1048576
    monkeypatch.setattr("os.sysconf_names", {})
    assert memory.machine_memory(tmp_path) is None


def as_they_are(size: int) -> int:
    return size


def test_passes_are_few_and_of_about_equal_size():
    assert passes([4, 4, 4, 4, 4], as_they_are, 16) == [[4, 4, 4], [4, 4]], "not four and one"
    assert passes([1, 9, 2, 3], as_they_are, 10) == [[1, 9], [2, 3]]
    assert passes([5, 30, 5], as_they_are, 10) == [[5], [30], [5]], "what is larger runs alone"
    assert passes([3, 4], as_they_are, 100) == [[3, 4]]
    assert passes([], as_they_are, 100) == []


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 200))
def test_no_cut_into_as_few_passes_has_a_smaller_largest_pass(sizes, token_budget):
    found = passes(sizes, as_they_are, token_budget)
    assert [size for chunk in found for size in chunk] == sizes, "every item once, in order"
    assert all(len(chunk) == 1 or sum(chunk) <= token_budget for chunk in found)

    def cuts(count: int) -> Iterator[list[list[int]]]:
        for ends in combinations(range(1, len(sizes)), count - 1):
            yield [sizes[start:end] for start, end in pairwise((0, *ends, len(sizes)))]

    def fits(cut: list[list[int]]) -> bool:
        return all(len(chunk) == 1 or sum(chunk) <= token_budget for chunk in cut)

    assert len(found) == 1 or not any(map(fits, cuts(len(found) - 1)))
    assert max(map(sum, found)) == min(max(map(sum, cut)) for cut in cuts(len(found)) if fits(cut))

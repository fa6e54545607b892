from __future__ import annotations

import pytest

from ethosteer.models.fast import budget as memory
from ethosteer.models.fast.budget import activation_bytes, sampling_rows, training_tokens


def test_activations_of_a_token_by_hand():
    # Two layers, bytes of bf16: 2 * 2 * (14 * 10 + 4 * 30)
    assert activation_bytes(hidden=10, intermediate=30, layers=2, width=2) == 1040


def test_the_tokens_of_a_pass_are_those_asked_for_or_what_suits_a_processor(llama):
    assert training_tokens(llama, 7) == 7
    assert training_tokens(llama, None) == memory.CPU_TOKENS


@pytest.mark.parametrize(("name", "heads"), [("llama", 2), ("gpt2", 4)])
def test_answers_sampled_at_once_fit_in_the_room_for_their_cache(
    name, heads, tiny_bases, monkeypatch
):
    # Keys and values of two layers: heads of 8 numbers of 4 bytes each.
    token = 2 * 2 * heads * 8 * 4
    monkeypatch.setattr(memory, "CPU_CACHE", 10 * 50 * token + token)
    assert sampling_rows(tiny_bases[name], 50) == 10
    assert sampling_rows(tiny_bases[name], 51) == 9
    assert sampling_rows(tiny_bases[name], 10_000) == 1, "at least one, whatever the room"

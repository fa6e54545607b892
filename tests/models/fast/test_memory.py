"""Where a device runs out of memory, the budget is halved and the step repeated."""

from __future__ import annotations

import logging

import pytest
import torch

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.fast import budget
from ethosteer.models.fast.budget import within_memory
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_training import RewardTraining
from ethosteer.settings import RewardSettings
from tests import tiny


def test_the_budget_is_halved_until_the_work_fits(caplog: pytest.LogCaptureFixture) -> None:
    undone: list[None] = []

    def work(tokens: int) -> int:
        if tokens > 100:
            raise torch.OutOfMemoryError("simulated")
        return -tokens

    with caplog.at_level(logging.WARNING):
        assert within_memory(320, work, lambda: undone.append(None)) == (-80, 80)
    assert len(undone) == 2
    assert [record.getMessage().split()[-5:] for record in caplog.records] == [
        ["160", "tokens", "in", "a", "pass"], ["80", "tokens", "in", "a", "pass"],
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"out of memory even with 1[0-9] tokens"):
        within_memory(budget.FEWEST_TOKENS, lambda _: work(101))


def _trained(base: SharedBase, tokens: int, *, fails: bool) -> list[torch.Tensor]:
    rows = tiny.ragged(8, 8, 12)
    pairs = [EncodedPair(rows[i], [*rows[i][:4], *rows[i - 1][4:]], 4, str(i)) for i in range(8)]
    settings = RewardSettings(batch=8, epochs=2.0, lora=tiny.lora(dropout=0.1))
    training = RewardTraining(base, [pairs], settings, 0)
    training.token_budget = tokens
    decoder, calls = base.model.get_decoder(), [0]

    def run_out(*_: object) -> None:
        calls[0] += 1
        if fails and calls[0] == 2:  # after the gradients of a first pass
            raise torch.OutOfMemoryError("simulated")

    hook = decoder.register_forward_pre_hook(run_out)
    try:
        for step in range(2):
            training.step(step)
    finally:
        hook.remove()
    assert training.token_budget == (tokens // 2 if fails else tokens)
    return training.optimisers[0].copy_parameters()


def test_a_repeated_step_equals_the_undisturbed_one(llama: SharedBase) -> None:
    undisturbed = _trained(llama, 32, fails=False)
    for found, expected in zip(_trained(llama, 64, fails=True), undisturbed, strict=True):
        tiny.close(found, expected)

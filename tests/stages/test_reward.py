from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import pytest

from ethosteer.models.base import SharedBase
from ethosteer.models.generation import Sampling
from ethosteer.models.text import Template
from ethosteer.records import Arm
from ethosteer.results.reward_models import HeldOutPairs
from ethosteer.stages.reward import Reward
from ethosteer.stages.workspace import Workspace
from tests import tiny

PROMPTS = tiny.ragged(5, 2, 9)


def samples_of(base: SharedBase, count: int, sampling: Sampling, seed: int = 1) -> list[list[int]]:
    """Return base_samples' rows for PROMPTS."""
    stage = SimpleNamespace(
        arm=Arm("a", seed),
        reward=SimpleNamespace(normalisation_samples=count),
        sampling=SimpleNamespace(sampling=lambda: sampling),
        prompts=SimpleNamespace(
            ids=lambda split, _: {"train": PROMPTS}[split],
            template=lambda _: Template("guanaco", base.tokenizer),
        ),
        base=None,
    )
    workspace = SimpleNamespace(base=lambda _: base)
    return Reward.base_samples(cast(Reward, stage), cast(Workspace, workspace))


def answers_of(rows: list[list[int]]) -> list[list[int]]:
    return [row[len(PROMPTS[i % 5]) :] for i, row in enumerate(rows)]


def test_base_samples_are_prompts_in_turn_with_answers(llama):
    rows = samples_of(llama, 70, Sampling(2, 6, ignore_eos=True))
    assert all(row[: len(p)] == p for row, p in zip(rows, PROMPTS * 14, strict=True))
    assert {len(answer) for answer in answers_of(rows)} == {2, 3, 4, 5, 6}
    assert len(set(map(tuple, answers_of(rows)))) > 60
    assert rows == samples_of(llama, 70, Sampling(2, 6, ignore_eos=True))
    assert rows != samples_of(llama, 70, Sampling(2, 6, ignore_eos=True), seed=2)


def test_base_samples_have_no_stop_token(llama):
    whole = answers_of(samples_of(llama, 60, Sampling(2, 6, ignore_eos=True)))
    eos = max(range(300), key=lambda token: sum(answer.count(token) for answer in whole))
    rows = samples_of(tiny.with_eos(llama, eos), 60, Sampling(2, 6))
    cut = [answer[: answer.index(eos)] if eos in answer else answer for answer in whole]
    assert cut != whole
    assert answers_of(rows) == cut


@pytest.mark.parametrize(
    ("chosen", "rejected", "lengths", "expected"),
    [
        ([1.0, 2.0], [3.0, 4.0], [(1, 3), (2, 4)], 1.0),
        ([4.0, 3.0], [2.0, 1.0], [(1, 3), (2, 4)], -1.0),
        ([1.0, 2.0], [2.0, 1.0], [(1, 1), (2, 2)], 0.0),
        ([0.0, 0.0], [0.0, 1.0], [(1, 2), (3, 4)], 3 / 15**0.5),
    ],
)
def test_length_correlation_by_hand(chosen, rejected, lengths, expected):
    found = HeldOutPairs(chosen, rejected, ["a", "b"], lengths, [])
    assert found.length_correlation == pytest.approx(expected)


def test_length_correlation_of_a_constant_is_not_a_number():
    assert math.isnan(HeldOutPairs([1.0], [1.0], ["a"], [(1, 2)], []).length_correlation)
    assert math.isnan(HeldOutPairs([1.0], [2.0], ["a"], [(3, 3)], []).length_correlation)

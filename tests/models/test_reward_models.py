from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ethosteer.models import reward_models as module
from ethosteer.models.fast.trees import stack
from ethosteer.models.reward_models import load_rewards, raw_scores, save_reward, score_rows
from tests import tiny

STEM = tiny.ragged(1, 12, 12, seed=7)[0]
ROWS = [*tiny.ragged(4, 3, 20), [*STEM, 40], [*STEM, 41, 42], STEM]
"""Rows that share nothing, and rows that begin alike, one of them the beginning of others."""


def alone(base, rewards, arm: int, row: list[int]) -> Tensor:
    """Score one row from the definition: the head's product with its last hidden state."""
    with torch.no_grad(), rewards.bank.applied([arm]):
        last = base.hidden(torch.tensor([row]))[0, -1]
    score: Tensor = last @ rewards.heads.weights[arm].detach()
    return score


@torch.no_grad()
@pytest.mark.parametrize("packed", [True, False])
def test_a_score_reads_a_rows_last_token_whatever_runs_beside_it(packed, llama):
    base = replace(llama, runs_packed=packed)
    rewards = tiny.rewards(llama, [0, 1])
    for arm in range(2):
        expected = torch.stack([alone(llama, rewards, arm, row) for row in ROWS])
        assert expected.std() > 0.1
        tiny.close(raw_scores(base, rewards.bank, rewards.heads, arm, ROWS), expected)
        tiny.close(score_rows(base, rewards.bank, rewards.heads, arm, ROWS), expected)


@torch.no_grad()
def test_many_rows_are_scored_pass_by_pass_in_their_order(llama, monkeypatch):
    rewards = tiny.rewards(llama, [0, 1])
    rows = [*ROWS, *tiny.ragged(30, 2, 40, seed=3), ROWS[0]]
    whole = score_rows(llama, rewards.bank, rewards.heads, 1, rows)
    assert whole[0] == whole[-1]
    sizes = []

    def counted(trees, *rest, **options):
        sizes.append(sum(len(tree.tokens) for tree in trees))
        return stack(trees, *rest, **options)

    monkeypatch.setattr(module, "stack", counted)
    monkeypatch.setattr(module, "training_tokens", lambda *_: 64)
    tiny.close(score_rows(llama, rewards.bank, rewards.heads, 1, rows), whole)
    assert len(sizes) > 5
    assert max(sizes) <= 64


@torch.no_grad()
def test_normalisation_is_per_arm(llama):
    rewards = tiny.rewards(llama, [0, 1, 2])
    for arm in range(3):
        raw = raw_scores(llama, rewards.bank, rewards.heads, arm, ROWS)
        tiny.close(rewards.score(llama, arm, ROWS), (1 + arm) * raw - 0.5 * (1 + arm))


def test_gradients_reach_the_arm_that_is_scored_alone(llama):
    rewards = tiny.rewards(llama, [0, 1])
    rewards.heads.requires_grad_(True)
    raw_scores(llama, rewards.bank, rewards.heads, 1, ROWS).sum().backward()
    own = [*rewards.bank.arm_parameters(1), *rewards.heads.arm_parameters(1)]
    other = [*rewards.bank.arm_parameters(0), *rewards.heads.arm_parameters(0)]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in own)
    assert all(p.grad is None or not p.grad.any() for p in other)


def test_stored_rewards_score_as_before(llama, tmp_path):
    rewards = tiny.rewards(llama, [0, 1])
    folders = [tmp_path / "a", tmp_path / "b"]
    for arm, folder in enumerate(folders):
        scale = (float(rewards.gain[arm]), float(rewards.bias[arm]))
        save_reward(folder, llama, rewards.bank, rewards.heads, arm, scale)
    loaded = load_rewards(llama, folders)
    assert not any(p.requires_grad for p in [*loaded.bank.parameters(), *loaded.heads.parameters()])
    for arm in range(2):
        expected = rewards.score(llama, arm, ROWS).tolist()
        assert loaded.score(llama, arm, ROWS).tolist() == pytest.approx(expected, abs=1e-5)
    assert not torch.allclose(loaded.score(llama, 0, ROWS), loaded.score(llama, 1, ROWS))

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor
from torch.testing import assert_close

from ethosteer.maths.rloo import leave_one_out


def test_leave_one_out_by_hand():
    # prompt 1: 1 - (2 + 6) / 2 = -3; 2 - 3.5 = -1.5; 6 - 1.5 = 4.5. prompt 2: all alike
    found = leave_one_out(tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0]), answers=3)
    assert_close(found, tensor([-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]))
    # with two answers it is the difference, either way
    assert leave_one_out(tensor([4.0, 1.0]), answers=2).tolist() == [3.0, -3.0]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 10_000))
def test_against_a_loop_over_the_other_answers(prompts, answers, seed):
    rewards = np.random.default_rng(seed).normal(size=(prompts, answers))
    found = leave_one_out(torch.from_numpy(rewards.ravel()), answers).numpy()
    expected = [
        rewards[prompt, own] - np.mean([rewards[prompt, i] for i in range(answers) if i != own])
        for prompt in range(prompts)
        for own in range(answers)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 6), st.integers(0, 10_000), st.floats(-100, 100), st.floats(0.1, 10))
def test_invariances(answers, seed, shift, scale):
    noise = np.random.default_rng(seed)
    rewards = torch.from_numpy(noise.normal(size=3 * answers))
    found = leave_one_out(rewards, answers)
    # what a prompt's answers have in common does not count, and a prompt's advantages sum to 0
    per_prompt = tensor([shift, 0.0, -shift], dtype=torch.float64).repeat_interleave(answers)
    assert_close(leave_one_out(rewards + per_prompt, answers), found, rtol=0, atol=1e-10)
    assert found.view(3, answers).sum(dim=1).tolist() == pytest.approx([0.0] * 3, abs=1e-10)
    assert_close(leave_one_out(scale * rewards, answers), scale * found)
    # the order of a prompt's answers, and of prompts, is of no matter
    order = torch.from_numpy(noise.permutation(answers))
    mixed = rewards.view(3, answers)[:, order].flip(0).flatten()
    assert_close(leave_one_out(mixed, answers), found.view(3, answers)[:, order].flip(0).flatten())

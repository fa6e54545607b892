from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_expit
from torch import tensor
from torch.testing import assert_close

from ethosteer.maths.preference import bradley_terry_loss, dpo_loss

REWARDS = st.floats(-50, 50)


def test_equal_rewards_cost_log_two():
    assert_close(bradley_terry_loss(tensor([3.0]), tensor([3.0])), tensor([math.log(2)]))


def test_odds_of_three_to_one_by_hand():
    # a margin of log 3 gives the chosen answer 3/4
    found = bradley_terry_loss(tensor([math.log(3), 0.0]), tensor([0.0, math.log(3)]))
    assert_close(found, tensor([math.log(4 / 3), math.log(4)]))


def test_large_margins_are_exact_and_have_finite_gradients():
    chosen = tensor([1000.0, -1000.0], requires_grad=True)
    found = bradley_terry_loss(chosen, torch.zeros(2))
    assert found.tolist() == [0.0, 1000.0]
    found.sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.tolist() == [0.0, -1.0]


def test_the_loss_is_computed_in_fp32():
    found = bradley_terry_loss(tensor([2.0]).bfloat16(), tensor([0.5]).bfloat16())
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(-log_expit(1.5), rel=1e-6)


@settings(deadline=None)
@given(REWARDS, REWARDS)
def test_loss_against_scipy_and_its_symmetry(chosen, rejected):
    loss = float(bradley_terry_loss(tensor(chosen), tensor(rejected)))
    assert loss == pytest.approx(-log_expit(chosen - rejected), rel=1e-4, abs=1e-6)
    # -log s(d) + log s(-d) = -d
    swapped = float(bradley_terry_loss(tensor(rejected), tensor(chosen)))
    assert loss - swapped == pytest.approx(rejected - chosen, rel=1e-4, abs=1e-4)


def test_one_loss_per_pair():
    rewards = torch.randn(3, 4)
    assert bradley_terry_loss(rewards, rewards.flip(0)).shape == (3, 4)


# --- DPO


def test_dpo_by_hand():
    # beta 0.5; log-ratios of chosen and rejected: 1 and -1, then -3 and 1, then the same
    policy = tensor([[-10.0, -12.0], [-8.0, -4.0], [-5.0, -7.0]])
    reference = tensor([[-11.0, -11.0], [-5.0, -5.0], [-6.0, -8.0]])
    found = dpo_loss(policy, reference, beta=0.5)
    # -log s(0.5 * 2) = log(1 + 1/e); -log s(0.5 * -4) = log(1 + e^2); log 2
    expected = [math.log1p(math.exp(-1)), math.log1p(math.exp(2)), math.log(2)]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_dpo_of_a_policy_that_is_its_reference_is_log_two_exactly():
    own = 100 * torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dpo_loss(own, own, beta=0.3), torch.full((20,), math.log(2)))


def test_dpos_gradient_raises_chosen_and_lowers_rejected_by_how_wrong_the_order_is():
    policy = tensor([[-10.0, -10.0], [-13.0, -10.0]], requires_grad=True)
    dpo_loss(policy, tensor([[-10.0, -10.0], [-10.0, -10.0]]), beta=0.2).sum().backward()
    # beta * sigmoid(-margin): margins 0 and 0.2 * -3
    weights = [0.2 * 0.5, 0.2 / (1 + math.exp(-0.6))]
    assert policy.grad is not None
    assert_close(policy.grad, tensor([[-own, own] for own in weights]))


@settings(deadline=None)
@given(REWARDS, REWARDS, REWARDS, REWARDS, st.floats(0.01, 2))
def test_dpo_against_scipy(chosen, rejected, of_chosen, of_rejected, beta):
    found = dpo_loss(
        tensor([[chosen, rejected]], dtype=torch.float64),
        tensor([[of_chosen, of_rejected]], dtype=torch.float64),
        beta,
    )
    margin = beta * ((chosen - of_chosen) - (rejected - of_rejected))
    assert float(found) == pytest.approx(-log_expit(margin), rel=1e-4, abs=1e-5)

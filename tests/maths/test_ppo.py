from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import entropy as scipy_entropy
from torch import Tensor, tensor
from torch.testing import assert_close

from ethosteer.maths import ppo

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=4)


def mask_of(lengths: list[int], width: int) -> Tensor:
    return torch.arange(width).unsqueeze(0) < tensor(lengths).unsqueeze(1)


def gae_by_double_sum(
    rewards: NDArray[np.float64],
    values: NDArray[np.float64],
    length: int,
    gamma: float,
    lam: float,
) -> NDArray[np.float64]:
    """A_t = sum over l of (gamma lam)^l delta_{t+l}, with V = 0 once the response is over."""
    known = [*values[:length], 0.0]
    deltas = [rewards[t] + gamma * known[t + 1] - known[t] for t in range(length)]
    advantages = np.zeros(len(rewards))
    for t in range(length):
        advantages[t] = sum((gamma * lam) ** step * deltas[t + step] for step in range(length - t))
    return advantages


# --- log-probabilities and entropy


def test_log_probabilities_are_scipys_log_softmax_at_the_tokens():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, size=(2, 5, 11))
    tokens = generator.integers(0, 11, size=(2, 5))
    for temperature in (0.5, 1.0, 1.7):
        expected = np.take_along_axis(
            log_softmax(logits / temperature, axis=-1), tokens[..., None], axis=-1
        )[..., 0]
        found = ppo.token_log_probabilities(
            torch.from_numpy(logits).float(), torch.from_numpy(tokens), temperature
        )
        assert_close(found, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


def test_log_probabilities_at_temperature_one_unless_told():
    logits, tokens = tensor([[0.0, math.log(3.0)]]), tensor([1])
    assert_close(ppo.token_log_probabilities(logits, tokens), tensor([math.log(0.75)]))
    # at temperature 2 the odds of 3 become sqrt(3): p = sqrt(3) / (1 + sqrt(3))
    expected = math.log(math.sqrt(3) / (1 + math.sqrt(3)))
    assert_close(ppo.token_log_probabilities(logits, tokens, 2.0), tensor([expected]))


def test_log_probabilities_stay_finite_for_large_logits_and_are_computed_in_fp32():
    large = ppo.token_log_probabilities(tensor([[1e4, 0.0]]), tensor([1]))
    assert_close(large, tensor([-1e4]))
    coarse = torch.linspace(-3, 3, 64).bfloat16().unsqueeze(0)
    found = ppo.token_log_probabilities(coarse, tensor([10]))
    assert found.dtype == torch.float32
    exact = log_softmax(coarse.double().numpy(), axis=-1)[0, 10]
    assert float(found[0]) == pytest.approx(exact, abs=1e-5)


def test_entropy_is_scipys():
    logits = np.random.default_rng(1).normal(0, 2, size=(4, 9))
    for temperature in (1.0, 0.6):
        weights = np.exp(logits / temperature)
        expected = scipy_entropy(weights, axis=-1)  # scipy normalises the weights itself
        found = ppo.entropy(torch.from_numpy(logits), temperature)
        assert_close(found, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


# --- KL


P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])


@pytest.mark.parametrize("estimator", [ppo.kl_k1, ppo.kl_k3])
def test_kl_estimates_are_unbiased_for_policy_against_reference(estimator):
    # the expectation under the policy, by summing over all three outcomes
    each = estimator(torch.from_numpy(np.log(P)), torch.from_numpy(np.log(Q)))
    assert float(each @ torch.from_numpy(P)) == pytest.approx(scipy_entropy(P, Q), abs=1e-12)
    assert scipy_entropy(P, Q) != pytest.approx(scipy_entropy(Q, P), abs=0.01)


def test_kl_by_hand():
    # policy 1/2, reference 1/4: k1 = log 2; k3 = 1/2 - 1 + log 2
    log_p, log_q = tensor([math.log(0.5)]), tensor([math.log(0.25)])
    assert_close(ppo.kl_k1(log_p, log_q), tensor([math.log(2)]))
    assert_close(ppo.kl_k3(log_p, log_q), tensor([math.log(2) - 0.5]))


@settings(deadline=None)
@given(st.floats(-30, 0, width=32), st.floats(-30, 0, width=32))
def test_k3_is_never_negative_and_zero_only_at_equality(log_p, log_q):
    found = float(ppo.kl_k3(tensor(log_p), tensor(log_q)))
    assert found >= -1e-6 * abs(log_p - log_q)  # one rounding of fp32
    if log_p == log_q:
        assert found == 0
    elif abs(log_p - log_q) > 0.01:
        assert found > 0


# --- rewards


def test_the_score_is_added_once_at_the_last_response_token():
    kl = tensor([[0.5, -0.25, 1.0, 9.0], [2.0, 9.0, 9.0, 9.0], [1.0, 1.0, 1.0, 1.0]])
    found = ppo.token_rewards(
        scores=tensor([10.0, -3.0, 0.5]),
        kl=kl,
        response_mask=mask_of([3, 1, 4], 4),
        coefficient=tensor([0.1, 0.5, 0.0]),
    )
    # row 0: -0.1 * (0.5, -0.25, 1.0), then 10 on the third; row 1: -0.5 * 2 - 3; row 2: no KL cost
    expected = tensor([[-0.05, 0.025, 9.9, 0.0], [-4.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5]])
    assert_close(found, expected)
    assert float(kl[0, 0]) == 0.5  # the input is left alone


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(0, 10_000))
def test_a_rows_rewards_sum_to_its_score_less_its_kl_cost(lengths, seed):
    generator = np.random.default_rng(seed)
    rows = len(lengths)
    kl, scores = generator.normal(size=(rows, 7)), generator.normal(size=rows)
    coefficient = generator.uniform(0, 1, rows)
    found = ppo.token_rewards(
        torch.from_numpy(scores),
        torch.from_numpy(kl),
        mask_of(lengths, 7),
        torch.from_numpy(coefficient),
    ).numpy()
    for row, length in enumerate(lengths):
        expected = scores[row] - coefficient[row] * kl[row, :length].sum()
        assert found[row].sum() == pytest.approx(expected, abs=1e-9)
        assert not found[row, length:].any()


# --- advantages


def test_gae_by_hand():
    # gamma 1, lambda 0.95; deltas from the end: 1 - 0.2 = 0.8; 0.2 - 0.4 = -0.2; 0.4 - 0.5 = -0.1
    # advantages: 0.8; -0.2 + 0.95 * 0.8 = 0.56; -0.1 + 0.95 * 0.56 = 0.432
    advantages, returns = ppo.generalised_advantages(
        tensor([[0.0, 0.0, 1.0]]), tensor([[0.5, 0.4, 0.2]]), mask_of([3], 3), 1.0, 0.95
    )
    assert_close(advantages, tensor([[0.432, 0.56, 0.8]]))
    assert_close(returns, tensor([[0.932, 0.96, 1.0]]))


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.floats(0.5, 1), st.floats(0, 1), st.integers(0, 10_000))
def test_gae_is_the_double_sum_over_deltas(lengths, gamma, lam, seed):
    generator = np.random.default_rng(seed)
    rewards, values = generator.normal(size=(2, len(lengths), 7))
    advantages, returns = ppo.generalised_advantages(
        torch.from_numpy(rewards), torch.from_numpy(values), mask_of(lengths, 7), gamma, lam
    )
    for row, length in enumerate(lengths):
        expected = gae_by_double_sum(rewards[row], values[row], length, gamma, lam)
        np.testing.assert_allclose(advantages[row].numpy(), expected, atol=1e-10)
        np.testing.assert_allclose(
            returns[row, :length].numpy(), expected[:length] + values[row, :length], atol=1e-10
        )
        assert not returns[row, length:].any()


def test_nothing_after_the_end_of_a_response_enters_its_advantages():
    generator = torch.Generator().manual_seed(3)
    rewards, values = torch.randn(2, 3, 6, generator=generator)
    lengths = [2, 6, 4]
    mask = mask_of(lengths, 6)
    plain = ppo.generalised_advantages(rewards, values, mask, 1.0, 0.95)
    loud = ppo.generalised_advantages(
        torch.where(mask, rewards, 1e6), torch.where(mask, values, -1e6), mask, 1.0, 0.95
    )
    assert_close(loud, plain, rtol=0, atol=0)
    for row, length in enumerate(lengths):
        alone = ppo.generalised_advantages(
            rewards[row : row + 1, :length],
            values[row : row + 1, :length],
            mask_of([length], length),
            1.0,
            0.95,
        )
        assert_close(plain[0][row, :length], alone[0][0])
        assert_close(plain[1][row, :length], alone[1][0])


def test_with_lambda_one_the_returns_are_the_rewards_to_go():
    rewards, values = tensor([[1.0, 2.0, 4.0]]), tensor([[7.0, -3.0, 0.5]])
    _, returns = ppo.generalised_advantages(rewards, values, mask_of([3], 3), 1.0, 1.0)
    assert_close(returns, tensor([[7.0, 6.0, 4.0]]))


def test_the_input_values_are_left_alone():
    values = tensor([[1.0, 2.0]])
    ppo.generalised_advantages(tensor([[1.0, 1.0]]), values, mask_of([1], 2), 1.0, 0.95)
    assert values.tolist() == [[1.0, 2.0]]


# --- losses


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.5, 1.0, -1.2, 1.0),  # max(-1.5, -1.2): no more gain above 1.2
        (0.5, 1.0, -0.5, 0.0),  # max(-0.5, -0.8): a good token lost is pulled back
        (1.5, -1.0, 1.5, 0.0),  # max(1.5, 1.2): a bad token gained is pulled back
        (0.5, -1.0, 0.8, 1.0),  # max(0.5, 0.8): no more gain below 0.8
        (1.1, 2.0, -2.2, 0.0),  # inside the clip
        (1.0, 3.0, -3.0, 0.0),
    ],
)
def test_policy_loss_on_both_sides_of_the_clip(ratio, advantage, loss, clipped):
    old = tensor([[-2.0]])
    log_p = (old + math.log(ratio)).requires_grad_()
    found, bound = ppo.policy_losses(log_p, old, tensor([[advantage]]), 0.2)
    assert float(found.detach()) == pytest.approx(loss, rel=1e-6)
    assert float(bound) == clipped
    found.sum().backward()
    assert log_p.grad is not None
    # d(-A ratio)/d(log p) = -A ratio inside, nothing where the clip binds
    gradient = 0.0 if clipped else -advantage * ratio
    assert float(log_p.grad) == pytest.approx(gradient, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient"),
    [
        # the old value is 1 and the clip 0.2, so the value is also judged where it is at most moved
        (1.1, 2.0, 0.405, -0.9),  # not clipped: 0.5 * 0.9^2
        (1.5, 2.0, 0.32, 0.0),  # clipped to 1.2: 0.5 * 0.8^2 is more than 0.5 * 0.5^2
        (1.5, 1.0, 0.125, 0.5),  # clipped to 1.2 errs less (0.2): the unclipped 0.5 * 0.5^2 counts
        (0.5, 0.0, 0.32, 0.0),  # clipped to 0.8: 0.5 * 0.8^2
        (0.5, 1.0, 0.125, -0.5),
    ],
)
def test_value_loss_on_both_sides_of_the_clip(value, target, loss, gradient):
    values = tensor([[value]], requires_grad=True)
    found = ppo.value_losses(values, tensor([[1.0]]), tensor([[target]]), 0.2)
    assert float(found.detach()) == pytest.approx(loss, rel=1e-6)
    found.sum().backward()
    assert values.grad is not None
    assert float(values.grad) == pytest.approx(gradient, rel=1e-6, abs=1e-9)


# --- the adaptive controller


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        # coefficient 0.2, target 6, batch 64, horizon 10000: batch / horizon = 0.0064
        (9.0, 0.200256),  # error 0.5 -> 0.2: 0.2 * 1.00128
        (7.2, 0.200256),  # error 0.2, the most that counts
        (6.6, 0.200128),  # error 0.1: 0.2 * 1.00064
        (6.0, 0.2),
        (5.4, 0.199872),  # error -0.1
        (0.0, 0.199744),  # error -1 -> -0.2: 0.2 * 0.99872
        (-5.0, 0.199744),  # a negative estimate is clipped too
    ],
)
def test_the_controller_by_hand(kl, expected):
    found = ppo.adapted_coefficient(0.2, kl, target=6.0, batch=64, horizon=10_000)
    assert found == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-3, 10), st.floats(-5, 500), st.floats(0.1, 50))
def test_the_controller_moves_towards_the_target_and_by_no_more_than_its_share(c, kl, target):
    found = ppo.adapted_coefficient(c, kl, target, batch=100, horizon=1000)
    assert np.sign(found - c) == pytest.approx(np.sign(kl - target)) or abs(kl / target - 1) < 1e-12
    assert 0.98 * c * (1 - 1e-12) <= found <= 1.02 * c * (1 + 1e-12)

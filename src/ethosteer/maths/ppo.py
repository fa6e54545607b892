"""The formulas of PPO from preferences, each on plain tensors, in fp32.

Shapes: R rows (arms * rows), N response tokens. Sources: Schulman et al. 2017 (PPO), Schulman et
al. 2016 (GAE), Ziegler et al. 2019 (KL reward, adaptive controller), Schulman 2020 (KL estimators).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def token_log_probabilities(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token under ``logits / temperature``.

    logits: ``[..., vocabulary]``; tokens: ``[...]`` -> ``[...]``, fp32.
    """
    scaled = logits.float() if temperature == 1.0 else logits.float() / temperature
    flat = functional.cross_entropy(scaled.flatten(end_dim=-2), tokens.flatten(), reduction="none")
    return -flat.view(tokens.shape)


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of ``softmax(logits / temperature)``: ``[..., vocabulary]`` -> ``[...]``."""
    log_p = (logits.float() / temperature).log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


def kl_k1(log_p: Tensor, reference_log_p: Tensor) -> Tensor:
    """The unbiased single-sample estimate of KL(policy || reference): ``log p - log q``."""
    return log_p - reference_log_p


def kl_k3(log_p: Tensor, reference_log_p: Tensor) -> Tensor:
    """Schulman's low-variance, never negative estimate: ``exp(q - p) - 1 - (q - p)`` of logs."""
    difference = reference_log_p - log_p
    return difference.expm1() - difference


def token_rewards(scores: Tensor, kl: Tensor, response_mask: Tensor, coefficient: Tensor) -> Tensor:
    """Rewards per token: ``-coefficient * kl``, and the score once at the last response token.

    scores: ``[R]``; kl, response_mask: ``[R, N]``, the mask a prefix of each row with at least one
    token; coefficient: ``[R]`` -> ``[R, N]``.
    """
    rewards = torch.where(response_mask, -coefficient.unsqueeze(1) * kl, torch.zeros_like(kl))
    last = response_mask.sum(dim=1) - 1
    return rewards.scatter_add(1, last.unsqueeze(1), scores.unsqueeze(1).to(rewards.dtype))


def generalised_advantages(
    rewards: Tensor, values: Tensor, response_mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """GAE over each row's response; nothing is bootstrapped past its end.

    rewards, values, response_mask: ``[R, N]`` -> (advantages, returns), ``[R, N]`` each, 0 outside
    the mask; returns are advantages + values, from unwhitened advantages.
    """
    mask = response_mask.to(values.dtype)
    values = values * mask
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    following = torch.zeros_like(running)
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = (delta + gamma * lam * running) * mask[:, t]
        following = values[:, t]
        advantages[:, t] = running
    return advantages, (advantages + values) * mask


def policy_losses(
    log_p: Tensor, old_log_p: Tensor, advantages: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """Clipped surrogate per token: ``max(-A ratio, -A clamp(ratio))``, and where the clip bound.

    log_p, old_log_p, advantages: ``[R, N]`` -> (losses, clipped as 0/1), ``[R, N]`` each.
    """
    ratio = (log_p - old_log_p).exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(unclipped, clipped), (clipped > unclipped).to(log_p.dtype)


def value_losses(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """``0.5 * max`` of the squared errors of the value and of the value clipped around the old one.

    values, old_values, returns: ``[R, N]`` -> ``[R, N]``.
    """
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square())


def adapted_coefficient(
    coefficient: float, kl: float, target: float, batch: int, horizon: int
) -> float:
    """The adaptive KL controller (Ziegler et al. 2019, section 2.2), of one arm.

    kl, target: nats per response; the proportional error is clipped to 0.2 either way and moves
    the coefficient by ``error * batch / horizon``.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * batch / horizon)

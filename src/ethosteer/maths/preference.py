"""Losses on preference pairs."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """``-log sigmoid(r_chosen - r_rejected)`` per pair (Bradley and Terry 1952; Ouyang 2022).

    chosen, rejected: rewards ``[...]`` -> losses ``[...]``.
    """
    return -logsigmoid(chosen.float() - rejected.float())


def dpo_loss(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """``-log sigmoid(beta (log-ratio of chosen - log-ratio of rejected))`` (Rafailov et al. 2023).

    policy, reference: log-likelihoods of (chosen, rejected), ``[pairs, 2]`` -> losses ``[pairs]``.
    """
    ratios = (policy - reference).float()
    return -logsigmoid(beta * (ratios[:, 0] - ratios[:, 1]))

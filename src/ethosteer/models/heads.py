"""Scalar heads of many arms: reward models' scores and PPO's values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ScalarHeads(nn.Module):
    """One linear map to a scalar per arm, in fp32: weights ``[hidden]``, biases ``[1]``.

    A reward model's ``score`` has no bias (as in AutoModelForSequenceClassification) and starts
    small and random, the same in every arm; a value head has one and starts at zero.
    """

    def __init__(self, arms: int, hidden: int, *, bias: bool, seed: int | None = None) -> None:
        super().__init__()
        weight = torch.zeros(hidden)
        if seed is not None:
            weight.normal_(0, hidden**-0.5 / 4, generator=torch.Generator().manual_seed(seed))
        self.weights = nn.ParameterList([weight.clone() for _ in range(arms)])
        self.biases = nn.ParameterList([torch.zeros(1) for _ in range(arms if bias else 0)])

    def forward(self, hidden: Tensor, arms: Sequence[int] | None = None) -> Tensor:
        """hidden: ``[arms * rows, ..., hidden]`` -> ``[arms * rows, ...]``, fp32."""
        chosen = range(len(self.weights)) if arms is None else arms
        weight = torch.stack([self.weights[arm] for arm in chosen])
        blocks = hidden.float().reshape(weight.shape[0], -1, hidden.shape[-1])
        out = torch.bmm(blocks, weight.unsqueeze(2)).squeeze(2)
        if self.biases:
            out = out + torch.stack([self.biases[arm] for arm in chosen])
        return out.view(hidden.shape[:-1])

    def arm_parameters(self, arm: int) -> list[nn.Parameter]:
        """Return one arm's parameters."""
        return [self.weights[arm], *([self.biases[arm]] if self.biases else [])]

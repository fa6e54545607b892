"""The baseline of REINFORCE leave-one-out (Kool et al. 2019; Ahmadian et al. 2024)."""

from __future__ import annotations

from torch import Tensor


def leave_one_out(rewards: Tensor, answers: int) -> Tensor:
    """Each reward less the mean of the other answers to the same prompt.

    rewards: ``[prompts * answers]``, a prompt's answers next to each other -> the same shape.
    """
    by_prompt = rewards.view(-1, answers)
    others = (by_prompt.sum(dim=1, keepdim=True) - by_prompt) / (answers - 1)
    return (by_prompt - others).flatten()

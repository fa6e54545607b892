"""RLOO: no critic; an answer is held against the other answers to its prompt.

Ahmadian et al. 2024, "Back to Basics: Revisiting REINFORCE-Style Optimization for Learning from
Human Feedback in LLMs".
"""

from __future__ import annotations

import torch

from ethosteer.algorithms.loop import Task
from ethosteer.algorithms.on_policy import OnPolicy, Targets
from ethosteer.maths.ppo import kl_k1
from ethosteer.maths.rloo import leave_one_out
from ethosteer.records import Rollout


class RLOO(OnPolicy):
    """Several answers to each prompt; a whole answer is one action."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, critic=False)
        self.clip = task.settings.rloo.clip
        self.copies = task.settings.rloo.answers

    def targets(self, rollout: Rollout) -> Targets:
        """The answer's penalised reward less the mean of its siblings', at each of its tokens."""
        mask, arms = rollout.response_mask, len(rollout.arms)
        kl = kl_k1(rollout.log_probabilities, rollout.reference_log_probabilities)
        coefficients = torch.tensor([self.coefficients[arm] for arm in rollout.arms])
        coefficients = coefficients.to(mask.device).repeat_interleave(len(mask) // arms)
        rewards = rollout.scores - coefficients * (kl * mask).sum(dim=1)
        advantages = leave_one_out(rewards, self.copies)
        return Targets(advantages.unsqueeze(1) * mask)

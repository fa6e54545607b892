"""PPO: same prompts, same noise, each arm its own reward and its own critic.

Follows Ziegler et al. 2019, Stiennon et al. 2020 and Huang et al. 2024 ("The N+ implementation
details of RLHF with PPO"). The reference is the base with the adapters off, the value head reads
the policy's last hidden state.
"""

from __future__ import annotations

import torch

from ethosteer.algorithms.loop import Task
from ethosteer.algorithms.on_policy import OnPolicy, Targets
from ethosteer.maths.masked import masked_whiten
from ethosteer.maths.ppo import generalised_advantages, kl_k1, token_rewards
from ethosteer.records import Rollout


class PPO(OnPolicy):
    """Generalised advantages from a critic, whitened per arm."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, critic=True)
        self.own = task.settings.ppo
        self.clip = self.own.clip
        self.value_clip = self.own.value_clip
        self.value_weight = self.own.value_weight

    def targets(self, rollout: Rollout) -> Targets:
        """KL per token and the score at the end, through GAE."""
        mask, arms = rollout.response_mask, len(rollout.arms)
        coefficients = torch.tensor([self.coefficients[arm] for arm in rollout.arms])
        rewards = token_rewards(
            rollout.scores,
            kl_k1(rollout.log_probabilities, rollout.reference_log_probabilities),
            mask,
            coefficients.to(mask.device).repeat_interleave(len(mask) // arms),
        )
        advantages, returns = generalised_advantages(
            rewards, rollout.values, mask, self.own.gamma, self.own.gae_lambda
        )
        by_arm = (arms, -1, mask.shape[1])
        whitened = masked_whiten(advantages.view(by_arm), mask.view(by_arm))
        return Targets(whitened.view_as(advantages), returns)

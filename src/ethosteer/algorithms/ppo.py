"""PPO: proximal policy optimisation with a value head for each arm.

Follows Ziegler et al. 2019, Stiennon et al. 2020 and Huang et al. 2024 ("The N+ implementation
details of RLHF with PPO"). The reference is the base without adapters; the value head reads the
policy's last hidden state.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from ethosteer.algorithms.algorithm import Algorithm, policy_gradient_cost
from ethosteer.settings import AlgorithmSettings

if TYPE_CHECKING:
    from ethosteer.algorithms.loop.on_policy import PolicyGradient, Targets
    from ethosteer.algorithms.loop.steering import Steering
    from ethosteer.records import Rollout


class PPOSettings(AlgorithmSettings):
    """[steer.ppo]: proximal policy optimisation (Ziegler et al. 2019; Huang et al. 2024)."""

    gamma: float = Field(1.0, gt=0, le=1, description="discount factor")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="of generalised advantage estimation")
    clip: float = Field(0.2, gt=0, le=1e6, description="of the ratio")
    value_clip: float = Field(0.2, gt=0, le=1e6, description="of the change of a value")
    value_weight: float = Field(0.1, ge=0, le=1e6, description="of the value loss")


def targets(steering: Steering, rollout: Rollout) -> Targets:
    """Return advantages and returns (GAE); the reward is the KL penalty, and the score at the end.

    Advantages are whitened for each arm by itself.
    """
    # Imported here, as a study is validated and planned without torch.
    from ethosteer.algorithms.loop.on_policy import Targets
    from ethosteer.maths.masked import masked_whiten
    from ethosteer.maths.ppo import generalised_advantages, kl_k1, token_rewards

    settings = steering.settings.table(PPOSettings)
    mask = rollout.response_mask
    rewards = token_rewards(
        rollout.scores,
        kl_k1(rollout.log_probabilities, rollout.reference_log_probabilities),
        mask,
        steering.kl_coefficients(rollout),
    )
    advantages, returns = generalised_advantages(
        rewards, rollout.values, mask, settings.gamma, settings.gae_lambda
    )
    by_arm = (len(rollout.arms), -1, mask.shape[1])
    whitened = masked_whiten(advantages.view(by_arm), mask.view(by_arm))
    return Targets(whitened.view_as(advantages), returns)


def learner(steering: Steering) -> PolicyGradient:
    """Return the clipped policy gradient with PPO's targets."""
    from ethosteer.algorithms.loop.on_policy import PolicyGradient

    settings = steering.settings.table(PPOSettings)
    return PolicyGradient(
        steering,
        partial(targets, steering),
        clip=settings.clip,
        value_clip=settings.value_clip,
        value_weight=settings.value_weight,
    )


ALGORITHM = Algorithm(
    name="ppo",
    title="PPO",
    settings=PPOSettings,
    learner=learner,
    updates=lambda steer: steer.epochs * steer.minibatches,
    cost=policy_gradient_cost,
    critic=True,
)

"""RLOO: REINFORCE whose baseline is the mean reward of the other answers to the same prompt.

Ahmadian et al. 2024, "Back to Basics: Revisiting REINFORCE-Style Optimization for Learning from
Human Feedback in LLMs".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from ethosteer.algorithms.algorithm import Algorithm, policy_gradient_cost
from ethosteer.errors import InputError
from ethosteer.settings import AlgorithmSettings, SteerSettings

if TYPE_CHECKING:
    from ethosteer.algorithms.loop.on_policy import PolicyGradient, Targets
    from ethosteer.algorithms.loop.steering import Steering
    from ethosteer.records import Rollout


class RLOOSettings(AlgorithmSettings):
    """[steer.rloo]: REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024)."""

    answers: int = Field(
        4, ge=2, le=4096, description="to each prompt; steer.batch must be a multiple"
    )
    clip: float = Field(0.2, gt=0, le=1e6, description="of the ratio")

    def check(self, steer: SteerSettings) -> None:
        """Raise InputError where a batch would have a prompt with too few answers."""
        if steer.batch % self.answers:
            raise InputError("steer.batch must be a multiple of steer.rloo.answers")


def targets(steering: Steering, rollout: Rollout) -> Targets:
    """Return advantages; a whole answer is one action, so all its tokens have the same.

    An answer's reward is its score minus its KL penalty.
    """
    # Imported here, as a study is validated and planned without torch.
    from ethosteer.algorithms.loop.on_policy import Targets
    from ethosteer.maths.ppo import kl_k1
    from ethosteer.maths.rloo import leave_one_out

    mask = rollout.response_mask
    kl = kl_k1(rollout.log_probabilities, rollout.reference_log_probabilities)
    rewards = rollout.scores - steering.kl_coefficients(rollout) * (kl * mask).sum(dim=1)
    advantages = leave_one_out(rewards, steering.settings.table(RLOOSettings).answers)
    return Targets(advantages.unsqueeze(1) * mask)


def learner(steering: Steering) -> PolicyGradient:
    """Return the clipped policy gradient with RLOO's targets."""
    from ethosteer.algorithms.loop.on_policy import PolicyGradient

    settings = steering.settings.table(RLOOSettings)
    return PolicyGradient(
        steering, partial(targets, steering), clip=settings.clip, copies=settings.answers
    )


ALGORITHM = Algorithm(
    name="rloo",
    title="RLOO",
    settings=RLOOSettings,
    learner=learner,
    updates=lambda steer: steer.epochs * steer.minibatches,
    cost=policy_gradient_cost,
)

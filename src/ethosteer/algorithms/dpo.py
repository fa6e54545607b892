"""DPO: learns from the pairs alone, without a reward model or samples in training.

Rafailov et al. 2023, "Direct Preference Optimization: Your Language Model is Secretly a Reward
Model". Compared with PPO on the same pairs, it separates a dataset's effect from an algorithm's.
Samples are drawn only for the curve and the checkpoint at equal KL.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from pydantic import Field

from ethosteer.algorithms.algorithm import Algorithm, Batch, Cost, Workload, curve_cost
from ethosteer.settings import AlgorithmSettings, SteerSettings

if TYPE_CHECKING:
    from ethosteer.algorithms.loop.steering import Steering
    from ethosteer.algorithms.loop.task import Learned
    from ethosteer.records import Rollout


class DPOSettings(AlgorithmSettings):
    """[steer.dpo]: direct preference optimisation, from the pairs (Rafailov et al. 2023)."""

    beta: float = Field(
        0.1, gt=0, le=1e6, description="scale of the log-ratios' difference, per nat"
    )
    pairs: int = Field(16, ge=1, le=65_536, description="per step")


class DPO:
    """A step is a batch of each arm's pairs."""

    def __init__(self, steering: Steering) -> None:
        self.steering = steering
        self.settings = steering.settings.table(DPOSettings)
        self.batches = [self._schedule(len(pairs)) for pairs in steering.task.pairs]

    def _schedule(self, count: int) -> list[list[int]]:
        """Return the batches of all steps, of as many epochs over ``count`` pairs as they take."""
        # Imported here, as a study is validated and planned without torch.
        from ethosteer.models.pairs import schedule

        size = self.settings.pairs
        epochs = ceil(self.steering.settings.steps / max(1, count // size))
        return schedule(count, size, epochs, lambda epoch: self.steering.generator("pairs", epoch))

    def observe(self, step: int) -> Rollout | None:
        """Sample for the curve alone."""
        return self.steering.sample_for_curve(step)

    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """Take one optimiser step of every running arm."""
        return {arm: self._learn(step, arm) for arm in self.steering.running}

    def _learn(self, step: int, arm: int) -> Learned:
        import torch

        from ethosteer.algorithms.loop.task import Learned
        from ethosteer.maths.preference import dpo_loss
        from ethosteer.models.fast.budget import within_memory
        from ethosteer.models.pairs import pair_passes, response_log_likelihoods
        from ethosteer.models.sharding import divided, summed

        steering, task = self.steering, self.steering.task
        batch = [task.pairs[arm][i] for i in self.batches[arm][step]]
        dropout = steering.dropout_seed(step)

        def accumulate(tokens: int) -> float:
            total = 0.0
            for pairs, weight in divided(pair_passes(batch, tokens)):
                with torch.no_grad():
                    reference = response_log_likelihoods(task.base, pairs)
                with task.policies.applied([arm]):
                    policy = response_log_likelihoods(task.base, pairs, dropout)
                loss = weight * dpo_loss(policy, reference, self.settings.beta).sum() / len(batch)
                loss.backward()
                total += float(loss.detach())
            return summed([total])[0]

        total = within_memory(
            task.base,
            "training",
            steering.collector.token_budget,
            [pair.tokens for pair in batch],
            accumulate,
            steering.optimisers[arm].adamw.zero_grad,
        )
        return Learned(total, finite=steering.optimisers[arm].step())


def cost(steer: SteerSettings, workload: Workload) -> Cost:
    """Return the tokens of the pairs, read by the reference and learned from, and of the curve."""
    tokens = steer.steps * steer.table(DPOSettings).pairs * workload.pair_tokens
    return curve_cost(steer, workload) + Cost(forward_tokens=tokens, trained_tokens=tokens)


ALGORITHM = Algorithm(
    name="dpo",
    title="DPO",
    settings=DPOSettings,
    learner=DPO,
    updates=lambda steer: 1,
    cost=cost,
    batch=lambda steer: Batch(steer.batch, pairs=steer.table(DPOSettings).pairs),
)

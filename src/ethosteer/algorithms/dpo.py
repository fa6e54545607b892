"""DPO: straight from the pairs, with no reward model and no samples in training.

Rafailov et al. 2023, "Direct Preference Optimization: Your Language Model is Secretly a Reward
Model". With it a dataset and an algorithm can be told apart. Samples are drawn now and then, for
the curve and the checkpoint at equal KL alone.
"""

from __future__ import annotations

from math import ceil

import torch

from ethosteer.algorithms.loop import Learned, Steering, Task
from ethosteer.maths.preference import dpo_loss
from ethosteer.models.pairs import pair_passes, response_log_likelihoods, schedule
from ethosteer.records import Rollout


class DPO(Steering):
    """A step is a batch of each arm's own pairs."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, updates=1)
        self.plans = [self._plan(len(pairs)) for pairs in task.pairs]

    def _plan(self, count: int) -> list[list[int]]:
        """Batches for all steps, from as many epochs over ``count`` pairs as they need."""
        size = self.settings.dpo.pairs
        epochs = ceil(self.settings.steps / max(1, count // size))
        return schedule(count, size, epochs, lambda epoch: self.generator("pairs", epoch))

    def observe(self, step: int) -> Rollout | None:
        """Sample now and then."""
        if step % self.settings.measure_every:
            return None
        return self.sample(step, self.settings.batch)

    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """One optimiser step of every running arm."""
        return {arm: self._learn(step, arm) for arm in list(self.running)}

    def _learn(self, step: int, arm: int) -> Learned:
        batch = [self.task.pairs[arm][i] for i in self.plans[arm][step]]
        total = 0.0
        for number, pairs in enumerate(pair_passes(batch, self.collector.room)):
            dropout = self.generator("dropout", step, number, device=self.base.device)
            with torch.no_grad():
                reference = response_log_likelihoods(self.base, pairs)
            with self.task.policies.applied([arm], dropout):
                policy = response_log_likelihoods(self.base, pairs)
            loss = dpo_loss(policy, reference, self.settings.dpo.beta).sum() / len(batch)
            loss.backward()
            total += float(loss.detach())
        return Learned(total, finite=self.optimisers[arm].step())

"""What PPO and RLOO share: learning from one's own fresh answers in clipped minibatch steps."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ethosteer.algorithms.loop import Learned, Steering, Task
from ethosteer.maths.ppo import policy_losses, value_losses
from ethosteer.records import Rollout


@dataclass(frozen=True, slots=True)
class Targets:
    """What a step learns towards: advantages, and returns for a critic; ``[R, N]``."""

    advantages: Tensor
    returns: Tensor | None = None


@dataclass(frozen=True, slots=True)
class _Minibatch:
    """What the parts of a minibatch of one arm share; ``tokens`` counts its response tokens."""

    rollout: Rollout
    targets: Targets
    arm: int
    tokens: int


@dataclass(slots=True)
class _Tally:
    """Sums over the updates of one step of one arm, or over a part of one of them."""

    loss: float = 0.0
    value_loss: float = 0.0
    clipped: float = 0.0
    drift: float = 0.0
    updates: int = 0
    finite: bool = True

    def add(self, part: _Tally) -> None:
        """Count a part of an update."""
        self.loss += part.loss
        self.value_loss += part.value_loss
        self.clipped += part.clipped
        self.drift = max(self.drift, part.drift)

    def learned(self) -> Learned:
        count = max(1, self.updates)
        return Learned(
            loss=self.loss / count,
            value_loss=self.value_loss / count,
            clip_share=self.clipped / count,
            drift=self.drift,
            finite=self.finite,
        )


class OnPolicy(Steering):
    """Clipped policy gradient on the arms' own samples (Schulman et al. 2017)."""

    clip: float
    value_clip = 0.0
    value_weight = 0.0
    copies = 1

    def __init__(self, task: Task, *, critic: bool) -> None:
        settings = task.settings
        super().__init__(task, updates=settings.epochs * settings.minibatches, critic=critic)

    @abstractmethod
    def targets(self, rollout: Rollout) -> Targets:
        """Say what each token of a rollout should become likelier or less likely by."""

    def observe(self, step: int) -> Rollout:
        """Sample a batch with every running arm.

        The first step runs the learner's own passes, for a KL of exactly 0 and a ratio of exactly
        1; so does any base whose arithmetic is too coarse for the sampling pass to stand for them.
        """
        exact = step == 0 or not self.base.is_exact
        count = self.settings.batch // self.copies
        return self.sample(step, count, copies=self.copies, recompute=exact)

    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """Run the epochs over one batch, arm by arm."""
        assert rollout is not None
        targets = self.targets(rollout)
        return {
            arm: self._learn(step, arm, place, rollout, targets)
            for place, arm in enumerate(rollout.arms)
            if arm in self.running
        }

    def _learn(
        self, step: int, arm: int, place: int, rollout: Rollout, targets: Targets
    ) -> Learned:
        tally = _Tally()
        for epoch in range(self.settings.epochs):
            noise = self.generator("order", step, epoch)
            count = len(self.collector.block(rollout, place))
            order = None if epoch == 0 else torch.randperm(count, generator=noise)
            for number, rows in enumerate(self.collector.minibatches(rollout, place, order)):
                batch = _Minibatch(rollout, targets, arm, int(rollout.response_mask[rows].sum()))
                for piece, part in enumerate(self.collector.parts(rollout, rows)):
                    loss, found = self._loss(batch, part, (step, epoch, number, piece))
                    loss.backward()
                    tally.add(found)
                if tally.updates == 0:
                    assert step or tally.drift == 0.0, (
                        "before the first update the ratio is 1, exactly"
                    )
                tally.updates += 1
                tally.finite &= self.optimisers[arm].step()
        return tally.learned()

    def _loss(
        self, batch: _Minibatch, part: Tensor, place: tuple[int, ...]
    ) -> tuple[Tensor, _Tally]:
        """Return the part that some rows have in their minibatch's loss, and what they showed.

        Means are over all the minibatch's tokens. ``place`` is (step, epoch, minibatch, part).
        """
        rollout, targets, arm, total = batch.rollout, batch.targets, batch.arm, batch.tokens
        dropout = self.generator("dropout", *place, device=self.base.device)
        found = _Tally()
        mask = rollout.response_mask[part]
        states = self.collector.states(rollout, arm, part, dropout)
        log_p = self.collector.log_p(rollout, part, self.base.logits(states))
        old = rollout.log_probabilities[part][mask]
        if place[1:3] == (0, 0):
            found.drift = float(((log_p.detach() - old).exp() - 1).abs().max())
        losses, clipped = policy_losses(log_p, old, targets.advantages[part][mask], self.clip)
        loss = losses.sum() / total
        found.loss = float(loss.detach())
        found.clipped = float(clipped.sum()) / total
        if self.values is not None and targets.returns is not None:
            value = value_losses(
                self.values(states, [arm]),
                rollout.values[part][mask],
                targets.returns[part][mask],
                self.value_clip,
            )
            value_loss = value.sum() / total
            found.value_loss = float(value_loss.detach())
            loss = loss + self.value_weight * value_loss
        return loss, found

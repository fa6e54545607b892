"""The clipped policy gradient of PPO and RLOO: minibatch steps on an arm's fresh answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ethosteer.algorithms.loop.steering import Steering
from ethosteer.algorithms.loop.task import Learned
from ethosteer.maths.ppo import policy_losses, value_losses
from ethosteer.models.fast.budget import within_memory
from ethosteer.models.sharding import divided, largest, summed
from ethosteer.records import Rollout


@dataclass(frozen=True, slots=True)
class Targets:
    """Advantages for the policy, and returns for a critic; ``[R, N]``."""

    advantages: Tensor
    returns: Tensor | None = None


@dataclass(frozen=True, slots=True)
class _Minibatch:
    """Rows of one arm; ``tokens`` counts their response tokens, ``dropout`` seeds the masks."""

    rollout: Rollout
    targets: Targets
    arm: int
    rows: Tensor
    dropout: int

    @property
    def tokens(self) -> int:
        """Count the response tokens."""
        return int(self.rollout.response_mask[self.rows].sum())


@dataclass(slots=True)
class _Terms:
    """The terms of a loss, or their sums over passes and updates; ``drift`` is the largest."""

    loss: float = 0.0
    value_loss: float = 0.0
    clipped: float = 0.0
    drift: float = 0.0

    def add(self, terms: _Terms) -> None:
        self.loss += terms.loss
        self.value_loss += terms.value_loss
        self.clipped += terms.clipped
        self.drift = max(self.drift, terms.drift)

    def of_all(self) -> _Terms:
        """Return the terms of all processes' passes."""
        loss, value_loss, clipped = summed([self.loss, self.value_loss, self.clipped])
        return _Terms(loss, value_loss, clipped, largest(self.drift))


@dataclass
class PolicyGradient:
    """Clipped policy gradient on fresh samples (Schulman et al. 2017).

    ``targets(rollout)`` are the advantages, and a critic's returns. Each prompt is answered
    ``copies`` times; a step samples ``steer.batch`` answers.
    """

    steering: Steering
    targets: Callable[[Rollout], Targets]
    clip: float
    copies: int = 1
    value_clip: float = 0.0
    value_weight: float = 0.0

    def observe(self, step: int) -> Rollout:
        """Sample a batch with every running arm.

        The first step recomputes log-probabilities by the learner's passes, for a KL of exactly 0
        and a ratio of exactly 1. So does every step of a base in bfloat16 or float16, where the
        sampling pass's differ by too much.
        """
        steering = self.steering
        recompute = step == 0 or not steering.base.is_exact
        count = steering.settings.batch // self.copies
        return steering.sample(step, count, copies=self.copies, recompute=recompute)

    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """Run the epochs over one batch, arm by arm."""
        assert rollout is not None
        targets = self.targets(rollout)
        return {
            arm: self._learn(step, arm, position, rollout, targets)
            for position, arm in enumerate(rollout.arms)
            if arm in self.steering.running
        }

    def _learn(
        self, step: int, arm: int, position: int, rollout: Rollout, targets: Targets
    ) -> Learned:
        steering, collector = self.steering, self.steering.collector
        sums, updates, drift, finite = _Terms(), 0, 0.0, True
        rows_per_arm = len(collector.block(rollout, position))
        for epoch in range(steering.settings.epochs):
            order = None  # the first epoch keeps the order, and so the minibatches, of ``collect``
            if epoch > 0:
                noise = steering.generator("order", step, epoch)
                order = torch.randperm(rows_per_arm, generator=noise)
            for rows in collector.minibatches(rollout, position, order):
                dropout = steering.dropout_seed(step, epoch)
                minibatch = _Minibatch(rollout, targets, arm, rows, dropout)
                terms = self._accumulate(minibatch, is_first=updates == 0)
                sums.add(terms)
                if updates == 0:
                    drift = terms.drift
                assert step or drift == 0.0, "before the first update the ratio is 1, exactly"
                updates += 1
                finite &= steering.optimisers[arm].step()
        return Learned(
            loss=sums.loss / updates,
            value_loss=sums.value_loss / updates,
            clip_fraction=sums.clipped / updates,
            drift=drift,
            finite=finite,
        )

    def _accumulate(self, minibatch: _Minibatch, *, is_first: bool) -> _Terms:
        """Add the gradients of a minibatch, in passes, and return its terms.

        Before an arm's first update its answers are measured again where they were by other passes,
        since too little memory made these smaller: the first ratio is exactly 1.
        """
        steering, collector, rollout = self.steering, self.steering.collector, minibatch.rollout

        def accumulate(tokens: int) -> _Terms:
            if is_first and rollout.pass_tokens not in (None, tokens):
                collector.read(rollout, minibatch.arm, minibatch.rows, tokens)
            terms = _Terms()
            for rows, weight in divided(collector.passes(rollout, minibatch.rows, tokens)):
                loss, part = self._loss(minibatch, rows)
                (weight * loss).backward()
                if weight:
                    terms.add(part)
            return terms.of_all()

        return within_memory(
            steering.base,
            "training",
            collector.token_budget,
            collector.sizes(rollout, minibatch.rows),
            accumulate,
            steering.optimisers[minibatch.arm].adamw.zero_grad,
        )

    def _loss(self, minibatch: _Minibatch, rows: Tensor) -> tuple[Tensor, _Terms]:
        """Return what some rows contribute to their minibatch's loss, and its terms.

        Means are over all tokens of the minibatch.
        """
        collector, values = self.steering.collector, self.steering.values
        rollout, targets, arm = minibatch.rollout, minibatch.targets, minibatch.arm
        mask = rollout.response_mask[rows]
        states = collector.states(rollout, arm, rows, minibatch.dropout)
        log_p = collector.log_p(rollout, rows, self.steering.base.logits(states))
        old = rollout.log_probabilities[rows][mask]
        terms = _Terms(drift=float(((log_p.detach() - old).exp() - 1).abs().max()))
        losses, clipped = policy_losses(log_p, old, targets.advantages[rows][mask], self.clip)
        loss = losses.sum() / minibatch.tokens
        terms.loss = float(loss.detach())
        terms.clipped = float(clipped.sum()) / minibatch.tokens
        if values is not None and targets.returns is not None:
            value = value_losses(
                values(states, [arm]),
                rollout.values[rows][mask],
                targets.returns[rows][mask],
                self.value_clip,
            )
            value_loss = value.sum() / minibatch.tokens
            terms.value_loss = float(value_loss.detach())
            loss = loss + self.value_weight * value_loss
        return loss, terms

"""Training of Bradley-Terry reward models, several arms together on one base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ethosteer.maths.preference import bradley_terry_loss
from ethosteer.models.base import SharedBase
from ethosteer.models.fast.budget import training_tokens
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import (
    ArmOptimiser,
    derived_seed,
    generator,
    load_checkpoint,
    save_checkpoint,
)
from ethosteer.models.pairs import EncodedPair, pair_passes, schedule
from ethosteer.models.reward_models import raw_scores, score_rows
from ethosteer.results import HeldOutPairs
from ethosteer.settings import RewardSettings

CHECKPOINT_EVERY = 100


class RewardTraining:
    """Trains the reward models of several arms together, each on its own pairs."""

    def __init__(
        self,
        base: SharedBase,
        pairs: Sequence[Sequence[EncodedPair]],
        settings: RewardSettings,
        seed: int,
    ) -> None:
        self.base = base
        self.pairs = pairs
        self.settings = settings
        self.seed = seed
        self.bank = LoraBank(
            base.layers, len(pairs), settings.lora, derived_seed(seed, "reward adapters")
        ).to(base.device)
        self.heads = ScalarHeads(
            len(pairs), base.hidden_size, bias=False, seed=derived_seed(seed, "reward heads")
        ).to(base.device)
        self.plans = [
            schedule(
                len(arm_pairs),
                settings.batch,
                settings.epochs,
                lambda epoch: generator(seed, "reward order", epoch),
            )
            for arm_pairs in pairs
        ]
        self.token_budget = training_tokens(base, settings.tokens_per_batch)
        self.optimisers = [
            ArmOptimiser.build(
                [*self.bank.arm_parameters(arm), *self.heads.arm_parameters(arm)],
                settings.optimiser,
                len(plan),
            )
            for arm, plan in enumerate(self.plans)
        ]
        self.losses: list[list[float]] = [[] for _ in pairs]

    def train(self, checkpoints: Path, progress: Callable[[int, int, str], None]) -> None:
        """Run every arm's plan; ``progress(done, steps, note)`` after every step."""
        done, steps = 0, max(map(len, self.plans))
        if checkpoint := load_checkpoint(checkpoints, self.optimisers, "done"):
            self.losses = checkpoint.facts["losses"]  # type: ignore[assignment]
            done = int(str(checkpoint.facts["done"]))
        for step in range(done, steps):
            self.step(step)
            if (step + 1) % CHECKPOINT_EVERY == 0:
                save_checkpoint(
                    checkpoints, self.optimisers, {"done": step + 1, "losses": self.losses}
                )
            latest = np.mean([losses[-1] for losses in self.losses])
            progress(step + 1, steps, f"loss {latest:.3f}")

    def step(self, step: int) -> None:
        """Take one step with every arm that still has a batch, one arm after another."""
        dropout = derived_seed(self.seed, "reward dropout", step)
        for arm, plan in enumerate(self.plans):
            if step < len(plan):
                self._learn(arm, [self.pairs[arm][index] for index in plan[step]], dropout)

    def _learn(self, arm: int, batch: Sequence[EncodedPair], dropout: int) -> None:
        """Take one optimiser step with one arm, its gradient summed over passes that fit."""
        total = 0.0
        for pairs in pair_passes(batch, self.token_budget):
            rows = [row for pair in pairs for row in (pair.chosen, pair.rejected)]
            scores = raw_scores(self.base, self.bank, self.heads, arm, rows, dropout).view(-1, 2)
            loss = bradley_terry_loss(scores[:, 0], scores[:, 1]).sum() / len(batch)
            loss.backward()
            total += float(loss.detach())
        self.losses[arm].append(total)
        self.optimisers[arm].step()

    def held_out(self, arm: int, pairs: Sequence[EncodedPair]) -> HeldOutPairs:
        """Score held-out pairs with one arm's reward model."""
        rows = [row for pair in pairs for row in (pair.chosen, pair.rejected)]
        scores = self.scores(arm, rows).view(-1, 2)
        return HeldOutPairs(
            scores[:, 0].tolist(),
            scores[:, 1].tolist(),
            [pair.group for pair in pairs],
            [pair.response_tokens for pair in pairs],
            self.losses[arm],
        )

    def scores(self, arm: int, rows: Sequence[Sequence[int]]) -> Tensor:
        """Raw scores of token rows by one arm, ``[rows]``."""
        return score_rows(self.base, self.bank, self.heads, arm, rows).cpu()

    def normalisation(self, arm: int, samples: Sequence[Sequence[int]]) -> tuple[float, float]:
        """(gain, bias) that give the base's answers mean 0 and standard deviation 1."""
        scores = self.scores(arm, samples).double()
        gain = 1 / max(float(scores.std()), 1e-8)
        return gain, -float(scores.mean()) * gain

"""Training of Bradley-Terry reward models, those of several arms beside each other on one base."""

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
    """Trains the reward models of several arms beside each other, each on its own pairs."""

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
                len(own),
                settings.batch,
                settings.epochs,
                lambda epoch: generator(seed, "reward order", epoch),
            )
            for own in pairs
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
        steps = max(map(len, self.plans))
        for step in range(self._resume(checkpoints), steps):
            self.step(step)
            if (step + 1) % CHECKPOINT_EVERY == 0:
                save_checkpoint(
                    checkpoints, self.optimisers, {"done": step + 1, "losses": self.losses}
                )
            progress(step + 1, steps, f"loss {np.mean([own[-1] for own in self.losses]):.3f}")

    def step(self, step: int) -> None:
        """One step of every arm that still has a batch, one arm after another."""
        for arm, plan in enumerate(self.plans):
            if step < len(plan):
                self._learn(step, arm, [self.pairs[arm][i] for i in plan[step]])

    def _learn(self, step: int, arm: int, batch: Sequence[EncodedPair]) -> None:
        """One optimiser step of one arm, its gradient summed over passes that fit in memory."""
        total = 0.0
        dropout = derived_seed(self.seed, "reward dropout", step)
        for pairs in pair_passes(batch, self.token_budget):
            rows = [row for pair in pairs for row in (pair.chosen, pair.rejected)]
            scores = raw_scores(self.base, self.bank, self.heads, arm, rows, dropout).view(-1, 2)
            loss = bradley_terry_loss(scores[:, 0], scores[:, 1]).sum() / len(batch)
            loss.backward()
            total += float(loss.detach())
        self.losses[arm].append(total)
        self.optimisers[arm].step()

    def _resume(self, folder: Path) -> int:
        found = load_checkpoint(folder, self.optimisers, "done")
        if found is None:
            return 0
        self.losses = found.facts["losses"]  # type: ignore[assignment]
        return int(str(found.facts["done"]))

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

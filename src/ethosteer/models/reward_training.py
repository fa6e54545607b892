"""Training of Bradley-Terry reward models, those of several arms in parallel on one base."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ethosteer.maths.finite import check_finite
from ethosteer.maths.preference import bradley_terry_loss
from ethosteer.models.base import SharedBase
from ethosteer.models.checkpoints import CheckpointSchedule, load_checkpoint, save_checkpoint
from ethosteer.models.fast.budget import training_tokens, within_memory
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import ArmOptimiser, derived_seed, generator
from ethosteer.models.pairs import EncodedPair, pair_passes, response_rows, schedule
from ethosteer.models.reward_models import raw_scores, score_rows
from ethosteer.models.sharding import divided, summed
from ethosteer.progress import Report
from ethosteer.results.reward_models import HeldOutPairs, ValidationPoint
from ethosteer.settings import RewardSettings

CHECKPOINT_EVERY = 100
MEND = "training diverged: lower reward.optimiser.learning_rate, or use base.dtype = 'float32'"


class RewardTraining:
    """Trains the reward models of several arms in parallel, each on its own pairs.

    Each arm's validation pairs are scored ``settings.validations`` times, evenly spaced; the
    weights with the lowest validation loss are kept (early stopping). Without validation pairs the
    last weights are. ``names`` are the arms', for errors.
    """

    def __init__(
        self,
        base: SharedBase,
        pairs: Sequence[Sequence[EncodedPair]],
        settings: RewardSettings,
        seed: int,
        validation: Sequence[Sequence[EncodedPair]] = (),
        names: Sequence[str] = (),
    ) -> None:
        self.base = base
        self.names = names or [f"arm {arm}" for arm in range(len(pairs))]
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
        self.token_budget = training_tokens(base, settings.lora, settings.tokens_per_batch)
        self.optimisers = [
            ArmOptimiser.build(
                [*self.bank.arm_parameters(arm), *self.heads.arm_parameters(arm)],
                settings.optimiser,
                len(plan),
            )
            for arm, plan in enumerate(self.plans)
        ]
        self.losses: list[list[float]] = [[] for _ in pairs]
        self.validation_pairs = validation or [[] for _ in pairs]
        self.validation: list[list[ValidationPoint]] = [[] for _ in pairs]
        self.best: dict[int, list[Tensor]] = {}

    def train(self, checkpoints: Path, progress: Report) -> None:
        """Run every arm's plan; ``progress(done, steps, note)`` after every step."""
        steps = max(map(len, self.plans))
        schedule = CheckpointSchedule(CHECKPOINT_EVERY)
        for step in range(self._resume(checkpoints), steps):
            self.step(step)
            for arm, plan in enumerate(self.plans):
                if step + 1 in validation_steps(len(plan), self.settings.validations):
                    self._validate(step + 1, arm)
            loss = np.mean([losses[-1] for losses in self.losses])
            progress(step + 1, steps, f"loss {loss:.3f}")
            if schedule.is_due(step + 1):
                self._save(checkpoints, step + 1)
            schedule.stop_if_requested()
        for arm, parameters in self.best.items():
            self.optimisers[arm].set_parameters(parameters)

    def step(self, step: int) -> None:
        """Take one step with every arm that still has a batch, one arm after another."""
        dropout = derived_seed(self.seed, "reward dropout", step)
        for arm, plan in enumerate(self.plans):
            if step < len(plan):
                self._learn(arm, [self.pairs[arm][index] for index in plan[step]], dropout)

    def _learn(self, arm: int, batch: Sequence[EncodedPair], dropout: int) -> None:
        """Take one optimiser step with one arm; its passes add up to one gradient."""
        total = within_memory(
            self.base,
            "training",
            self.token_budget,
            [pair.tokens for pair in batch],
            lambda tokens: self._accumulate(arm, batch, dropout, tokens),
            self.optimisers[arm].adamw.zero_grad,
        )
        self._check(arm, [total], lambda _: f"the loss at step {len(self.losses[arm])}")
        self.losses[arm].append(total)
        if not self.optimisers[arm].step():
            step = len(self.losses[arm]) - 1
            self._check(arm, [float("nan")], lambda _: f"the gradient at step {step}")

    def _accumulate(
        self, arm: int, batch: Sequence[EncodedPair], dropout: int, tokens: int
    ) -> float:
        """Add the gradients of a batch, in passes of so many tokens, and return its mean loss.

        Several processes add those of their passes, which the optimiser adds up.
        """
        total = 0.0
        for pairs, weight in divided(pair_passes(batch, tokens)):
            rows = response_rows(pairs)
            scores = raw_scores(self.base, self.bank, self.heads, arm, rows, dropout).view(-1, 2)
            loss = weight * bradley_terry_loss(scores[:, 0], scores[:, 1]).sum() / len(batch)
            loss.backward()
            total += float(loss.detach())
        return summed([total])[0]

    def _check(self, arm: int, values: Iterable[float], name: Callable[[int], str]) -> None:
        """Raise InputError unless numbers of an arm are finite."""
        check_finite(values, lambda index: f"reward model {self.names[arm]}: {name(index)}", MEND)

    @torch.no_grad()
    def _validate(self, step: int, arm: int) -> None:
        """Score an arm's validation pairs; copy its weights if the loss is the lowest so far."""
        pairs = self.validation_pairs[arm]
        if not pairs:
            return
        chosen, rejected = self._pair_scores(arm, pairs).unbind(dim=1)
        loss = float(bradley_terry_loss(chosen, rejected).mean())
        self._check(arm, [loss], lambda _: f"the validation loss at step {step}")
        accuracy = float((chosen > rejected).float().mean())
        if all(loss < point.loss for point in self.validation[arm]):
            self.best[arm] = self.optimisers[arm].copy_parameters()
        self.validation[arm].append(ValidationPoint(step, loss, accuracy))

    def _save(self, folder: Path, done: int) -> None:
        facts: dict[str, object] = {
            "done": done,
            "losses": self.losses,
            "validation": [[asdict(point) for point in curve] for curve in self.validation],
        }
        best = {
            f"best.{arm}.{i}": tensor
            for arm, parameters in self.best.items()
            for i, tensor in enumerate(parameters)
        }
        save_checkpoint(folder, self.optimisers, facts, best)

    def _resume(self, folder: Path) -> int:
        stored = load_checkpoint(folder, self.optimisers, "done")
        if stored is None:
            return 0
        facts: Any = stored.facts
        self.losses = facts["losses"]
        self.validation = [
            [ValidationPoint(**point) for point in curve] for curve in facts["validation"]
        ]
        for arm, curve in enumerate(self.validation):
            if curve:
                count = len(self.optimisers[arm].parameters)
                self.best[arm] = [stored.extra[f"best.{arm}.{i}"] for i in range(count)]
        return int(facts["done"])

    def held_out(self, arm: int, pairs: Sequence[EncodedPair]) -> HeldOutPairs:
        """Score held-out pairs with one arm's reward model; InputError for a score of nan."""
        scores = self._pair_scores(arm, pairs)
        self._check(
            arm, scores.flatten().tolist(), lambda index: f"the score of held-out pair {index // 2}"
        )
        chosen, rejected = scores.unbind(dim=1)
        return HeldOutPairs(
            chosen.tolist(),
            rejected.tolist(),
            [pair.group for pair in pairs],
            [pair.response_tokens for pair in pairs],
            self.losses[arm],
            self.validation[arm],
        )

    def _pair_scores(self, arm: int, pairs: Sequence[EncodedPair]) -> Tensor:
        """Raw scores of the chosen and the rejected responses, ``[pairs, 2]``."""
        return self.scores(arm, response_rows(pairs)).view(-1, 2)

    def scores(self, arm: int, rows: Sequence[Sequence[int]]) -> Tensor:
        """Raw scores of token rows by one arm, ``[rows]``."""
        return score_rows(self.base, self.bank, self.heads, arm, rows).cpu()

    def normalisation(self, arm: int, samples: Sequence[Sequence[int]]) -> tuple[float, float]:
        """(gain, bias) that give the base's answers mean 0 and standard deviation 1."""
        scores = self.scores(arm, samples).double()
        self._check(arm, scores.tolist(), lambda index: f"the score of the base's answer {index}")
        gain = 1 / max(float(scores.std()), 1e-8)
        return gain, -float(scores.mean()) * gain


def validation_steps(steps: int, validations: int) -> set[int]:
    """Return the steps after which validation pairs are scored: evenly spaced, the last too."""
    return {round(steps * (i + 1) / validations) for i in range(validations)}

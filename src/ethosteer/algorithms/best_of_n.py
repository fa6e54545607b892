"""Best of n: of n answers of an arm, it learns the one that its own reward likes best; and again.

Choosing the best of n answers needs no training, and costs at most log n - (n - 1) / n nats of KL
(Stiennon et al. 2020). So that an arm is a model like any other, with log-likelihoods, the choice
is learnt by maximum likelihood, and the next answers are drawn from what has learnt it: the
iterated form of Dong et al. 2023 ("RAFT") and Touvron et al. 2023 (rejection sampling). A choice
among the base's answers alone could never go beyond that bound.
"""

from __future__ import annotations

from collections.abc import Sequence

from ethosteer.algorithms.loop import Learned, Steering, Task
from ethosteer.algorithms.rollouts import draw_prompts
from ethosteer.models.fast.budget import passes
from ethosteer.models.generation import generate
from ethosteer.models.pairs import mean_negative_log_likelihood
from ethosteer.records import Rollout

Answered = tuple[list[int], list[int]]
"""A prompt and an answer to it."""


class BestOfN(Steering):
    """A step draws n answers to a few prompts and makes a few passes over each arm's best."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, updates=task.settings.best_of_n.epochs)
        self.own = task.settings.best_of_n

    def observe(self, step: int) -> Rollout | None:
        """Sample one answer a prompt now and then, for the curve alone."""
        if step % self.settings.measure_every:
            return None
        return self.sample(step, self.settings.batch)

    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """Draw answers of every running arm; each learns its own best."""
        arms = list(self.running)
        prompts, answers = self._candidates(step, arms)
        count = len(prompts)
        return {
            arm: self._learn(step, arm, prompts, answers[place * count : (place + 1) * count])
            for place, arm in enumerate(arms)
        }

    def _candidates(
        self, step: int, arms: Sequence[int]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Prompts, ``n`` times each, and the answers to them, arm by arm, with the same noise."""
        chosen = draw_prompts(
            self.task.prompts, self.own.prompts, self.generator("best-of-n prompts", step)
        )
        prompts = [list(prompt) for prompt in chosen for _ in range(self.own.n)]
        noise = self.generator("best-of-n sampling", step)
        if not arms:
            return prompts, []
        with self.task.policies.applied(arms):
            return prompts, generate(self.base, prompts, len(arms), self.task.sampling, noise)

    def _learn(
        self, step: int, arm: int, prompts: list[list[int]], answers: list[list[int]]
    ) -> Learned:
        eos = self.base.tokenizer.eos_token_id
        pairs = list(zip(prompts, answers, strict=True))
        rows = [[*prompt, *self.task.sampling.scored_part(own, eos)] for prompt, own in pairs]
        scores = self.task.rewards.score(self.base, self.task.own[arm], rows)
        best = scores.view(-1, self.own.n).argmax(dim=1).tolist()
        chosen = [pairs[i * self.own.n + place] for i, place in enumerate(best)]
        losses = [self._update(arm, chosen, (step, epoch)) for epoch in range(self.own.epochs)]
        return Learned(
            sum(loss for loss, _ in losses) / len(losses),
            finite=all(finite for _, finite in losses),
        )

    def _update(
        self, arm: int, chosen: Sequence[Answered], place: tuple[int, int]
    ) -> tuple[float, bool]:
        """Take one optimiser step on chosen answers; return the loss and whether it was finite."""
        tokens = sum(len(answer) for _, answer in chosen)
        total = 0.0
        cut = passes(chosen, lambda own: len(own[0]) + len(own[1]), self.collector.room)
        for number, pairs in enumerate(cut):
            dropout = self.generator("dropout", *place, number, device=self.base.device)
            with self.task.policies.applied([arm], dropout):
                mean = mean_negative_log_likelihood(self.base, pairs)
            loss = mean * sum(len(answer) for _, answer in pairs) / tokens
            loss.backward()
            total += float(loss.detach())
        return total, self.optimisers[arm].step()

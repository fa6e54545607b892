"""Best of n: of n answers of the base, each arm learns the one that its own reward likes best.

Choosing the best of n answers needs no training, and costs at most log n - (n - 1) / n nats of KL
(Stiennon et al. 2020). So that an arm is a model like any other, with log-likelihoods, the choice
is learnt by maximum likelihood (Dong et al. 2023, "RAFT"; Touvron et al. 2023, rejection sampling).
All arms choose from the same answers.
"""

from __future__ import annotations

from ethosteer.algorithms.rollouts import draw_prompts
from ethosteer.algorithms.steering import Learned, Steering, Task
from ethosteer.models.generation import generate
from ethosteer.models.memory import parts
from ethosteer.models.pairs import mean_negative_log_likelihood
from ethosteer.records import Rollout


class BestOfN(Steering):
    """A step is one pass over the best answers to a few prompts."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, updates=1)
        self.own = task.settings.best_of_n

    def observe(self, step: int) -> Rollout | None:
        """Sample with the policies now and then, for the curve alone."""
        if step % self.settings.measure_every:
            return None
        return self.sample(step, self.settings.batch)

    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """Draw answers of the base once; every arm learns its own best."""
        prompts, answers = self._candidates(step)
        return {arm: self._learn(step, arm, prompts, answers) for arm in list(self.running)}

    def _candidates(self, step: int) -> tuple[list[list[int]], list[list[int]]]:
        """Prompts, ``n`` times each, and the base's answers to them."""
        chosen = draw_prompts(
            self.task.prompts, self.own.prompts, self.generator("best-of-n prompts", step)
        )
        prompts = [list(prompt) for prompt in chosen for _ in range(self.own.n)]
        noise = self.generator("best-of-n sampling", step)
        return prompts, generate(self.base, prompts, 1, self.task.sampling, noise)

    def _learn(
        self, step: int, arm: int, prompts: list[list[int]], answers: list[list[int]]
    ) -> Learned:
        eos = self.base.tokenizer.eos_token_id
        pairs = list(zip(prompts, answers, strict=True))
        rows = [[*prompt, *self.task.sampling.scored_part(own, eos)] for prompt, own in pairs]
        scores = self.task.rewards.score(self.base, self.task.own[arm], rows)
        best = scores.view(-1, self.own.n).argmax(dim=1).tolist()
        chosen = [pairs[i * self.own.n + place] for i, place in enumerate(best)]
        dropout = self.generator("dropout", step, device=self.base.device)
        total, tokens = 0.0, sum(len(answer) for _, answer in chosen)
        for part in parts(chosen, lambda own: len(own[0]) + len(own[1]), self.collector.room):
            with self.task.policies.applied([arm], dropout):
                mean = mean_negative_log_likelihood(self.base, part)
            loss = mean * sum(len(answer) for _, answer in part) / tokens
            loss.backward()
            total += float(loss.detach())
        return Learned(total, finite=self.optimisers[arm].step())

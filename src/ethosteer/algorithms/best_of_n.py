"""Iterated best-of-n: fine-tune an arm on the best of n of its samples, and sample again.

Choosing the best of n answers of the base costs at most log n - (n - 1) / n nats of KL (Stiennon et
al. 2020), but leaves no model whose log-likelihoods could be evaluated. So an arm learns its chosen
answers by maximum likelihood and samples the next from what it has become: the iterated form of
Dong et al. 2023 ("RAFT") and Touvron et al. 2023 (rejection sampling). A choice among the base's
answers alone could not exceed that bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ethosteer.algorithms.algorithm import Algorithm, Batch, Cost, Workload, curve_cost
from ethosteer.settings import AlgorithmSettings, SteerSettings

if TYPE_CHECKING:
    from ethosteer.algorithms.loop.steering import Steering
    from ethosteer.algorithms.loop.task import Learned
    from ethosteer.records import Rollout


class BestOfNSettings(AlgorithmSettings):
    """[steer.best_of_n]: fine-tune on the best of n samples, repeatedly (Dong et al. 2023)."""

    n: int = Field(16, ge=2, le=4096, description="answers to each prompt")
    prompts: int = Field(8, ge=1, le=65_536, description="per step")
    epochs: int = Field(1, ge=1, le=1000, description="passes over a step's best answers")


class BestOfN:
    """A step samples n answers to each of some prompts; an arm learns the best by its reward."""

    def __init__(self, steering: Steering) -> None:
        self.steering = steering
        self.settings = steering.settings.table(BestOfNSettings)

    def observe(self, step: int) -> Rollout | None:
        """Sample for the curve alone, one answer to a prompt."""
        return self.steering.sample_for_curve(step)

    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        """Sample answers with every running arm; each learns the best of its own."""
        arms = list(self.steering.running)
        prompts, answers = self.candidates(step, arms)
        count = len(prompts)
        return {
            arm: self._learn(step, arm, prompts, answers[index * count : (index + 1) * count])
            for index, arm in enumerate(arms)
        }

    def candidates(self, step: int, arms: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
        """Return prompts, ``n`` times each, and answers, arm by arm, all with the same noise."""
        # Imported here, as a study is validated and planned without torch.
        from ethosteer.algorithms.loop.rollouts import draw_prompts
        from ethosteer.models.generation import generate

        steering, task = self.steering, self.steering.task
        noise = steering.generator("best-of-n prompts", step)
        drawn = draw_prompts(task.prompts, self.settings.prompts, noise)
        prompts = [list(prompt) for prompt in drawn for _ in range(self.settings.n)]
        if not arms:
            return prompts, []
        noise = steering.generator("best-of-n sampling", step)
        with task.policies.applied(arms):
            return prompts, generate(task.base, prompts, len(arms), task.sampling, noise)

    def _learn(
        self, step: int, arm: int, prompts: list[list[int]], answers: list[list[int]]
    ) -> Learned:
        from ethosteer.algorithms.loop.task import Learned
        from ethosteer.models.pairs import accumulate_nll
        from ethosteer.models.text import Row

        steering, task, n = self.steering, self.steering.task, self.settings.n
        rows = task.sampling.scored_rows(task.base, task.template, prompts, answers)
        scores = task.reward_models.score(task.base, task.reward_index[arm], rows)
        best = scores.view(-1, n).argmax(dim=1).tolist()
        # as they were sampled: an answer that was cut at its limit does not learn to end there
        indices = [prompt * n + answer for prompt, answer in enumerate(best)]
        learned = [Row.of(prompts[index], answers[index]) for index in indices]
        losses, finite = [], True
        for epoch in range(self.settings.epochs):
            with task.policies.applied([arm]):
                losses.append(
                    accumulate_nll(
                        task.base,
                        learned,
                        steering.collector.token_budget,
                        steering.dropout_seed(step, epoch),
                        steering.optimisers[arm].adamw.zero_grad,
                    )
                )
            finite &= steering.optimisers[arm].step()
        return Learned(sum(losses) / len(losses), finite=finite)


def cost(steer: SteerSettings, workload: Workload) -> Cost:
    """Return the tokens of sampling and scoring, of learning the best, and of the curve."""
    settings = steer.table(BestOfNSettings)
    prompts = steer.steps * settings.prompts * workload.row_tokens
    return curve_cost(steer, workload) + Cost(
        sampled_tokens=settings.n * prompts,
        forward_tokens=settings.n * prompts,
        trained_tokens=settings.epochs * prompts,
    )


def batch(steer: SteerSettings) -> Batch:
    """Return the batch of an arm, which samples ``n`` answers to a prompt and learns the best."""
    settings = steer.table(BestOfNSettings)
    return Batch(max(steer.batch, settings.n * settings.prompts), rows=settings.prompts)


ALGORITHM = Algorithm(
    name="best_of_n",
    title="iterated best-of-n",
    settings=BestOfNSettings,
    learner=BestOfN,
    updates=lambda steer: steer.table(BestOfNSettings).epochs,
    cost=cost,
    batch=batch,
)

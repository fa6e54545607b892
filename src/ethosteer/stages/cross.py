"""Cross: every model's answers, and every dataset's pairs, under every reward model of a seed.

Where an arm's reward rises under its own reward model and falls under the others', the values
conflict or the reward is hacked. Where a reward model also ranks another dataset's pairs correctly,
the values agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ethosteer import interruption
from ethosteer.data.pair_sets import ranked_by_hash
from ethosteer.files import read_json, write_json
from ethosteer.maths.finite import check_finite
from ethosteer.progress import Report
from ethosteer.results.reward_models import CrossResult
from ethosteer.results.steering import Select
from ethosteer.settings import EvaluateSettings
from ethosteer.stages.answers import answers_of_all
from ethosteer.stages.stage import READ_ELSEWHERE, Stage
from ethosteer.stages.steer import Steer
from ethosteer.stages.workspace import Workspace

RESULT = "cross.json"


@dataclass(frozen=True, eq=False)
class Cross(Stage[CrossResult]):
    """One seed's scores under all of its reward models."""

    kind: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 5
    runs_base: ClassVar[bool] = True
    left_out: ClassVar = {
        "evaluate.chat": READ_ELSEWHERE,
        "evaluate.include_path": READ_ELSEWHERE,
        "evaluate.tokens_per_batch": READ_ELSEWHERE,
        "evaluate.sample_prompts": READ_ELSEWHERE,
    }

    seed: int
    evaluate: EvaluateSettings
    held_out_prompts: int
    select: Select
    steering: tuple[Steer, ...]

    @property
    def name(self) -> str:
        """The seed."""
        return f"cross-s{self.seed}"

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Score the answers and the pairs."""
        write_json(folder / RESULT, self._scores(workspace))

    def _scores(self, workspace: Workspace) -> CrossResult:
        import torch

        from ethosteer.models.pairs import encode, response_rows
        from ethosteer.models.reward_models import load_rewards

        first = self.steering[0]
        store, base = workspace.store, workspace.base(first.reward.base)
        names = [reward.arm.name for reward in first.rewards]
        rewards = load_rewards(base, [store.path(reward) for reward in first.rewards])
        prompts = first.prompts.ids("test", workspace)[: self.held_out_prompts]
        answers = answers_of_all(self.steering, self.select, prompts, "cross", workspace)
        template = first.prompts.template(workspace)
        sampling = first.reward.sampling.sampling()
        rows = [
            row
            for model_answers in answers.values()
            for row in sampling.scored_rows(base, template, prompts, model_answers)
        ]
        limit = self.evaluate.cross_pairs
        pairs = {
            reward.arm.name: encode(ranked_by_hash(store.load(reward.pairs).test, limit), template)
            for reward in first.rewards
        }
        scores: dict[str, dict[str, list[float]]] = {model: {} for model in answers}
        correct: dict[str, dict[str, list[bool]]] = {name: {} for name in names}
        for index, name in enumerate(names):
            interruption.stop_if_requested()
            by_model = rewards.score(base, index, rows).view(len(answers), -1)
            for model, model_scores in zip(answers, by_model.tolist(), strict=True):
                _check(model_scores, f"reward model {name}, answers of {model}")
                scores[model][name] = model_scores
            for dataset, held_out in pairs.items():
                pair_scores = rewards.score(base, index, response_rows(held_out)).view(-1, 2)
                _check(pair_scores.flatten().tolist(), f"reward model {name}, pairs of {dataset}")
                chosen, rejected = pair_scores.unbind(dim=1)
                correct[name][dataset] = torch.gt(chosen, rejected).tolist()
        groups = {name: [pair.group for pair in held_out] for name, held_out in pairs.items()}
        return CrossResult(scores, correct, groups)

    def load(self, folder: Path) -> CrossResult:
        """Read the scores."""
        return read_json(folder / RESULT, CrossResult)


def _check(scores: Sequence[float], scored: str) -> None:
    """Raise InputError unless all scores are finite; ``scored`` names reward model and texts."""
    check_finite(
        scores,
        lambda index: f"{scored}: score {index}",
        "delete the artifact of that model and rerun",
    )

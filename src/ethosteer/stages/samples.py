"""Samples: answers of all models to a few held-out prompts, to be read next to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ethosteer.files import read_json, write_json
from ethosteer.progress import Report
from ethosteer.results.steering import Select
from ethosteer.results.study import Sample, SampleAnswer
from ethosteer.settings import EvaluateSettings
from ethosteer.stages.answers import answers_of_all
from ethosteer.stages.stage import READ_ELSEWHERE, Stage
from ethosteer.stages.steer import Steer
from ethosteer.stages.workspace import Workspace

SAMPLES = "samples.json"


@dataclass(frozen=True, eq=False)
class Samples(Stage[tuple[Sample, ...]]):
    """Sample answers of the controls and one seed's arms, with their rewards."""

    kind: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 5
    runs_base: ClassVar[bool] = True
    left_out: ClassVar = {
        "evaluate.chat": READ_ELSEWHERE,
        "evaluate.include_path": READ_ELSEWHERE,
        "evaluate.tokens_per_batch": READ_ELSEWHERE,
        "evaluate.cross_pairs": READ_ELSEWHERE,
    }

    evaluate: EvaluateSettings
    select: Select
    steering: tuple[Steer, ...]

    @property
    def name(self) -> str:
        """There is one set of samples."""
        return "samples"

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Draw the answers and score them by every reward model."""
        write_json(folder / SAMPLES, self._samples(workspace))

    def _samples(self, workspace: Workspace) -> tuple[Sample, ...]:
        from ethosteer.models.reward_models import load_rewards
        from ethosteer.models.text import decode

        first = self.steering[0]
        store, base = workspace.store, workspace.base(first.reward.base)
        template = first.prompts.template(workspace)
        prompts = store.load(first.prompts).test[: self.evaluate.sample_prompts]
        if not prompts:
            return ()
        ids = [template.prompt_ids(turns) for turns in prompts]
        texts = [
            template.prompt_text(turns) if len(turns) > 1 else turns[0][1] for turns in prompts
        ]
        answers = answers_of_all(self.steering, self.select, ids, "samples", workspace)
        rewards = load_rewards(base, [store.path(reward) for reward in first.rewards])
        sampling = first.reward.sampling.sampling()
        stop_ids = sampling.stop_ids(base)
        rows = [
            row
            for model_answers in answers.values()
            for row in sampling.scored_rows(base, template, ids, model_answers)
        ]
        scores = {  # by reward model: [models, prompts]
            reward.arm.name: rewards.score(base, index, rows).view(len(answers), -1).tolist()
            for index, reward in enumerate(first.rewards)
        }
        return tuple(
            Sample(
                prompt=text,
                answers=tuple(
                    SampleAnswer(
                        model=model,
                        text=decode(base.tokenizer, model_answers[prompt], stop_ids),
                        rewards={name: by_model[row][prompt] for name, by_model in scores.items()},
                    )
                    for row, (model, model_answers) in enumerate(answers.items())
                ),
            )
            for prompt, text in enumerate(texts)
        )

    def load(self, folder: Path) -> tuple[Sample, ...]:
        """Read the samples."""
        return read_json(folder / SAMPLES, tuple[Sample, ...])

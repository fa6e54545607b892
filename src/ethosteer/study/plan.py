"""The pieces of work of a study, each with a fingerprint of all it depends on.

Settings, seeds, data, the base and the pieces before it enter a piece's fingerprint, so what stands
on disk under it need not be done again, and a changed setting redoes only what rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ethosteer import catalog
from ethosteer.benchmarks.base import sources_of
from ethosteer.data.sources import CONVERSATIONS, Origin, file_hash
from ethosteer.errors import InputError
from ethosteer.files import fingerprint
from ethosteer.models.base import model_fingerprint
from ethosteer.records import BASE, CONTROLS, FINETUNED, Arm, Model
from ethosteer.settings import StudySettings

VERSIONS = {"curate": 1, "finetune": 1, "reward": 2, "steer": 3, "evaluate": 2, "compare": 5}
"""Of each stage's code: raised when a change to it makes stored artifacts stale."""


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of work: its stage, its name within it, and its fingerprint."""

    stage: str
    name: str
    fingerprint: str


def step(stage: str, name: str, *parts: object) -> Step:
    """Make a step whose fingerprint covers ``parts``: JSON-able values and other steps."""
    flat = [_identity(part) for part in parts]
    return Step(stage, name, fingerprint(VERSIONS[stage], stage, name, flat))


def _identity(part: object) -> object:
    if isinstance(part, Step):
        return part.fingerprint
    if isinstance(part, list):
        return [_identity(each) for each in part]
    return part


@dataclass(frozen=True)
class Plan:
    """All steps of a study whose files come from ``origin``."""

    config: StudySettings
    origin: Origin

    @cached_property
    def base(self) -> str:
        """The identity of the raw base."""
        return model_fingerprint(self.config.base)

    @cached_property
    def conversations(self) -> Path:
        """The file to fine-tune on."""
        choice = self.config.data.conversations
        if choice == "sample":
            return Origin("sample").locate(CONVERSATIONS)
        if choice == "hub":
            return Origin("hub").locate(CONVERSATIONS)
        if self.origin.kind != "folder":
            raise InputError(
                f"data.conversations: {choice!r} is looked for in --data-dir; give one"
            )
        return self.origin.locate(replace(CONVERSATIONS, path=choice))

    @cached_property
    def curation(self) -> dict[str, Step]:
        """The pairs of each arm, by the arm's name."""
        steps: dict[str, Step] = {}
        for name, settings in self.config.arms.items():
            if self.config.data_of(name) != name:
                steps[name] = steps[self.config.data_of(name)]
                continue
            source = catalog.dataset(self.config.dataset_of(name)).source
            steps[name] = step(
                "curate",
                name,
                self.base,
                self.config.dataset_of(name),
                settings.model_dump(exclude={"dataset", "algorithm"}),
                [self.config.data.template, self.config.data.max_tokens],
                self.origin.revision(source),
            )
        return steps

    @cached_property
    def prompts(self) -> Step:
        """The steering prompts, shared by all arms."""
        data = self.config.data
        if data.prompts == "conversations":
            before: list[object] = [self.base, file_hash(self.conversations)]
        else:
            before = [self.curation[name] for name in self.config.data_arms()]
        return step("curate", "prompts", data.prompts, data.max_prompt_tokens, before)

    @cached_property
    def finetuning(self) -> Step:
        """The fine-tuned base that all arms share."""
        return step(
            "finetune",
            "base",
            self.base,
            self.config.finetune.model_dump(),
            [self.config.data.template, self.config.data.max_tokens],
            file_hash(self.conversations),
        )

    @cached_property
    def rewards(self) -> dict[Arm, Step]:
        """One reward model per arm."""
        sampling = self.config.steer.model_dump(
            include={"min_new_tokens", "max_new_tokens", "ignore_eos", "temperature"}
        )
        steps: dict[Arm, Step] = {}
        for arm in self.config.arm_seeds():
            source = Arm(self.config.data_of(arm.name), arm.seed)
            steps[arm] = (
                steps[source]
                if source in steps
                else step(
                    "reward",
                    arm.label,
                    self.config.reward.model_dump(exclude={"tokens_per_batch"}),
                    sampling,
                    arm.seed,
                    [self.curation[arm.name], self.prompts, self.finetuning],
                )
            )
        return steps

    def judges(self, seed: int) -> dict[str, Step]:
        """The distinct reward models of one seed, by the arm that brought the pairs."""
        return {name: self.rewards[Arm(name, seed)] for name in self.config.data_arms()}

    @cached_property
    def steering(self) -> dict[Arm, Step]:
        """One steered policy per arm."""
        return {
            arm: step(
                "steer",
                arm.label,
                self._steering_settings(arm),
                arm.seed,
                reward,
                # the curve has the rewards of all, though the arm learns from its own alone
                list(self.judges(arm.seed).values()),
                self.prompts,
            )
            for arm, reward in self.rewards.items()
        }

    def _steering_settings(self, arm: Arm) -> dict[str, object]:
        """What of [steer] an arm's training rests on."""
        algorithm = self.config.algorithm_of(arm.name)
        steer = self.config.steer.for_algorithm(algorithm)
        idle = {"select", "tokens_per_batch", *steer.tables} - {algorithm}
        return steer.model_dump(exclude=idle)

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """Both controls, then every arm."""
        arms = [Model(arm.name, arm.seed) for arm in self.config.arm_seeds()]
        return (*(Model(name) for name in CONTROLS), *arms)

    @cached_property
    def items(self) -> dict[str, Step]:
        """The items of each benchmark, and what its results rest on."""
        return {
            name: step(
                "evaluate",
                f"{name}-items",
                settings.model_dump(),
                self._revisions(name),
                [self.base, self.config.data.template],
            )
            for name, settings in self.config.benchmarks.items()
        }

    @cached_property
    def evaluation(self) -> dict[tuple[str, Model], Step]:
        """The outcomes of each benchmark and model."""
        return {
            (name, model): step(
                "evaluate",
                f"{name}-{model.label}",
                settings.model_dump(),
                self._revisions(name),
                self._weights(model),
            )
            for name, settings in self.config.benchmarks.items()
            for model in self.models
        }

    def _revisions(self, name: str) -> list[str]:
        """The editions of a benchmark's files."""
        sources = sources_of(catalog.benchmark(name), self.config.benchmarks[name].source)
        return [self.origin.revision(source) for source in sources]

    def _weights(self, model: Model) -> object:
        if model.arm is not None:
            return [self.steering[model.arm], self.config.steer.select]
        return {BASE: self.base, FINETUNED: self.finetuning}[model.name]

    @cached_property
    def samples(self) -> Step:
        """Side-by-side answers of all models, with the first seed's arms."""
        arms = [own for arm, own in self.steering.items() if arm.seed == self.config.seeds[0]]
        return step(
            "evaluate",
            "samples",
            self.config.evaluate.sample_prompts,
            self.config.steer.select,
            list(arms),
        )

    @cached_property
    def cross(self) -> dict[int, Step]:
        """Per seed: every model's answers, and every dataset's pairs, under every reward model."""
        return {
            seed: step(
                "evaluate",
                f"cross-s{seed}",
                [self.config.evaluate.cross_pairs, self.config.steer.held_out_prompts],
                self.config.steer.select,
                [own for arm, own in self.steering.items() if arm.seed == seed],
            )
            for seed in self.config.seeds
        }

    @cached_property
    def overlap(self) -> Step:
        """The overlap of every arm's pairs with every benchmark."""
        benchmarks = {
            name: [settings.model_dump(), self.evaluation[name, self.models[0]].fingerprint]
            for name, settings in self.config.benchmarks.items()
        }
        return step(
            "compare",
            "overlap",
            self.config.compare.overlap_ngram,
            [self.curation[name] for name in self.config.data_arms()],
            benchmarks,
        )

    @cached_property
    def comparison(self) -> Step:
        """Everything that the report shows."""
        return step(
            "compare",
            "results",
            self.config.name,
            self.config.question,
            self.config.compare.model_dump(),
            [*self.steering.values(), *self.items.values(), *self.evaluation.values()],
            [*self.cross.values(), self.samples, self.overlap],
        )

    def steps(self) -> Sequence[Step]:
        """Return every step, in the order of the work."""
        every = (
            *self.curation.values(),
            self.prompts,
            self.finetuning,
            *self.rewards.values(),
            *self.steering.values(),
            *self.items.values(),
            *self.evaluation.values(),
            *self.cross.values(),
            self.samples,
            self.overlap,
            self.comparison,
        )
        return tuple(dict.fromkeys(every))

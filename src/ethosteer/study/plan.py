"""The plan of a study: its stages, each of which reads artifacts of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from ethosteer import catalog
from ethosteer.benchmarks.base import Benchmark, sources_of
from ethosteer.benchmarks.files.benchmark import file_sources
from ethosteer.benchmarks.harness import PREFIX as HARNESS
from ethosteer.benchmarks.harness.task import HarnessTask
from ethosteer.data.conversations import CONVERSATIONS
from ethosteer.data.sources import Origin, Source
from ethosteer.errors import InputError
from ethosteer.records import BASE, Arm, Model
from ethosteer.settings import ArmSettings, BenchmarkSettings, StudySettings
from ethosteer.stages.compare import Compare, Overlaps
from ethosteer.stages.cross import Cross
from ethosteer.stages.curate import Curate
from ethosteer.stages.evaluate import Evaluate, Items, PairItems, TaskItems, WrittenPairs
from ethosteer.stages.finetune import Finetune
from ethosteer.stages.prompts import Prompts
from ethosteer.stages.reward import Reward
from ethosteer.stages.samples import Samples
from ethosteer.stages.stage import (
    ModelFolder,
    PublishedFiles,
    RawBase,
    SamplingSettings,
    Stage,
)
from ethosteer.stages.steer import Steer


@dataclass(frozen=True)
class Plan:
    """All stages of a study whose files come from ``origin``.

    With ``stored`` only stored work is asked for, which is found by its names: no file of a
    benchmark is read, so that a finished run outlives them.
    """

    settings: StudySettings
    origin: Origin
    stored: bool = False

    @cached_property
    def base(self) -> RawBase:
        """The base before fine-tuning."""
        return RawBase(self.settings.base)

    @cached_property
    def conversations(self) -> PublishedFiles:
        """The file to fine-tune on; InputError where it needs a data folder and there is none."""
        choice = self.settings.data.conversations
        if choice == "sample":
            return PublishedFiles(Origin("sample"), (CONVERSATIONS,))
        if choice == "hub":
            origin = self.origin if self.origin.kind == "folder" else Origin("hub")
            return PublishedFiles(origin, (CONVERSATIONS,))
        if self.origin.kind != "folder":
            raise InputError(
                f"data.conversations: {choice!r} is looked for in --data-dir; give one"
            )
        return PublishedFiles(self.origin, (Source(choice, home="", licence=""),))

    @cached_property
    def pairs(self) -> dict[str, Curate]:
        """The preference pairs of each arm, by the arm's name."""
        stages: dict[str, Curate] = {}
        for name, settings in self.settings.arms.items():
            first = self.settings.data_of(name)
            if first != name:
                stages[name] = stages[first]
                continue
            stages[name] = self._curate(name, self.settings.dataset_of(name), settings)
        return stages

    def _curate(self, name: str, dataset: str, arm: ArmSettings) -> Curate:
        files = PublishedFiles(self.origin, (catalog.arm_dataset(dataset, arm).source,))
        return Curate(name, dataset, arm, self.settings.data, self.base, files)

    @cached_property
    def benchmarks(self) -> dict[str, Benchmark]:
        """The study's benchmarks by name, but those of lm-evaluation-harness and unread files."""
        tables = catalog.study_benchmarks(self.settings)
        names = (
            name
            for name, table in tables.items()
            if not name.startswith(HARNESS) and not (self.stored and table.file)
        )
        return {name: catalog.study_benchmark(self.settings, name) for name in names}

    @cached_property
    def asked_pairs(self) -> dict[str, Curate]:
        """The pairs behind each preferences benchmark: the first arm's of that dataset.

        A dataset without an arm is curated with an arm's default settings.
        """
        stages = {}
        for name in self.benchmarks:
            if (dataset := self.benchmarks[name].dataset) is not None:
                of_arms = (pairs for pairs in self.pairs.values() if pairs.dataset == dataset.name)
                stages[name] = next(of_arms, None) or self._curate(
                    dataset.name, dataset.name, ArmSettings()
                )
        return stages

    @cached_property
    def prompts(self) -> Prompts:
        """The steering prompts, shared by all arms."""
        data = self.settings.data
        from_arms = tuple(self.pairs[name] for name in self.settings.data_arms())
        source = self.conversations if data.prompts == "conversations" else from_arms
        return Prompts(data, self.base, source)

    @cached_property
    def shared_base(self) -> RawBase | Finetune:
        """The base that all arms share: fine-tuned, or as it is."""
        if not self.settings.finetune.enabled:
            return self.base
        return Finetune(self.settings.finetune, self.settings.data, self.base, self.conversations)

    @cached_property
    def rewards(self) -> dict[Arm, Reward]:
        """The reward model of each arm; arms with the same pairs have the same one."""
        sampling = SamplingSettings.of(self.settings.steer, self.settings.rollout)
        stages: dict[Arm, Reward] = {}
        for arm in self.settings.arm_seeds():
            source = Arm(self.settings.data_of(arm.name), arm.seed)
            stages[arm] = stages.get(source) or Reward(
                arm, self.settings.reward, sampling, self.pairs[arm.name], self.prompts,
                self.shared_base,
            )  # fmt: skip
        return stages

    def rewards_of(self, seed: int) -> tuple[Reward, ...]:
        """Return the distinct reward models of one seed."""
        return tuple(self.rewards[Arm(name, seed)] for name in self.settings.data_arms())

    @cached_property
    def steering(self) -> dict[Arm, Steer]:
        """One steered policy per arm."""
        stages = {}
        rollout = self.settings.rollout
        for arm, reward in self.rewards.items():
            algorithm = self.settings.algorithm_of(arm.name)
            stages[arm] = Steer(
                arm,
                algorithm,
                self.settings.steer.for_algorithm(algorithm),
                reward,
                self.rewards_of(arm.seed),
                self.prompts,
                rollout.max_disagreement if rollout.sampler else None,
            )
        return stages

    def steering_of(self, seed: int) -> tuple[Steer, ...]:
        """Return the arms of one seed."""
        return tuple(stage for arm, stage in self.steering.items() if arm.seed == seed)

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """The controls, then every arm."""
        arms = [Model(arm.name, arm.seed) for arm in self.settings.arm_seeds()]
        return (*(Model(name) for name in self.settings.controls), *arms)

    @cached_property
    def items(self) -> dict[str, Items]:
        """The items of each benchmark."""
        stages: dict[str, Items] = {}
        for name, settings in catalog.study_benchmarks(self.settings).items():
            data, evaluate = self.settings.data, self.settings.evaluate
            written = (_classifier_folder(settings), self.base, data.template, data.date)
            if name.startswith(HARNESS):
                task = HarnessTask(name.removeprefix(HARNESS), evaluate.include_path)
                stages[name] = TaskItems(name, settings, task, *written, evaluate.chat)
                continue
            if name not in self.benchmarks:
                files = PublishedFiles(self.origin, file_sources(settings))
                stages[name] = Items(name, settings, files, *written, evaluate.chat)
                continue
            benchmark = self.benchmarks[name]
            files = PublishedFiles(self.origin, sources_of(benchmark, settings.source))
            # pairs are written by data.template in either case
            if benchmark.dataset is not None:
                pairs = self.asked_pairs[name]
                stages[name] = PairItems(name, settings, files, *written, False, pairs)
            elif benchmark.pairs is not None:
                stages[name] = WrittenPairs(name, settings, files, *written, False)
            else:
                stages[name] = Items(name, settings, files, *written, evaluate.chat)
        return stages

    @cached_property
    def evaluation(self) -> dict[tuple[str, Model], Evaluate]:
        """The outcomes of each benchmark and model."""
        return {
            (name, model): Evaluate(
                model,
                items,
                self.base if model.name == BASE else self.shared_base,
                self.steering[model.arm] if model.arm else None,
                self.settings.steer.select if model.arm else None,
                self.settings.evaluate.tokens_per_batch,
                self._engine_of(items),
            )
            for name, items in self.items.items()
            for model in self.models
        }

    def _engine_of(self, items: Items) -> str | None:
        """Return the engine that answers a benchmark; None where it has no texts to generate."""
        sampler = self.settings.rollout.sampler
        if sampler is None or self.stored:
            return None
        benchmark = self.benchmarks.get(items.benchmark) or items.definition()
        return sampler if benchmark.new_tokens else None

    @cached_property
    def cross(self) -> dict[int, Cross]:
        """Per seed: every model's answers, and every dataset's pairs, under every reward model."""
        steer = self.settings.steer
        return {
            seed: Cross(
                seed,
                self.settings.evaluate,
                steer.held_out_prompts,
                steer.select,
                self.steering_of(seed),
            )
            for seed in self.settings.seeds
        }

    @cached_property
    def samples(self) -> Samples:
        """Sample answers of the controls and the first seed's arms."""
        first = self.steering_of(self.settings.seeds[0])
        return Samples(self.settings.evaluate, self.settings.steer.select, first)

    @cached_property
    def overlaps(self) -> Overlaps:
        """The text that every arm's pairs share with every benchmark."""
        pairs = tuple(self.pairs[name] for name in self.settings.data_arms())
        n = self.settings.compare.overlap_ngram
        return Overlaps(n, pairs, tuple(self.items.values()))

    @cached_property
    def comparison(self) -> Compare:
        """Everything that the report shows."""
        return Compare(
            self.settings.name,
            self.settings.question,
            self.settings.compare,
            self.settings.steer.select,
            tuple(self.steering.values()),
            tuple(self.items.values()),
            tuple(self.evaluation.values()),
            tuple(self.cross.values()),
            self.samples,
            self.overlaps,
            tuple(self._labels(pairs) for pairs in self.overlaps.pairs),
            tuple(
                (items.benchmarks.title, items.benchmarks.home, items.benchmarks.licence)
                for items in self.items.values()
            ),
        )

    def _labels(self, pairs: Curate) -> tuple[str, str, str]:
        """Return what reports say of a dataset beside its pairs: title, web page and licence."""
        dataset = pairs.definition()
        return dataset.title, dataset.source.home, dataset.source.licence

    @cached_property
    def stages(self) -> tuple[Stage[Any], ...]:
        """Every stage, in the order of the work."""
        stages: list[Stage[Any]] = [*self.pairs.values(), *self.asked_pairs.values(), self.prompts]
        if isinstance(self.shared_base, Finetune):
            stages.append(self.shared_base)
        for seed in self.settings.seeds:
            stages += self.rewards_of(seed)
            stages += _by_algorithm(self.steering_of(seed))
        stages += self.cross.values()
        stages += self.items.values()
        stages += self.evaluation.values()
        stages += (self.samples, self.overlaps, self.comparison)
        return tuple(dict.fromkeys(stages))

    def batches(self, stages: Sequence[Stage[Any]]) -> list[list[Stage[Any]]]:
        """Group stages, which are in the order of the work, into those that run together."""
        return [list(batch) for _, batch in groupby(stages, key=lambda stage: stage.batch())]


def _classifier_folder(benchmark: BenchmarkSettings) -> ModelFolder | None:
    """Return the folder of a benchmark's classifier, where one of the user's is named."""
    name = benchmark.classifier
    return ModelFolder(Path(name)) if name is not None and Path(name).is_dir() else None


def _by_algorithm(stages: Sequence[Steer]) -> list[Steer]:
    """Put arms of one algorithm next to each other, in the order of the algorithms' first arms."""
    order = list(dict.fromkeys(stage.algorithm for stage in stages))
    return sorted(stages, key=lambda stage: order.index(stage.algorithm))

"""Evaluate: every model on every benchmark, an outcome for each item."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from ethosteer import catalog
from ethosteer.benchmarks.base import Benchmark
from ethosteer.benchmarks.harness.task import HarnessTask
from ethosteer.benchmarks.preferences import benchmark_of
from ethosteer.data.sources import Origin
from ethosteer.evaluation.comparable import comparability_of
from ethosteer.evaluation.items import (
    ITEMS,
    load_items,
    pair_items,
    read_items,
    task_items,
    write_items,
    written_pairs,
)
from ethosteer.evaluation.outcomes import read_outcomes, write_outcomes
from ethosteer.files import read_json, write_json
from ethosteer.progress import Report
from ethosteer.records import BASE, Item, Model, Outcome
from ethosteer.results.benchmarks import Comparability
from ethosteer.results.steering import Select
from ethosteer.settings import FILE_KEYS, BenchmarkSettings
from ethosteer.stages.curate import OF_FILES, Curate
from ethosteer.stages.finetune import Finetune
from ethosteer.stages.stage import (
    BY_EDITION,
    CUTS_PASSES,
    READ_ELSEWHERE,
    ModelFolder,
    PublishedFiles,
    RawBase,
    Stage,
)
from ethosteer.stages.steer import Steer
from ethosteer.stages.workspace import Workspace

if TYPE_CHECKING:
    from ethosteer.models.classifiers import Classifier
    from ethosteer.models.text import Template

OUTCOMES = "outcomes.parquet"
COMPARABILITY = "comparability.json"
CLASSIFIER = "classifier.json"


def file_name(benchmark: str) -> str:
    """Return a benchmark's name as part of a folder's name; Windows allows no colon there."""
    return benchmark.replace(":", "-")


@dataclass(frozen=True, eq=False)
class Items(Stage[list[Item]]):
    """The items of one benchmark, with the hashes that make results comparable."""

    kind: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 5
    left_out: ClassVar = {
        "benchmarks.file": BY_EDITION,
        "benchmarks.labelled": BY_EDITION,
        "benchmarks.title": READ_ELSEWHERE,
        "benchmarks.home": READ_ELSEWHERE,
        "benchmarks.licence": READ_ELSEWHERE,
    }

    benchmark: str
    benchmarks: BenchmarkSettings
    files: PublishedFiles | HarnessTask
    classifier_folder: ModelFolder | None
    base: RawBase
    template: Literal["guanaco", "hh", "chat"]
    date: str
    chat: bool

    def exclusions(self) -> Mapping[str, str]:
        """Leave out, of a built-in benchmark, all that is set for files.

        So a new setting of files changes no outcomes that are stored. A classifier in a folder
        counts by the folder's content, and any other by its name.
        """
        is_folder = self.classifier_folder is not None
        classifier = "benchmarks.classifier" if is_folder else "classifier_folder"
        left_out = {**self.left_out, classifier: BY_EDITION}
        if self.benchmarks.file is not None:
            return left_out
        return {**left_out, **{f"benchmarks.{name}": OF_FILES for name in FILE_KEYS}}

    @property
    def name(self) -> str:
        """The benchmark."""
        return f"{file_name(self.benchmark)}-items"

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Store the items, and the hashes that make results comparable."""
        from ethosteer.models.requests import in_chat
        from ethosteer.models.text import tokenizer_fingerprint

        template = self.chat_template() or workspace.template(
            self.base.settings, self.template, self.date
        )
        items = in_chat(self.to_answer(workspace), self.request_template())
        classifier = self.classifier()
        comparability = comparability_of(
            items,
            template.fingerprint(),
            tokenizer_fingerprint(template.tokenizer),
            classifier.note if classifier else "",
            chat=self.chat,
        )
        write_items(folder / ITEMS, {self.benchmark: items})
        write_json(folder / COMPARABILITY, comparability)

    def definition(self) -> Benchmark:
        """Return the benchmark; InputError where its file is malformed."""
        return catalog.described_benchmark(self.benchmark, self.benchmarks)

    def read(self) -> list[Item]:
        """Read the items from the published files; InputError for a malformed row."""
        return load_items(self.definition(), self.benchmarks, self.origin)

    @property
    def origin(self) -> Origin:
        """Where published files come from."""
        assert isinstance(self.files, PublishedFiles)
        return self.files.origin

    def to_answer(self, workspace: Workspace) -> list[Item]:
        """Return the items with what is not stored of them and only answering needs."""
        return self.read()

    def chat_template(self) -> Template | None:
        """Return the chat template that writes requests; None where they are plain text."""
        from ethosteer.models.loading import load_tokenizer
        from ethosteer.models.requests import chat_template

        return chat_template(load_tokenizer(self.base.settings), self.date) if self.chat else None

    def request_template(self) -> Template | None:
        """Return the chat template that is yet to write the items' requests; None where none is."""
        return self.chat_template()

    def classifier(self) -> Classifier | None:
        """Return the classifier of generated texts; None where none is needed."""
        from ethosteer.evaluation.answering import benchmark_classifier

        return benchmark_classifier(self.definition(), self.benchmarks, self.origin)

    def load(self, folder: Path) -> list[Item]:
        """Read the items."""
        return read_items(folder / ITEMS)[self.benchmark]

    def comparability(self, folder: Path) -> Comparability:
        """Read the hashes that results on these items must share to be comparable."""
        return read_json(folder / COMPARABILITY, Comparability)


@dataclass(frozen=True, eq=False)
class PairItems(Items):
    """The items of a preference dataset: its curated test pairs, as models are trained on pairs."""

    pairs: Curate

    def definition(self) -> Benchmark:
        """Return the benchmark of the dataset's pairs."""
        return benchmark_of(self.pairs.definition())

    def to_answer(self, workspace: Workspace) -> list[Item]:
        """Return the items of the test pairs."""
        template = workspace.template(self.base.settings, self.template, self.date)
        return pair_items(workspace.store.load(self.pairs).test, self.benchmarks, template)


@dataclass(frozen=True, eq=False)
class WrittenPairs(Items):
    """The items of a file of preference pairs, written as models are trained on pairs."""

    def to_answer(self, workspace: Workspace) -> list[Item]:
        """Return the items of all pairs."""
        template = workspace.template(self.base.settings, self.template, self.date)
        return written_pairs(self.definition(), self.benchmarks, self.origin, template)


@dataclass(frozen=True, eq=False)
class TaskItems(Items):
    """The items of a task of lm-evaluation-harness, which writes its requests itself."""

    def definition(self) -> Benchmark:
        """Return the task as a benchmark."""
        return self.task.benchmark(self.benchmarks)

    def read(self) -> list[Item]:
        """Return the task's requests; InputError where it cannot make them."""
        chat = self.chat_template()
        return task_items(
            self.task, self.benchmarks, chat.chat_template.messages_text if chat else None
        )

    def request_template(self) -> Template | None:
        """Return None: requests are written already."""
        return None

    def classifier(self) -> Classifier | None:
        """Return None: the task reads generated texts itself."""
        return None

    @property
    def task(self) -> HarnessTask:
        """The task."""
        assert isinstance(self.files, HarnessTask)
        return self.files


@dataclass(frozen=True, eq=False)
class Evaluate(Stage[list[Outcome]]):
    """One model's outcomes on one benchmark.

    The model is ``base`` alone, or with the adapter of ``steering``. ``engine`` generates its
    texts, where the benchmark has any and ethosteer does not.
    """

    kind: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 5
    runs_base: ClassVar[bool] = True
    left_out: ClassVar = {"tokens_per_batch": CUTS_PASSES}

    model: Model
    items: Items
    base: RawBase | Finetune
    steering: Steer | None
    select: Select | None
    tokens_per_batch: int | None
    engine: str | None = None

    @property
    def name(self) -> str:
        """The benchmark and the model."""
        return f"{file_name(self.items.benchmark)}-{self.model.label}"

    def batch(self) -> Hashable:
        """Models on one base answer a benchmark together."""
        return self.items.fingerprint, self.base.identity()

    @classmethod
    def title(cls, stages: Sequence[Self]) -> str:
        """Name the benchmark, and the models where they are the raw base alone."""
        alone = " (base)" if all(stage.model.name == BASE for stage in stages) else ""
        return f"{cls.kind} {stages[0].items.benchmark}{alone}"

    @classmethod
    def run(cls, stages: Sequence[Self], workspace: Workspace) -> None:
        """Answer a benchmark with models on one base, and store their outcomes."""
        from ethosteer.evaluation.answering import answer_items, token_budget

        started = time.monotonic()
        first = stages[0]
        with workspace.terminal.stage(cls.title(stages)) as progress:
            items, classifier = first.items.to_answer(workspace), first.items.classifier()
            first.items.check_unchanged()
            base = workspace.base(first.base)
            models = [stage.model for stage in stages]
            budget = token_budget(first.tokens_per_batch, base, len(models))
            folders = {stage.model.label: stage._adapter(workspace) for stage in stages}
            with workspace.adapters(base, folders):
                outcomes = answer_items(
                    base,
                    models,
                    first.items.definition(),
                    items,
                    classifier,
                    budget,
                    progress,
                    first.items.request_template(),
                )
            seconds = (time.monotonic() - started) / len(models)
            for stage, answered in zip(stages, outcomes, strict=True):
                # models that were stored before the run was interrupted only complete the batch
                if not workspace.store.has(stage):
                    with workspace.store.write(stage, seconds, together=stages) as folder:
                        write_outcomes(folder / OUTCOMES, [answered])
                        write_json(folder / CLASSIFIER, classifier.note if classifier else "")

    def _adapter(self, workspace: Workspace) -> Path | None:
        if self.steering is None or self.select is None:
            return None
        return self.steering.checkpoint(workspace.store.path(self.steering), self.select)

    def load(self, folder: Path) -> list[Outcome]:
        """Read the outcomes."""
        return read_outcomes(folder / OUTCOMES)

    def classifier_note(self, folder: Path) -> str:
        """Return the classifier of generated texts and its quality; "" where there is none."""
        return read_json(folder / CLASSIFIER, str)

"""What every stage works with: the study's plan, its store, and the shared base."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ethosteer.data.sources import Origin
from ethosteer.files import fingerprint
from ethosteer.models.adapters import load_bank
from ethosteer.models.base import SharedBase, load_base, load_tokenizer
from ethosteer.models.generation import Sampling
from ethosteer.models.text import Template
from ethosteer.progress import Terminal
from ethosteer.records import Arm, Model, Turn
from ethosteer.settings import StudySettings
from ethosteer.stages.store import Store
from ethosteer.study.plan import Plan, Step

T = TypeVar("T")

MERGED = "model"
PROMPTS = "prompts.json"
AT_KL = "at-kl"
"""Within the folder of a steered arm: its last checkpoint within the KL target."""


@dataclass
class Workspace:
    """A study brought together with its folder, its data and the models it loads."""

    config: StudySettings
    folder: Path
    origin: Origin
    terminal: Terminal = field(default_factory=Terminal)

    @cached_property
    def plan(self) -> Plan:
        """The study's steps."""
        return Plan(self.config, self.origin)

    @cached_property
    def store(self) -> Store:
        """The study's artifacts."""
        return Store(self.folder / "artifacts")

    @cached_property
    def template(self) -> Template:
        """How this study writes dialogues."""
        return Template(self.config.data.template, load_tokenizer(self.config.base))

    @cached_property
    def raw_base(self) -> SharedBase:
        """The base before fine-tuning."""
        return load_base(self.config.base)

    @cached_property
    def base(self) -> SharedBase:
        """The fine-tuned base that all arms share."""
        folder = self.path(self.plan.finetuning) / MERGED
        settings = self.config.base.model_copy(update={"model": str(folder), "revision": None})
        return load_base(settings)

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn, in steering and wherever arms are shown."""
        steer = self.config.steer
        return Sampling(
            steer.min_new_tokens,
            steer.max_new_tokens,
            ignore_eos=steer.ignore_eos,
            temperature=steer.temperature,
        )

    def is_done(self, step: Step) -> bool:
        """Say whether a step's artifact is on disk."""
        return self.store.find(step.stage, step.name, step.fingerprint) is not None

    def missing(self, steps: Iterable[Step]) -> list[Step]:
        """Return the steps that are still to do."""
        return [step for step in steps if not self.is_done(step)]

    def missing_of(self, steps: Mapping[T, Step], among: Iterable[T]) -> list[T]:
        """Return the keys, such as arms, whose step is still to do."""
        return [key for key in among if not self.is_done(steps[key])]

    def path(self, step: Step) -> Path:
        """Return the folder of a step that is done."""
        return self.store.get(step.stage, step.name, step.fingerprint).path

    def seconds(self, step: Step) -> float:
        """Return how long a step that is done took."""
        return self.store.seconds(self.store.get(step.stage, step.name, step.fingerprint))

    def read_json(self, step: Step, name: str) -> Any:  # noqa: ANN401 (any JSON)
        """Read one JSON file of a step that is done."""
        return json.loads((self.path(step) / name).read_text("utf-8"))

    @contextmanager
    def writing(self, step: Step, seconds: float | None = None) -> Iterator[Path]:
        """Yield the folder to fill for ``step``."""
        with self.store.write(step.stage, step.name, step.fingerprint, seconds=seconds) as folder:
            yield folder

    def scratch(self, steps: Sequence[Step]) -> Path:
        """Return the checkpoint folder of work that makes ``steps`` together."""
        identity = fingerprint([step.fingerprint for step in steps])
        return self.store.scratch(steps[0].stage, steps[0].name, identity)

    def prompts(self, split: str) -> list[list[Turn]]:
        """Return the steering prompts of a split, as turns."""
        stored = self.read_json(self.plan.prompts, PROMPTS)
        return [[(role, text) for role, text in turns] for turns in stored[split]]

    def prompt_ids(self, split: str) -> list[list[int]]:
        """Return the steering prompts of a split, as token ids."""
        return [self.template.prompt_ids(turns) for turns in self.prompts(split)]

    def steered(self, arm: Arm) -> Path:
        """Return the folder of an arm's policy: of the checkpoint that the study evaluates."""
        folder = self.path(self.plan.steering[arm])
        return folder / AT_KL if self.config.steer.select == "kl" else folder

    def with_adapters(self, base: SharedBase, models: Sequence[Model], work: Callable[[], T]) -> T:
        """Do ``work`` with the models side by side on ``base``; controls are the base itself."""
        folders = {
            model.label: None if model.arm is None else self.steered(model.arm) for model in models
        }
        if not any(folders.values()):
            return work()  # a control alone: the bare base
        with load_bank(base, folders).applied():
            return work()

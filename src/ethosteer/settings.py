"""The study file: every setting with its type, its default and one line of explanation.

A study is one TOML file, validated against these classes before any model is loaded. The tables of
the algorithms ([steer.ppo], ...) are defined in the algorithms' own files, as subclasses of
AlgorithmSettings; ``catalog.study_settings`` adds them to ``StudySettings`` and ``SteerSettings``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ethosteer.records import BASE, CONTROLS, Arm

TRAINING_PASS = (
    "token budget of a training pass; default: 1,024 on a processor, on a GPU what fits in 60 % of "
    "its free memory (256 to 32,768)"
)

TEMPLATE_DATE = "2024-07-26"
"""Today, for chat templates that print it: constant, so that a study can be repeated."""


TemplateName = Literal["guanaco", "hh", "chat"]
"""The format of a dialogue; "chat" is the tokenizer's own template."""


class Settings(BaseModel):
    """A frozen group of settings. Types are strict; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelShape(Settings):
    """[base.shape]: the geometry of a Llama-like base, to plan a study without the base's files."""

    hidden: int = Field(ge=1, description="width of the hidden states")
    layers: int = Field(ge=1, description="number of decoder layers")
    intermediate: int = Field(ge=1, description="width of the feed-forward layers")
    vocabulary: int = Field(ge=1, description="number of tokens")
    tied: bool = Field(False, description="one matrix for input and output embeddings")


class BaseSettings(Settings):
    """[base]: the model that all arms share."""

    model: str = Field(
        "pocket", description="'pocket', 'smollm2', a model folder, a .gguf file, or a hub id"
    )
    revision: str | None = Field(
        None, description="the hub revision; a commit for a repeatable run"
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the frozen base")
    autocast: bool = Field(False, description="run a float32 base under torch.autocast to bfloat16")
    device: str = Field("auto", description="'auto', 'cpu', 'cuda', 'cuda:1', ...")
    shape: ModelShape | None = Field(None, description="only for `ethosteer plan`")


class DataSettings(Settings):
    """[data]: where published files are read from, and how text becomes a prompt."""

    origin: Literal["sample", "hub"] = Field(
        "hub", description="the bundled sample, or the hub; --data-dir replaces either"
    )
    template: TemplateName = Field(
        "guanaco", description="the format of a dialogue; 'chat' is the tokenizer's own template"
    )
    date: str = Field(
        TEMPLATE_DATE, description="today, YYYY-MM-DD, for chat templates that print the date"
    )
    max_tokens: int = Field(
        512, ge=16, description="of prompt and response; longer pairs are dropped"
    )
    conversations: str = Field(
        "hub",
        description="to fine-tune on: 'sample', 'hub', or a JSONL file in --data-dir",
    )
    prompts: Literal["arms", "conversations"] = Field(
        "arms",
        description="steering prompts: of each dataset's pairs in equal numbers, or conversations",
    )
    max_prompt_tokens: int = Field(128, ge=8, description="longer steering prompts are dropped")

    @field_validator("date")
    @classmethod
    def _is_a_date(cls, text: str) -> str:
        try:
            datetime.date.fromisoformat(text)
        except ValueError as fault:
            raise ValueError("must be a date, such as 2024-07-26") from fault
        return text


class LoraSettings(Settings):
    """The shape of an adapter (Hu et al. 2021): the weights change by ``alpha / r * B A``."""

    r: int = Field(8, ge=1, description="rank")
    alpha: float = Field(32.0, gt=0, description="the update is scaled by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the adapter's input, in training")
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="names of the linear layers to adapt; 'all-linear': every linear layer of the "
        "decoder but the output embedding",
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        # one message for both kinds, where the union would give one for each
        names = value if isinstance(value, tuple | list) else ()
        if value != "all-linear" and not (names and all(isinstance(name, str) for name in names)):
            raise ValueError("Input should be 'all-linear' or a list of layer names")
        return value


class OptimiserSettings(Settings):
    """AdamW with warm-up, linear decay to zero and clipping of the gradient norm, for each arm."""

    learning_rate: float = Field(1e-3, gt=0, description="after the warm-up")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, as in AdamW")
    warmup: float = Field(0.03, ge=0, lt=1, description="fraction of the steps")
    decay: bool = Field(True, description="linear decay to zero; false: a constant rate")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")


class FinetuneSettings(Settings):
    """[finetune]: supervised fine-tuning of the base, merged into it before arms are steered."""

    enabled: bool = Field(
        True, description="false: arms start from the base as it is, which is then the control"
    )
    epochs: float = Field(1.0, gt=0, description="passes over the conversations")
    batch: int = Field(8, ge=1, description="conversations per step")
    max_steps: int | None = Field(None, ge=1, description="upper bound on the steps")
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()


FILE_SETTINGS = (
    "file", "hub", "config", "split", "revision", "columns", "weigh", "title", "home", "licence",
)  # fmt: skip
"""The settings of an arm that describe a file."""
LABELS = ("title", "home", "licence")
"""Those of them that change no pair."""


class ArmSettings(Settings):
    """[arms.NAME]: one preference dataset: a built-in one, a file of your own, or one of the hub.

    The columns of a file are recognised by their names; ``data.formats`` lists the formats.
    """

    dataset: str | None = Field(
        None, description="a built-in dataset, or an arm with a file; default: the arm's name"
    )
    file: str | None = Field(
        None,
        description="preferences of your own: .jsonl, .json, .csv, .tsv or .parquet, or a folder "
        "of such files; relative to the study file",
    )
    hub: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="a dataset of the Hugging Face hub, as org/name",
    )
    config: str | None = Field(None, description="of the hub's dataset; default: its default one")
    split: str | None = Field(None, description="of the hub's dataset; default: train")
    revision: str | None = Field(
        None, description="the hub revision; a commit for a repeatable run"
    )
    columns: dict[str, str] | None = Field(
        None,
        description="the file's column for one of ours, as in { chosen = 'better' }; default: "
        "recognised by their names",
    )
    weigh: Literal["majority", "judgements"] | None = Field(
        None,
        description="several annotators of one pair: the majority decides (the default), or each "
        "judgement is a pair",
    )
    title: str | None = Field(None, description="of your dataset, for reports")
    home: str | None = Field(None, description="the web page of your dataset")
    licence: str | None = Field(None, description="of your dataset")
    algorithm: str | None = Field(None, description="default: steer.algorithm")
    pairs_per_group: int = Field(2, ge=1, description="maximum number of pairs from one scenario")
    max_pairs: int | None = Field(
        None, ge=8, description="maximum number of pairs in each split, chosen by hash"
    )

    @field_validator("file")
    @classmethod
    def _absolute(cls, file: str | None) -> str | None:
        # a study may be resumed from another folder; load_study resolves paths of a study file
        return None if file is None else str(Path(file).expanduser().absolute())

    @model_validator(mode="after")
    def _one_source(self) -> ArmSettings:
        named = [name for name in ("dataset", "file", "hub") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{named[0]} and {named[1]} exclude each other")
        for needed, names in {
            "file or hub": ("columns", "weigh", *LABELS),
            "hub": ("config", "split", "revision"),
        }.items():
            for name in names:
                if getattr(self, name) is not None and not (
                    self.hub or (self.file and needed != "hub")
                ):
                    raise ValueError(f"{name} needs {needed}")
        return self

    @property
    def from_file(self) -> bool:
        """Whether the arm reads a file of the user's, or one of the hub that is not built in."""
        return self.file is not None or self.hub is not None

    @property
    def content(self) -> dict[str, Any]:
        """The settings that say which rows are read and how: arms with the same share a dataset."""
        return {name: getattr(self, name) for name in FILE_SETTINGS if name not in LABELS}


class RewardSettings(Settings):
    """[reward]: one Bradley-Terry reward model for each dataset and seed."""

    epochs: float = Field(1.0, gt=0, description="passes over the training pairs")
    batch: int = Field(8, ge=1, description="pairs per step and arm")
    validations: int = Field(
        5, ge=0, description="checks on validation pairs; the weights with the lowest loss are kept"
    )
    validation_pairs: int = Field(128, ge=8, description="maximum number scored at each check")
    normalisation_samples: int = Field(
        256, ge=16, description="answers of the base on which the reward has mean 0 and SD 1"
    )
    tokens_per_batch: int | None = Field(None, ge=1, description=TRAINING_PASS)
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()


class AlgorithmSettings(Settings):
    """The table [steer.NAME] of an algorithm, which may have a pace that differs from [steer]'s."""

    steps: int | None = Field(None, ge=1, description="default: steer.steps")
    learning_rate: float | None = Field(
        None, gt=0, description="default: steer.optimiser.learning_rate"
    )

    def check(self, steer: SteerSettings) -> None:
        """Raise InputError where these settings and ``steer`` contradict each other."""


Table = TypeVar("Table", bound=AlgorithmSettings)


class SteerSettings(Settings):
    """[steer]: how arms are steered, and which of their checkpoints is evaluated."""

    algorithm: str = Field("ppo", description="of arms that name no algorithm")
    steps: int = Field(
        100, ge=1, description="of the optimiser, or rounds of sampling and learning"
    )
    batch: int = Field(64, ge=1, description="answers per step and arm")
    minibatches: int = Field(4, ge=1, description="optimiser steps per pass over a step's answers")
    epochs: int = Field(4, ge=1, description="passes over the answers of a step")
    min_new_tokens: int = Field(32, ge=1, description="an answer has at least this many tokens")
    max_new_tokens: int = Field(
        128, ge=1, description="each answer's limit is uniform from the minimum to this"
    )
    ignore_eos: bool = Field(True, description="answers run to their limit; as in the 2024 study")
    missing_eos_penalty: float = Field(
        0.0, ge=0, description="subtracted from the reward of an answer without EOS"
    )
    temperature: float = Field(1.0, gt=0, description="of sampling")
    kl_coefficient: float = Field(0.2, ge=0, description="its initial value")
    kl_target: float | None = Field(
        6.0, gt=0, description="nats per answer; none: a constant coefficient"
    )
    kl_horizon: int = Field(10_000, ge=1, description="of the adaptive controller, in answers")
    max_kl: float = Field(200.0, gt=0, description="nats per answer; an arm above it is stopped")
    select: Literal["step", "kl"] = Field(
        "step", description="evaluate the last step, or the last one with KL up to kl_target"
    )
    measure_every: int = Field(
        5,
        ge=1,
        description="steps between scores by all reward models, and between points of the curve of "
        "an algorithm that samples for the curve alone",
    )
    held_out_prompts: int = Field(64, ge=8, description="for the reward and KL before and after")
    checkpoint_every: int = Field(
        20, ge=1, description="steps between checkpoints for resumption, of two minutes at most"
    )
    tokens_per_batch: int | None = Field(None, ge=1, description=TRAINING_PASS)
    lora: LoraSettings = LoraSettings(r=16, dropout=0.05)
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=1.4e-5, warmup=0.0, decay=False)

    @model_validator(mode="after")
    def _consistent(self) -> SteerSettings:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens must not exceed max_new_tokens")
        if self.batch % self.minibatches:
            raise ValueError("batch must be a multiple of minibatches")
        if self.select == "kl" and self.kl_target is None:
            raise ValueError("select = 'kl' needs a kl_target")
        return self

    @property
    def tables(self) -> dict[str, AlgorithmSettings]:
        """The tables of all algorithms by the algorithm's name."""
        return {name: value for name, value in self if isinstance(value, AlgorithmSettings)}

    def table(self, kind: type[Table]) -> Table:
        """Return the table of one algorithm, by its class."""
        return next(table for table in self.tables.values() if isinstance(table, kind))

    def for_algorithm(self, algorithm: str) -> SteerSettings:
        """Return the settings of an arm steered by ``algorithm``, at that algorithm's pace."""
        table = self.tables[algorithm]
        rate = table.learning_rate or self.optimiser.learning_rate
        return self.model_copy(
            update={
                "algorithm": algorithm,
                "steps": table.steps or self.steps,
                "optimiser": self.optimiser.model_copy(update={"learning_rate": rate}),
            }
        )


FileFormat = Literal["multiple_choice", "paired_sentences", "preferences", "free_answers"]
"""What the rows of a benchmark file are."""


class BenchmarkSettings(Settings):
    """[benchmarks.NAME]: a built-in benchmark, a file, or a task of lm-evaluation-harness.

    ``file`` makes it a benchmark of the user's; ``lm-eval:TASK`` as NAME, a task of the harness.
    """

    limit: int | None = Field(
        None, ge=1, description="maximum number of items; whole groups, chosen by hash"
    )
    source: str | None = Field(None, description="another published version of its files")
    classifier: str | None = Field(
        None,
        description="of generated texts: a hub id, a folder, or 'trained' (on the benchmark's "
        "training rows, or on those of labelled); default: the benchmark's usual one, but "
        "'trained' with --data-dir",
    )
    file: str | None = Field(
        None,
        description="a file of the user's: JSONL, JSON, CSV or TSV, gzipped or plain; relative to "
        "the study file",
    )
    format: FileFormat | None = Field(
        None,
        description="what the file's rows are; default: recognised by its columns",
    )
    columns: dict[str, str | tuple[str, ...]] | None = Field(
        None,
        description="the file's column for each role (question, choices, answer, chosen, ..., and "
        "id, group, slices), where it has another name",
    )
    choices: Literal["texts", "letters"] | None = Field(
        None,
        description="multiple choice: score the choices' texts (the default), or list them after "
        "the question and score the letters A, B, ...",
    )
    better: Literal["higher", "lower", "half", "none"] | None = Field(
        None,
        description="the direction in which the proportion improves, where columns do not say what "
        "is correct; 'half': its aim is 50 %",
    )
    pattern: str | None = Field(
        None,
        description="free answers: a regular expression; its first group (or the whole match) is "
        "the answer",
    )
    new_tokens: int | None = Field(
        None, ge=1, le=1024, description="free answers: their length; default: 64"
    )
    labelled: str | None = Field(
        None,
        description="free answers: a file of texts with labels 0 and 1 (columns text and label); "
        "half of it tests the classifier, and half trains it if it is 'trained'",
    )
    positive_class: str | None = Field(
        None,
        description="index or name of the class of classifier that label 1 means; default: 1",
    )
    title: str | None = Field(None, description="for reports; default: the benchmark's name")
    home: str | None = Field(None, description="the file's web page, for reports")
    licence: str | None = Field(None, description="the file's licence, for reports")

    @field_validator("file", "labelled")
    @classmethod
    def _absolute(cls, file: str | None) -> str | None:
        # a study may be resumed from another folder; load_study resolves paths of a study file
        return None if file is None else str(Path(file).expanduser().absolute())

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as fault:
            raise ValueError(f"is not a regular expression: {fault}") from fault
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> BenchmarkSettings:
        if self.file is None:
            for key in FILE_KEYS:
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: describes a file; give file, or remove {key}")
            return self
        if self.source is not None:
            raise ValueError("source: names a version of a built-in benchmark; remove it, or file")
        if self.pattern is not None and self.labelled is not None:
            raise ValueError("labelled: answers are read by pattern or by a classifier, not both")
        if self.labelled is None:
            for key in ("classifier", "positive_class"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f"{key}: needs labelled, a file of texts with labels, since a classifier's "
                        "held-out quality is part of the result"
                    )
        elif self.positive_class is not None and self.classifier in (None, "trained"):
            raise ValueError("positive_class: names a class of a classifier that is not trained")
        return self


FILE_KEYS = (
    "format", "columns", "choices", "better", "pattern", "new_tokens", "labelled", "positive_class",
)  # fmt: skip
"""Settings of [benchmarks.NAME] that describe a file."""


class EvaluateSettings(Settings):
    """[evaluate]: how models are scored."""

    chat: bool = Field(
        False,
        description="write every benchmark's request by the tokenizer's chat template, as "
        "lm-evaluation-harness does with apply_chat_template",
    )
    include_path: tuple[str, ...] = Field(
        (),
        description="folders with YAML tasks of lm-evaluation-harness, relative to the study file, "
        "for benchmarks called lm-eval:TASK",
    )
    tokens_per_batch: int | None = Field(
        None,
        ge=1,
        description="token budget of all models together; default: 1,024 on a processor (or 384 "
        "per model, if that is more), 32,768 on a GPU",
    )
    sample_prompts: int = Field(
        6, ge=0, description="held-out prompts whose answers the report shows"
    )
    cross_pairs: int = Field(
        200, ge=8, description="held-out pairs of each dataset scored by all reward models"
    )

    @field_validator("include_path")
    @classmethod
    def _absolute(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(Path(folder).expanduser().absolute()) for folder in folders)


class TrackSettings(Settings):
    """[track]: live curves of the steering."""

    trackers: tuple[str, ...] = Field(
        ("tensorboard",),
        description="of accelerate: tensorboard, wandb, aim, mlflow, ...; [] for none",
    )


class CompareSettings(Settings):
    """[compare]: the statistics of the differences."""

    control: Literal["base", "fine-tuned"] = Field(
        "fine-tuned",
        description="the model that arms are compared with; default without fine-tuning: base",
    )
    resamples: int = Field(2000, ge=200, description="permutations of a permutation test")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="significance level")
    correction: Literal["holm", "bh"] = Field(
        "holm",
        description="for multiple comparisons: Holm (family-wise error) or Benjamini-Hochberg "
        "(false discovery rate)",
    )
    primary: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="benchmarks whose primary metrics are the study's hypotheses, corrected "
        "together; default: all benchmarks",
    )
    margin: float | None = Field(None, gt=0, description="equivalence margin; preregister it")
    effect: float | None = Field(
        None,
        gt=0,
        description="smallest difference of interest; the report states the items needed for it",
    )
    overlap_ngram: int = Field(
        8, ge=3, description="words; the n of the n-gram overlap of pairs and benchmarks"
    )
    published: str | None = Field(
        None,
        description="a published study's counts to show beside this one's: 'published-2024' or a "
        "TOML file",
    )


class StudySettings(Settings):
    """A whole study."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="also the folder's name")
    question: str = Field(description="the research question, for the report")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="every arm is trained with each")
    base: BaseSettings = BaseSettings()
    data: DataSettings = DataSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    arms: dict[str, ArmSettings] = Field(min_length=1)
    reward: RewardSettings = RewardSettings()
    steer: SteerSettings = SteerSettings()
    benchmarks: dict[str, BenchmarkSettings] = Field(min_length=1)
    evaluate: EvaluateSettings = EvaluateSettings()
    compare: CompareSettings = CompareSettings()
    track: TrackSettings = TrackSettings()

    @model_validator(mode="before")
    @classmethod
    def _control_without_finetuning(cls, table: Any) -> Any:  # noqa: ANN401 (any input)
        """Compare arms with the base where nothing is fine-tuned and no control is named."""
        finetune = table.get("finetune") if isinstance(table, Mapping) else None
        if isinstance(finetune, Mapping) and finetune.get("enabled") is False:
            compare = table.get("compare", {})
            if isinstance(compare, Mapping):
                return {**table, "compare": {"control": BASE, **compare}}
        return table

    @model_validator(mode="before")
    @classmethod
    def _files_by_arm(cls, table: Any) -> Any:  # noqa: ANN401 (any input)
        """Let an arm whose ``dataset`` names an arm with a file read that file."""
        arms = table.get("arms") if isinstance(table, Mapping) else None
        if not isinstance(arms, Mapping):
            return table
        plain = {
            name: arm.model_dump(exclude_unset=True) if isinstance(arm, ArmSettings) else arm
            for name, arm in arms.items()
        }

        def shared(arm: Any) -> Any:  # noqa: ANN401 (any input)
            named = arm.get("dataset") if isinstance(arm, Mapping) else None
            source = plain.get(named) if isinstance(named, str) else None
            if not isinstance(source, Mapping) or not (source.get("file") or source.get("hub")):
                return arm
            taken = {key: source[key] for key in FILE_SETTINGS if key in source}
            return taken | {key: value for key, value in arm.items() if key != "dataset"}

        return {**table, "arms": {name: shared(arm) for name, arm in plain.items()}}

    @model_validator(mode="after")
    def _consistent(self) -> StudySettings:
        if not self.finetune.enabled and self.compare.control != BASE:
            raise ValueError(
                "compare.control = 'fine-tuned' needs a fine-tuned model, and finetune.enabled is "
                "false; set compare.control = 'base'"
            )
        for name in self.compare.primary or ():
            if name not in self.benchmarks:
                raise ValueError(
                    f"compare.primary names {name!r}, which is not among the study's benchmarks: "
                    f"{', '.join(self.benchmarks)}"
                )
        for name in self.arms:
            if name in CONTROLS or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"arms.{name} is not a usable name for an arm")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ from each other")
        return self

    @property
    def controls(self) -> tuple[str, ...]:
        """The models that are not steered: the base, and the fine-tuned one where there is one."""
        return CONTROLS if self.finetune.enabled else (BASE,)

    def dataset_of(self, arm: str) -> str:
        """Return the name of an arm's dataset; a file's is that of the first arm that reads it."""
        settings = self.arms[arm]
        if settings.from_file:
            same = (name for name in self.arms if self.arms[name].content == settings.content)
            return next(same)
        return settings.dataset or arm

    def algorithm_of(self, arm: str) -> str:
        """Return the algorithm that steers an arm."""
        return self.arms[arm].algorithm or self.steer.algorithm

    def data_of(self, arm: str) -> str:
        """Return the first arm with the same pairs, whose pairs and reward model ``arm`` shares."""
        pairs = self._pairs(arm)
        return next(name for name in self.arms if self._pairs(name) == pairs)

    def data_arms(self) -> tuple[str, ...]:
        """Return the first arm of each set of pairs; these are curated and rewarded once."""
        return tuple(name for name in self.arms if self.data_of(name) == name)

    def _pairs(self, arm: str) -> dict[str, Any]:
        """Return the settings that determine an arm's pairs."""
        settings = self.arms[arm].model_dump(exclude={"algorithm", *LABELS})
        return {**settings, "dataset": self.dataset_of(arm)}

    def arm_seeds(self) -> tuple[Arm, ...]:
        """Return every arm of the study, seed by seed."""
        return tuple(Arm(name, seed) for seed in self.seeds for name in self.arms)

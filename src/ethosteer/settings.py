"""The study file: every setting with its type, its default and one line of explanation.

A study is one TOML file, validated here before anything else happens; ``--set a.b=c`` changes one
value of it. This module imports neither torch nor transformers, so a typo is told at once.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ethosteer.records import CONTROLS, Arm


class Settings(BaseModel):
    """A frozen group of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelShape(Settings):
    """[base.shape]: a Llama-like base's geometry, for plans made where the base is not at hand."""

    hidden: int = Field(ge=1)
    layers: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied: bool = Field(False, description="input and output embeddings are one")


class BaseSettings(Settings):
    """[base]: the model that all arms share."""

    model: str = Field("pocket", description="'pocket', a model folder, or a hub id")
    revision: str | None = Field(
        None, description="the hub revision; a commit for a repeatable run"
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the frozen base")
    autocast: bool = Field(
        False, description="run float32 weights in bfloat16 where torch deems that safe"
    )
    device: str = Field("auto", description="'auto', 'cpu', 'cuda', 'cuda:1', ...")
    shape: ModelShape | None = Field(None, description="only for `ethosteer plan`")


class DataSettings(Settings):
    """[data]: where published files are read from and how text becomes a prompt."""

    origin: Literal["sample", "hub"] = Field(
        "hub", description="the bundled sample or the hub; --data-dir overrides it with a folder"
    )
    template: Literal["guanaco", "hh", "chat"] = Field(
        "guanaco", description="how turns become text; 'chat' is the tokenizer's own template"
    )
    max_tokens: int = Field(512, ge=16, description="longer prompt + response pairs are dropped")
    conversations: str = Field(
        "hub",
        description="guanaco-layout JSONL to fine-tune on: 'sample', 'hub' or a file in --data-dir",
    )
    prompts: Literal["arms", "conversations"] = Field(
        "arms",
        description="steering prompts: from all arms' pairs in equal parts, or conversations",
    )
    max_prompt_tokens: int = Field(128, ge=8, description="longer steering prompts are left out")


class LoraSettings(Settings):
    """The shape of an adapter (Hu et al. 2021): the update is ``alpha / r * B A``."""

    r: int = Field(8, ge=1, description="rank")
    alpha: float = Field(32.0, gt=0, description="scale numerator")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the adapter's input, in training only")
    targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        description="last name of the linear layers to adapt",
    )


class OptimiserSettings(Settings):
    """AdamW with a linear decay to zero and a gradient-norm clip, all per arm."""

    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps")
    decay: bool = Field(True, description="linear decay to zero; false keeps the rate")
    max_grad_norm: float = Field(1.0, gt=0)


class FinetuneSettings(Settings):
    """[finetune]: supervised fine-tuning of the base, merged before the arms branch off."""

    epochs: float = Field(1.0, gt=0)
    batch: int = Field(8, ge=1, description="conversations per step")
    max_steps: int | None = Field(None, ge=1, description="stop after this many steps")
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()


class ArmSettings(Settings):
    """[arms.NAME]: one preference dataset."""

    dataset: str | None = Field(None, description="the dataset's name; the arm's own by default")
    algorithm: Algorithm | None = Field(None, description="how it is steered; [steer]'s by default")
    pairs_per_group: int = Field(2, ge=1, description="pairs made from one scenario at most")
    max_pairs: int | None = Field(
        None, ge=8, description="training pairs at most, chosen by hash (also for held-out pairs)"
    )


class RewardSettings(Settings):
    """[reward]: one Bradley-Terry reward model per arm."""

    epochs: float = Field(1.0, gt=0)
    batch: int = Field(8, ge=1, description="pairs per step and arm")
    validations: int = Field(
        5, ge=0, description="checks on validation pairs; the weights with the lowest loss are kept"
    )
    validation_pairs: int = Field(128, ge=8, description="maximum number scored at each check")
    normalisation_samples: int = Field(
        256, ge=16, description="base answers on which the reward's mean 0 and sd 1 are fitted"
    )
    tokens_per_batch: int | None = Field(
        None, ge=1, description="of the training passes that run at once; by default what suits it"
    )
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()


class PPOSettings(Settings):
    """[steer.ppo]: proximal policy optimisation (Ziegler et al. 2019; Huang et al. 2024)."""

    gamma: float = Field(1.0, gt=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip: float = Field(0.2, gt=0)
    value_clip: float = Field(0.2, gt=0)
    value_weight: float = Field(0.1, ge=0)


class OwnPace(Settings):
    """An algorithm's own number of steps and learning rate, where [steer]'s do not suit it."""

    steps: int | None = Field(None, ge=1, description="[steer]'s by default")
    learning_rate: float | None = Field(None, gt=0, description="[steer.optimiser]'s by default")


class RLOOSettings(OwnPace):
    """[steer.rloo]: REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024)."""

    answers: int = Field(4, ge=2, description="to each prompt; batch must be a multiple")
    clip: float = Field(0.2, gt=0)


class DPOSettings(OwnPace):
    """[steer.dpo]: direct preference optimisation, from the pairs (Rafailov et al. 2023)."""

    beta: float = Field(0.1, gt=0, description="how much a nat of difference counts")
    pairs: int = Field(16, ge=1, description="pairs per step")


class BestOfNSettings(OwnPace):
    """[steer.best_of_n]: learn the best of n own answers, again and again (Dong et al. 2023)."""

    n: int = Field(16, ge=2, description="answers to each prompt")
    prompts: int = Field(8, ge=1, description="per step")
    epochs: int = Field(1, ge=1, description="passes over a step's best answers")


Algorithm = Literal["ppo", "rloo", "dpo", "best_of_n"]


class SteerSettings(Settings):
    """[steer]: how arms are steered, and which of their checkpoints is evaluated."""

    algorithm: Algorithm = Field("ppo", description="of arms that name none of their own")
    steps: int = Field(100, ge=1)
    batch: int = Field(64, ge=1, description="episodes per step and arm")
    minibatches: int = Field(4, ge=1)
    epochs: int = Field(4, ge=1, description="passes over one batch")
    min_new_tokens: int = Field(32, ge=1)
    max_new_tokens: int = Field(128, ge=1, description="each row's limit is drawn from this range")
    ignore_eos: bool = Field(True, description="run to the limit, as the 2024 study did")
    missing_eos_penalty: float = Field(0.0, ge=0, description="taken from a score without an EOS")
    temperature: float = Field(1.0, gt=0)
    kl_coefficient: float = Field(0.2, ge=0, description="at the start")
    kl_target: float | None = Field(
        6.0, gt=0, description="nats per response; none keeps the coefficient fixed"
    )
    kl_horizon: int = Field(10_000, ge=1, description="episodes, of the adaptive controller")
    max_kl: float = Field(
        200.0, gt=0, description="nats per response; an arm that goes beyond is stopped"
    )
    select: Literal["step", "kl"] = Field(
        "step", description="evaluate the last step, or the last whose KL is within kl_target"
    )
    measure_every: int = Field(
        5, ge=1, description="steps between scores by every reward model (and any, for dpo)"
    )
    held_out_prompts: int = Field(64, ge=8, description="for reward and KL before and after")
    checkpoint_every: int = Field(20, ge=1, description="steps between resumable checkpoints")
    tokens_per_batch: int | None = Field(
        None, ge=1, description="of the training passes that run at once; by default what suits it"
    )
    ppo: PPOSettings = PPOSettings()
    rloo: RLOOSettings = RLOOSettings()
    dpo: DPOSettings = DPOSettings()
    best_of_n: BestOfNSettings = BestOfNSettings()
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

    def for_algorithm(self, algorithm: Algorithm) -> SteerSettings:
        """Return the settings of an arm steered by ``algorithm``, with its own pace put in."""
        own = getattr(self, algorithm)
        changes: dict[str, Any] = {"algorithm": algorithm}
        if isinstance(own, OwnPace):
            changes["steps"] = own.steps or self.steps
            rate = own.learning_rate or self.optimiser.learning_rate
            changes["optimiser"] = self.optimiser.model_copy(update={"learning_rate": rate})
        return self.model_copy(update=changes)


class BenchmarkSettings(Settings):
    """[benchmarks.NAME]: one benchmark of the study."""

    limit: int | None = Field(None, ge=1, description="this many items, whole groups, by hash")
    source: str | None = Field(None, description="another published form of its files")
    classifier: str | None = Field(
        None,
        description="judges generated texts: a hub id, a folder, or 'trained' on the benchmark's "
        "own rows; by default its usual one from the hub, 'trained' with --data-dir",
    )


class EvaluateSettings(Settings):
    """[evaluate]: how models are scored."""

    tokens_per_batch: int | None = Field(
        None, ge=1, description="of all models together; by default what suits the device"
    )
    sample_prompts: int = Field(6, ge=0, description="held-out prompts answered side by side")
    cross_pairs: int = Field(
        200, ge=8, description="held-out pairs of each dataset that every reward model judges"
    )


class TrackSettings(Settings):
    """[track]: where the curves of steering go while they are made."""

    trackers: tuple[str, ...] = Field(
        ("tensorboard",), description="of accelerate, such as wandb, aim or mlflow; [] for none"
    )


class CompareSettings(Settings):
    """[compare]: how differences are judged."""

    control: Literal["base", "fine-tuned"] = Field(
        "fine-tuned", description="what arms are held to"
    )
    resamples: int = Field(2000, ge=200, description="random swaps of a permutation test")
    alpha: float = Field(0.05, gt=0, lt=0.5)
    correction: Literal["holm", "bh"] = Field(
        "holm",
        description="of p within a family: Holm (any false find) or Benjamini-Hochberg (their "
        "share among finds)",
    )
    margin: float | None = Field(
        None, gt=0, description="differences within it count as equivalent; declare it beforehand"
    )
    effect: float | None = Field(
        None,
        gt=0,
        description="the difference that matters; the report says how many items it needs",
    )
    published: str | None = Field(
        None,
        description="a published study's counts to show beside this one's: 'published-2024' or a "
        "TOML file",
    )
    overlap_ngram: int = Field(8, ge=3, description="words, for overlap of data and benchmarks")


class StudySettings(Settings):
    """A whole study."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="its folder's name")
    question: str = Field(description="what the study is to answer, for the report")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one arm per dataset and seed")
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

    @model_validator(mode="after")
    def _consistent(self) -> StudySettings:
        for name in self.arms:
            if name in CONTROLS or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"arms.{name} is not a usable name for an arm")
            if self.algorithm_of(name) == "rloo" and self.steer.batch % self.steer.rloo.answers:
                raise ValueError("steer.batch must be a multiple of steer.rloo.answers")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ from each other")
        return self

    def dataset_of(self, arm: str) -> str:
        """Return the name of the dataset behind an arm."""
        return self.arms[arm].dataset or arm

    def algorithm_of(self, arm: str) -> Algorithm:
        """Return the algorithm that steers an arm."""
        return self.arms[arm].algorithm or self.steer.algorithm

    def data_of(self, arm: str) -> str:
        """Return the first arm that has the same pairs: they are curated and rewarded once."""
        own = self._data(arm)
        return next(name for name in self.arms if self._data(name) == own)

    def data_arms(self) -> tuple[str, ...]:
        """Return the arms that bring pairs of their own; others steer by them another way."""
        return tuple(name for name in self.arms if self.data_of(name) == name)

    def _data(self, arm: str) -> dict[str, Any]:
        own = self.arms[arm].model_dump(exclude={"algorithm"})
        return {**own, "dataset": self.dataset_of(arm)}

    def arm_seeds(self) -> tuple[Arm, ...]:
        """Return every arm of the study, seed by seed."""
        return tuple(Arm(name, seed) for seed in self.seeds for name in self.arms)

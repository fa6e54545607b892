"""The bytes that a study takes: memory by stage and part, and disk for its artifacts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ethosteer import catalog
from ethosteer.models.fast.activations import FLOAT32, activation_bytes, score_bytes
from ethosteer.models.fast.budget import (
    CPU_CACHE,
    CPU_TOKENS,
    GPU_FRACTION,
    cache_bytes,
    evaluation_tokens,
    fitting_tokens,
    layouts_fit,
    logit_bytes,
)
from ethosteer.models.geometry import (
    adapter_parameters,
    decoder_parameters,
    embedding_parameters,
)
from ethosteer.settings import LoraSettings, ModelShape, StudySettings
from ethosteer.study.costs import mean_row
from ethosteer.study.text_sizes import ASSUMED_ITEM_TOKENS, Texts

OUTCOME_BYTES = 120
LIBRARIES = 0.58e9
"""Resident bytes of a process on a processor, without its tensors.

Measured by ``ethosteer bench ppo --model pocket --data-dir DATA``: 0.77 to 0.80 GB, less what is
counted here of its tensors.
"""
CONTEXT = 0.6e9
"""Bytes of a GPU that CUDA's context and the libraries' workspaces take."""
WEIGHT_BYTES = {"nf4": 0.516, "fp4": 0.516, "int8": 1.0}
"""Bytes of a quantised weight: four bits and their scales (Dettmers et al. 2023), or eight."""
MOMENTS = 2
"""Of AdamW, for each parameter."""
STACKED = 3
"""Copies of an adapter while it is applied: A and B of the arms in use, and B times its scale."""
SAMPLED_LOGITS = 5
"""Numbers in fp32 for each logit of a new token: scaled, with noise, and its log-probabilities."""
SCORED_LOGITS, SCORED_POSITIONS = 2, 256
"""The same of evaluation, which makes logits at so many positions at once."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where memory is counted: on a processor, or on a GPU of ``memory`` bytes."""

    on_gpu: bool
    memory: float = math.inf


@dataclass(frozen=True, slots=True)
class Work:
    """The bytes of work in passes: as a run cuts them, and with a single text in each."""

    bytes: float
    least: float


@dataclass(frozen=True, slots=True)
class StageMemory:
    """The bytes of a stage: what it holds throughout, by part, and its kinds of work, in turn."""

    stage: str
    held: Mapping[str, float]
    work: Mapping[str, Work]

    @property
    def peak(self) -> float:
        """The bytes at its peak: of its kinds of work only the largest counts."""
        return sum(self.held.values()) + max(work.bytes for work in self.work.values())

    @property
    def least(self) -> float:
        """The bytes at its peak where memory is so short that every pass has a single text."""
        return sum(self.held.values()) + max(work.least for work in self.work.values())


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the texts of one update: the longest, the mean, and how many texts there are.

    ``learned`` is the share of tokens that have logits.
    """

    longest: float
    mean: float
    count: int
    learned: float

    @property
    def total(self) -> float:
        """The tokens of a large update: one text of greatest length, the others of mean length."""
        return self.longest + (self.count - 1) * min(self.mean, self.longest)


@dataclass(frozen=True)
class Footprint:
    """Counts the memory of a study's stages on a machine."""

    settings: StudySettings
    shape: ModelShape
    texts: Texts
    machine: Machine

    @cached_property
    def stages(self) -> tuple[StageMemory, ...]:
        """The memory of each stage that needs a model; steering by algorithm."""
        algorithms = dict.fromkeys(map(self.settings.algorithm_of, self.settings.arms))
        return (
            *([self.finetune()] if self.settings.finetune.enabled else []),
            self.reward(),
            *map(self.steer, algorithms),
            self.evaluate(),
        )

    @cached_property
    def width(self) -> int:
        """The bytes of a number of the base's activations."""
        return FLOAT32 if self.settings.base.dtype == "float32" else 2

    @property
    def row(self) -> int:
        """The tokens of the longest prompt with its longest answer."""
        return self.settings.data.max_prompt_tokens + self.settings.steer.max_new_tokens

    @property
    def weights(self) -> float:
        """The bytes of the base's weights; embeddings are never quantised."""
        weight = WEIGHT_BYTES.get(self.settings.base.quantise or "", self.width)
        embeddings = self.width * embedding_parameters(self.shape)
        return weight * decoder_parameters(self.shape) + embeddings

    @cached_property
    def base(self) -> dict[str, float]:
        """What every stage holds: the frozen base with its layouts, and libraries."""
        held = {"frozen base, once": self.weights}
        if self.machine.on_gpu:
            return held | {"CUDA's context": CONTEXT}
        if not self.settings.base.quantise and layouts_fit(int(self.weights)):
            # laid out once for products and once for gradients (models/fast/products.py)
            head = self.shape.vocabulary * self.shape.hidden
            held["further layouts of it"] = 2 * self.width * (decoder_parameters(self.shape) + head)
        return held | {"libraries": LIBRARIES}

    @property
    def server(self) -> float:
        """The bytes of the server that the study starts on its GPU; 0 without one."""
        rollout = self.settings.rollout
        is_started = self.machine.on_gpu and rollout.starts_server
        return rollout.memory * self.machine.memory if is_started else 0.0

    @property
    def has_cramped_server(self) -> bool:
        """Whether the study starts a server whose memory does not hold the base."""
        return 0 < self.server <= self.weights

    @cached_property
    def base_and_server(self) -> dict[str, float]:
        """What stages hold that sample, and those after them: the base, and the study's server."""
        return self.base | {"vLLM's server": self.server} if self.server else self.base

    def finetune(self) -> StageMemory:
        """Count fine-tuning, whose conversations have logits at every token."""
        finetune, longest = self.settings.finetune, self.settings.data.max_tokens
        held = self.base | {"adapter and its optimiser": self.trained(finetune.lora, 1, 0)}
        lengths = Lengths(longest, self.texts.conversation_length, finetune.batch, learned=1.0)
        training = self.training(held, finetune.lora, finetune.tokens_per_batch, lengths)
        return StageMemory("finetune", held, {"a training pass": training})

    def reward(self) -> StageMemory:
        """Count the reward models of one seed, with their best weights so far."""
        reward = self.settings.reward
        arms = len(self.settings.data_arms())
        held = self.base_and_server | {
            "reward models and their optimisers": self.trained(reward.lora, arms, snapshots=1)
        }
        pairs = self.texts.pairs.values()
        lengths = Lengths(
            max(sizes.longest for sizes in pairs),
            max(sizes.tokens for sizes in pairs),
            reward.batch,
            learned=0.0,
        )
        return StageMemory(
            "reward",
            held,
            {
                "a training pass": self.training(
                    held, reward.lora, reward.tokens_per_batch, lengths
                ),
                "sampling": self.sampling(held, 1, reward.normalisation_samples, 0.0),
            },
        )

    def steer(self, algorithm: str) -> StageMemory:
        """Count the arms of one seed and one algorithm, which are steered together."""
        settings = self.settings
        steer = settings.steer.for_algorithm(algorithm)
        arms = Counter(map(settings.algorithm_of, settings.arms))[algorithm]
        batch = catalog.algorithm(algorithm).batch(steer)
        adapter = FLOAT32 * adapter_parameters(self.shape, steer.lora)
        held = self.base_and_server | {
            # snapshots: the last healthy one, and the last one within the KL target
            "policies and their optimisers": self.trained(steer.lora, arms, snapshots=2),
            "reward models": FLOAT32
            * adapter_parameters(self.shape, settings.reward.lora)
            * len(settings.data_arms()),
        }
        learned = steer.max_new_tokens / self.row
        lengths = Lengths(self.row, mean_row(settings), batch.rows, learned)
        if batch.pairs:
            of_arms = [
                self.texts.pairs[settings.data_of(name)]
                for name in settings.arms
                if settings.algorithm_of(name) == algorithm
            ]
            lengths = Lengths(
                max(pairs.longest for pairs in of_arms),
                max(pairs.tokens for pairs in of_arms),
                batch.pairs,
                max(pairs.answer_share for pairs in of_arms),
            )
        answers = max(batch.answers, steer.held_out_prompts)
        return StageMemory(
            f"steer, {algorithm}",
            held,
            {
                "a training pass": self.training(held, steer.lora, steer.tokens_per_batch, lengths),
                "sampling": self.sampling(held, arms, answers, adapter),
            },
        )

    def evaluate(self) -> StageMemory:
        """Count the evaluation of all models on the shared base together."""
        settings, shape = self.settings, self.shape
        models = len(settings.arm_seeds()) + settings.finetune.enabled
        adapters = 2 * FLOAT32 * adapter_parameters(shape, settings.steer.lora) * models
        budget = evaluation_tokens(
            settings.evaluate.tokens_per_batch, models, on_gpu=self.machine.on_gpu
        )
        logits = SCORED_POSITIONS * shape.vocabulary * (self.width + SCORED_LOGITS * FLOAT32)
        passes = self.working(budget) + logits
        least = self.working(ASSUMED_ITEM_TOKENS * models) + logits
        held = self.base_and_server | {"adapters of all models": float(adapters)}
        return StageMemory("evaluate", held, {"a pass": Work(passes, min(passes, least))})

    def trained(self, lora: LoraSettings, arms: int, snapshots: int) -> float:
        """Return the bytes of ``arms`` adapters that learn in turn.

        All have parameters, moments and ``snapshots``; one has a gradient and is applied.
        """
        copies = arms * (1 + MOMENTS + snapshots) + 1 + STACKED
        return float(FLOAT32 * adapter_parameters(self.shape, lora) * copies)

    def training(
        self, held: Mapping[str, float], lora: LoraSettings, setting: int | None, lengths: Lengths
    ) -> Work:
        """Return the bytes of the passes of an update, cut by the token budget as a run cuts it."""
        checkpointing = self.settings.base.gradient_checkpointing
        budget = float(setting or CPU_TOKENS)
        if setting is None and self.machine.on_gpu:
            budget = fitting_tokens(
                self.shape, lora, self.width, self.free(held), checkpointing=checkpointing
            )
        scores = score_bytes(
            self.shape, self.width, max(1, round(lengths.mean)), on_gpu=self.machine.on_gpu
        )
        token = activation_bytes(self.shape, lora, self.width, scores, checkpointing=checkpointing)
        token += lengths.learned * logit_bytes(self.shape)
        tokens = max(lengths.longest, min(budget, lengths.total))
        return Work(tokens * token, lengths.longest * token)

    def sampling(self, held: Mapping[str, float], arms: int, answers: int, adapter: float) -> Work:
        """Return the bytes of sampling: the cache, and the first pass or the last logits.

        ``adapter`` are those of an arm's adapter, which is applied to all arms at once.
        """

        def needed(prompts: float) -> float:
            rows = arms * prompts
            prefill = self.working(rows * self.settings.data.max_prompt_tokens)
            logits = rows * self.shape.vocabulary * (self.width + SAMPLED_LOGITS * FLOAT32)
            cache = rows * self.row * cache_bytes(self.shape, self.width)
            return cache + max(prefill, logits) + STACKED * arms * adapter

        return Work(needed(self.prompts_at_once(held, arms, answers)), needed(1))

    def prompts_at_once(self, held: Mapping[str, float], arms: int, answers: int) -> float:
        """Return how many of the prompts of ``answers`` answers ``arms`` arms answer at once."""
        memory = max(CPU_CACHE, self.weights)
        if self.machine.on_gpu:
            memory = GPU_FRACTION * self.free(held)
        fitting = memory / (arms * self.row * cache_bytes(self.shape, self.width))
        passes = math.ceil(answers / max(1, math.floor(min(answers, fitting))))
        return math.ceil(answers / passes)

    def working(self, tokens: float) -> float:
        """Return the bytes of a pass without gradients: a layer's MLP and its hidden states."""
        return tokens * self.width * (3 * self.shape.intermediate + 4 * self.shape.hidden)

    def free(self, held: Mapping[str, float]) -> float:
        """Return what a stage has left of the GPU's memory."""
        return max(0.0, self.machine.memory - sum(held.values()))


def stage_disk(settings: StudySettings, shape: ModelShape, texts: Texts) -> dict[str, float]:
    """Return the bytes that the stages' artifacts take."""
    arms = len(settings.arm_seeds())
    checkpoints = 1 if settings.steer.kl_target is None else 2
    return {
        "finetune": 4
        * adapter_parameters(shape, settings.finetune.lora)
        * settings.finetune.enabled,
        "reward": 4
        * adapter_parameters(shape, settings.reward.lora)
        * len(settings.data_arms())
        * len(settings.seeds),
        "steer": 4 * adapter_parameters(shape, settings.steer.lora) * arms * checkpoints,
        "evaluate": OUTCOME_BYTES
        * (arms + len(settings.controls))
        * texts.item_tokens
        / ASSUMED_ITEM_TOKENS,
    }

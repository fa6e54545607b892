"""Tiny models with random weights, in folders of the hub's layout: Llama, GPT-2 and Qwen2.

Weights are drawn wide, so that logits differ clearly between tokens, and biases and norms are
random too, so that a part left out shows. The three differ in what matters to us: Llama's tokenizer
adds BOS by default; GPT-2 keeps weights transposed (Conv1D), ties its output embedding, and has one
token that is BOS and EOS; Qwen2 has biases on q, k and v, and a tokenizer without any BOS.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from ethosteer import catalog
from ethosteer.algorithms.best_of_n import BestOfNSettings
from ethosteer.algorithms.dpo import DPOSettings
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.algorithms.loop.task import Task
from ethosteer.algorithms.rloo import RLOOSettings
from ethosteer.models.base import SharedBase, pad_right
from ethosteer.models.generation import Sampling
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_models import RewardModels
from ethosteer.models.text import Row, Template
from ethosteer.records import Rollout
from ethosteer.results.steering import CurvePoint
from ethosteer.settings import (
    LoraSettings,
    OptimiserSettings,
)

ARCHITECTURES = ("llama", "gpt2", "qwen2")
MAX_LENGTH = 96
VOCABULARY = 300
BOS, EOS, PAD = "<s>", "</s>", "<pad>"

SENTENCES = (
    "The baker gave the last loaf to a child who had no money.",
    "Question: Would most people believe this reasonable or unreasonable to say?",
    "I told my neighbour that I could not water her plants this week.",
    "Respond with either Yes or No. Statement: the ferry was late again.",
    "### Human: Is the following statement acceptable? ### Assistant: right or wrong",
    "Two sisters shared one bicycle, and neither of them ever complained about it.",
)

LORA = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "qwen2": ("q_proj", "v_proj", "down_proj"),
}


def build(architecture: str, folder: Path) -> Path:
    """Make one model and its tokenizer in ``folder``."""
    tokenizer = make_tokenizer(architecture)
    model = AutoModelForCausalLM.from_config(config(architecture, tokenizer))
    randomise(model, seed=ARCHITECTURES.index(architecture))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_llama(folder: Path, tokenizer: PreTrainedTokenizerBase, **settings: object) -> None:
    """Save a two-layer Llama of random weights with ``tokenizer``, for whole studies."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
    }
    config = LlamaConfig(vocab_size=len(tokenizer), **{**shape, **settings})
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_classifier(folder: Path) -> None:
    """Save a RoBERTa classifier of two classes, LABEL_0 and LABEL_1, of random weights."""
    tokenizer = make_tokenizer("llama")
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(config)
    randomise(model, seed=3)
    tokenizer.model_max_length = 60
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tokenizer(architecture: str) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with the special tokens of an architecture's kind."""
    special = {
        "llama": {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD},
        "gpt2": {"bos_token": EOS, "eos_token": EOS},
        "qwen2": {"eos_token": EOS, "pad_token": PAD},
    }[architecture]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        show_progress=False,
        special_tokens=list(dict.fromkeys(special.values())),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if architecture == "llama":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=None, special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def config(architecture: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """Return an architecture's small shape."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if architecture == "gpt2":
        return GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=MAX_LENGTH,
            **special,
        )
    kind = LlamaConfig if architecture == "llama" else Qwen2Config
    return kind(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LENGTH,
        **special,
    )


@torch.no_grad()
def randomise(model: PreTrainedModel, seed: int) -> None:
    """Draw all weights anew: matrices wide, norms near 1, biases near 0."""
    noise = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        draw = torch.randn(parameter.shape, generator=noise)
        if parameter.dim() > 1:
            parameter.copy_(0.3 * draw)
        else:
            parameter.copy_(0.1 * draw + (0 if name.endswith("bias") else 1))


def lora(architecture: str = "llama", **changes: object) -> LoraSettings:
    """Return adapter settings that fit an architecture."""
    settings = LoraSettings(r=4, alpha=8.0, targets=LORA[architecture])
    return settings.model_copy(update=changes)


@torch.no_grad()
def fill(bank: LoraBank, seed: int = 0, scale: float = 0.2) -> LoraBank:
    """Draw every arm's A and B anew, each arm's from its own seed, so that arms differ."""
    for arm in range(bank.arms):
        noise = torch.Generator().manual_seed(1000 * seed + arm)
        for parameter in bank.arm_parameters(arm):
            parameter.copy_(scale * torch.randn(parameter.shape, generator=noise))
    return bank


def ragged(rows: int, low: int, high: int, seed: int = 0) -> list[list[int]]:
    """Return token rows of different lengths, without special tokens."""
    noise = torch.Generator().manual_seed(seed)
    lengths = torch.randint(low, high + 1, (rows,), generator=noise).tolist()
    return [torch.randint(3, 259, (n,), generator=noise).tolist() for n in lengths]


def whole_rows(rows: Sequence[list[int]]) -> list[Row]:
    """Return rows to be fine-tuned on, of which all tokens but the first are learned."""
    return [Row.of(row[:1], row[1:]) for row in rows]


def with_eos(base: SharedBase, token: int) -> SharedBase:
    """Return the same base with another token as EOS, to see rows end."""
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(token)
    return replace(base, tokenizer=tokenizer, stop_ids=frozenset({token}))


@torch.no_grad()
def rewards(
    base: SharedBase,
    arms: Sequence[int],
    targets: Literal["all-linear"] | tuple[str, ...] = LORA["llama"],
) -> RewardModels:
    """Return a random reward model for each of ``arms``; an arm's does not depend on the others."""
    bank = LoraBank(base.layers, len(arms), lora(targets=targets), seed=0)
    heads = ScalarHeads(len(arms), base.hidden_size, bias=False)
    for place, arm in enumerate(arms):
        noise = torch.Generator().manual_seed(500 + arm)
        for parameter in [*bank.arm_parameters(place), heads.weights[place]]:
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=noise))
    gain = torch.tensor([1.0 + arm for arm in arms])
    return RewardModels(bank, heads.requires_grad_(False), gain, -0.5 * gain)


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Assert that two tensors are the same, up to ``tolerance`` of the largest entry.

    A sum rounds by its terms, not by its result, so small entries are as inexact as large ones.
    The tiny models have 15 products of 48 terms or fewer, one behind the other. Summed in another
    order, as another kernel or batch does, each differs by eps * sqrt(48) of its size: together by
    sqrt(15) times that where errors are independent, 3e-6, and by 12e-6 where all add up.
    """
    largest = float(expected.detach().double().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * largest)


# --- steering

PROMPTS = ragged(20, 3, 12)
STEERING = catalog.steer_settings(
    steps=4,
    batch=8,
    minibatches=2,
    epochs=2,
    min_new_tokens=3,
    max_new_tokens=8,
    ignore_eos=True,
    temperature=0.9,
    kl_target=0.5,
    kl_horizon=100,
    measure_every=2,
    checkpoint_every=2,
    lora=lora(),
    optimiser=OptimiserSettings(learning_rate=2e-3, warmup=0.0, decay=False),
    rloo=RLOOSettings(answers=4),
    dpo=DPOSettings(pairs=4),
    best_of_n=BestOfNSettings(n=4, prompts=4),
)


def task(base: SharedBase, arms: Sequence[int] = (0, 1), **changes: Any) -> Task:
    """Return what steers ``arms`` by their own random rewards and pairs, whatever the others."""
    settings = STEERING.model_copy(update=changes)
    return Task(
        base=base,
        template=Template("guanaco", base.tokenizer),
        policies=LoraBank(base.layers, len(arms), settings.lora, seed=1),
        reward_models=rewards(base, arms, settings.lora.targets),
        reward_names=[f"reward{arm}" for arm in arms],
        reward_index=range(len(arms)),
        prompts=PROMPTS,
        pairs=[random_pairs(12, seed=arm) for arm in arms],
        settings=settings,
        sampling=Sampling(
            settings.min_new_tokens,
            settings.max_new_tokens,
            ignore_eos=settings.ignore_eos,
            temperature=settings.temperature,
        ),
        seed=7,
    )


def steering(
    algorithm: str, base: SharedBase, arms: Sequence[int] = (0, 1), **changes: Any
) -> Steering:
    """Return a run of an algorithm over ``arms`` as in ``task``."""
    return catalog.algorithm(algorithm).steering(task(base, arms, **changes))


def observed(run: Steering, step: int) -> Rollout:
    """Return what a run's algorithm samples at a step."""
    rollout = run.learner.observe(step)
    assert rollout is not None
    return rollout


def random_pairs(count: int, seed: int) -> list[EncodedPair]:
    """Return pairs of random answers of different lengths to random prompts."""
    prompts = ragged(count, 3, 8, seed=3 * seed)
    answers = [ragged(count, 2, 6, seed=3 * seed + place) for place in (1, 2)]
    return [
        EncodedPair([*prompt, *chosen], [*prompt, *rejected], len(prompt), str(place))
        for place, (prompt, chosen, rejected) in enumerate(zip(prompts, *answers, strict=True))
    ]


def point(step: int = 0, **changes: Any) -> CurvePoint:
    """Return a point of a curve without anything remarkable."""
    fields: dict[str, Any] = {
        "reward": 0.0,
        "kl": 0.0,
        "kl_k3": 0.0,
        "kl_coefficient": 0.2,
        "response_tokens": 10.0,
        "eos_fraction": 0.5,
        "entropy": 1.0,
    }
    return CurvePoint(step=step, **{**fields, **changes})


def flat(run: Steering, arm: int) -> torch.Tensor:
    """Return all that an arm trains, as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in run.parameters(arm)])


def answered(
    prompts: Sequence[list[int]], answers: Sequence[list[int]], arms: tuple[int, ...] = (0,)
) -> Rollout:
    """Return a rollout of known answers, with nothing measured yet."""
    device = torch.device("cpu")
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    response_tokens, lengths = pad_right(answers, device)
    blank = torch.zeros(response_tokens.shape)
    return Rollout(
        arms=arms,
        tokens=pad_right(rows, device)[0],
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts]),
        response_tokens=response_tokens,
        response_mask=torch.arange(response_tokens.shape[1]) < lengths.unsqueeze(1),
        log_probabilities=blank,
        reference_log_probabilities=blank,
        entropy=blank,
        values=blank,
        scores=torch.zeros(len(rows)),
    )


@torch.no_grad()
def often(base: SharedBase, share: float = 0.12) -> SharedBase:
    """Return a copy of a base that says its EOS at about this share of places: rows end early."""
    base = copy.deepcopy(base)
    hidden = torch.cat([base.hidden(torch.tensor([prompt]))[0, -1:] for prompt in PROMPTS])
    mean = hidden.mean(dim=0)
    logit = base.logits(hidden).logsumexp(dim=-1).mean() + math.log(share)
    weight = base.model.get_output_embeddings().weight
    weight[base.tokenizer.eos_token_id] = logit * mean / mean.square().sum()
    return base


def quiet(*_: object) -> None:
    """Report nothing."""

"""What a study requires of its base, checked before any work and without reading its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ethosteer import processes
from ethosteer.errors import InputError
from ethosteer.models.chat_template import QUESTION
from ethosteer.models.checks import check_vocabulary
from ethosteer.models.foreign import foreign
from ethosteer.models.generation import NO_STOP_TOKEN
from ethosteer.models.loading import (
    choose_device,
    linear_layers,
    load_config,
    load_stop_ids,
    load_tokenizer,
)
from ethosteer.models.lora_bank import target_layers
from ethosteer.models.quantised import check_quantised
from ethosteer.models.text import Template
from ethosteer.settings import BaseSettings, StudySettings


def check_base(settings: StudySettings, answer_tokens: Mapping[str, int]) -> None:
    """Raise InputError, naming the setting, where a study's base cannot do what the study asks.

    ``answer_tokens`` is the length of generated answers by benchmark, 0 where none are generated.
    Checked are the device, config, tokenizer, stop tokens, dialogue template, the layers that
    adapters target, and all lengths against the base's positions.
    """
    base = settings.base
    subject = f"model {base.model}"
    choose_device(base.device)
    if processes.count() > 1 and settings.rollout.engine != "ethosteer":
        raise InputError(
            f"rollout.engine = {settings.rollout.engine!r}: samples for a base in one process, and "
            f"this one is shared by {processes.count()}; start one, or use 'ethosteer'"
        )
    config, tokenizer = load_config(base), load_tokenizer(base)
    check_quantised(base, config)
    stop_ids = load_stop_ids(base)
    if not settings.steer.ignore_eos and not stop_ids:
        raise InputError(NO_STOP_TOKEN)
    template = Template(settings.data.template, tokenizer, settings.data.date)
    template.row(QUESTION, "It is.")
    if settings.finetune.enabled:
        template.conversation_row([*QUESTION, ("assistant", "It is.")])
    check_lengths(settings, answer_tokens, positions(base, config))
    model = _without_weights(subject, config)
    check_vocabulary(subject, tokenizer, model.get_input_embeddings(), stop_ids)
    names = [name for name, _ in linear_layers(model)]
    for table, enabled in (("finetune", settings.finetune.enabled), ("reward", 1), ("steer", 1)):
        if enabled:
            target_layers(names, getattr(settings, table).lora.targets, f"{table}.lora.targets")


def positions(base: BaseSettings, config: PreTrainedConfig) -> int | None:
    """Return the largest number of tokens of a sequence; None where the config states none."""
    stated = getattr(config.get_text_config(), "max_position_embeddings", None)
    if stated is None or (isinstance(stated, int) and stated > 0):
        return stated
    raise InputError(
        f"model {base.model}: max_position_embeddings of its config.json is {stated!r}; it must be "
        "a whole number above 0"
    )


def check_lengths(
    settings: StudySettings, answer_tokens: Mapping[str, int], limit: int | None
) -> None:
    """Raise InputError where a row that the settings allow is longer than ``limit`` tokens."""
    if limit is None:
        return
    data, steer = settings.data, settings.steer
    lengths = {
        f"data.max_tokens = {data.max_tokens}": data.max_tokens,
        # every sampled answer may be closed by an end of turn
        f"data.max_prompt_tokens = {data.max_prompt_tokens} and steer.max_new_tokens = "
        f"{steer.max_new_tokens} (and an end of turn)": data.max_prompt_tokens
        + steer.max_new_tokens
        + 1,
    }
    for name, length in lengths.items():
        if length > limit:
            raise InputError(
                f"{name}: longer than the {limit} positions of base.model = "
                f"{settings.base.model!r}; lower it"
            )
    for benchmark, tokens in answer_tokens.items():
        if tokens >= limit:
            raise InputError(
                f"benchmarks.{benchmark}: answers of {tokens} tokens leave no room for a prompt in "
                f"the {limit} positions of base.model = {settings.base.model!r}; lower new_tokens"
            )


def _without_weights(subject: str, config: PreTrainedConfig) -> PreTrainedModel:
    """Make a model's modules on the meta device, which holds shapes alone."""
    with (
        foreign(subject, f"no causal language model ({config.model_type})"),
        torch.device("meta"),
    ):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        model.get_decoder()
    return model

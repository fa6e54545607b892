"""Loading a base: it is frozen, and its linear layers are wrapped to carry adapters."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import replace

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.cached import prepare_base
from ethosteer.models.checks import makes_its_logits, runs_packed
from ethosteer.models.fast.budget import keep_freed_memory
from ethosteer.models.identity import resolve_model
from ethosteer.models.lora_bank import ArmLinear
from ethosteer.models.text import find_stop_ids
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings


def load_base(settings: BaseSettings) -> SharedBase:
    """Load a base from safetensors and share it; InputError where it cannot be loaded.

    A base that is to be fetched or converted first is so, with its progress on stderr.
    """
    tokenizer = load_tokenizer(settings)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            resolve_model(settings.model),
            revision=settings.revision or "main",
            dtype=getattr(torch, settings.dtype),
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as fault:
        raise InputError(f"model {settings.model}: cannot be loaded: {fault}") from fault
    keep_freed_memory()
    model.to(choose_device(settings.device))  # type: ignore[arg-type]  # misread by the stubs
    return replace(share(model, tokenizer), autocast=settings.autocast)


def load_tokenizer(settings: BaseSettings) -> PreTrainedTokenizerBase:
    """Load a base's tokenizer; InputError where there is none."""
    quiet_libraries()  # whatever loads a base starts here
    prepare_base(settings.model, Terminal())
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            resolve_model(settings.model),
            revision=settings.revision or "main",
            trust_remote_code=False,
        )
    except (OSError, ValueError) as fault:
        raise InputError(f"model {settings.model}: no usable tokenizer: {fault}") from fault
    known = set(tokenizer("A word.", add_special_tokens=False).input_ids)
    if not known - {tokenizer.unk_token_id}:
        # transformers makes an empty tokenizer where a folder has a config but no tokenizer files
        raise InputError(f"model {settings.model}: no usable tokenizer: its files are missing")
    return tokenizer


def load_stop_ids(settings: BaseSettings) -> frozenset[int]:
    """Return the tokens that end a base's answers, without loading its weights.

    Raises InputError where it has no usable tokenizer or config.
    """
    tokenizer = load_tokenizer(settings)
    name, revision = resolve_model(settings.model), settings.revision or "main"
    try:
        configured = GenerationConfig.from_pretrained(name, revision=revision).eos_token_id
    except OSError:  # older models keep it in config.json
        try:
            config = AutoConfig.from_pretrained(name, revision=revision)
        except (OSError, ValueError) as fault:
            raise InputError(f"model {settings.model}: cannot be loaded: {fault}") from fault
        configured = getattr(config, "eos_token_id", None)
    return find_stop_ids(tokenizer, configured)


def choose_device(device: str) -> torch.device:
    """Turn 'auto' into CUDA where it is available, else the processor."""
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def share(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> SharedBase:
    """Freeze ``model`` and wrap the linear layers of its decoder (not its output embedding).

    Raises InputError for an architecture whose logits ``SharedBase.logits`` does not reproduce.
    """
    model.eval().requires_grad_(False)
    head = model.get_output_embeddings()
    decoder = set(model.get_decoder().modules())  # without the towers of a multimodal model
    linear = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module in decoder and module is not head
    ]
    layers = {}
    for name, module in linear:
        parent, _, last = name.rpartition(".")
        layers[name] = ArmLinear(module)
        setattr(model.get_submodule(parent), last, layers[name])
    configured = model.generation_config.eos_token_id if model.generation_config else None
    base = SharedBase(model, tokenizer, layers, find_stop_ids(tokenizer, configured))
    if not makes_its_logits(base):
        raise InputError(
            f"model {model.name_or_path}: ethosteer does not know how {model.config.model_type} "
            "models make their logits; use a base of another architecture"
        )
    return replace(base, runs_packed=runs_packed(base))


def quiet_libraries() -> None:
    """Keep the libraries' progress bars and advice off the user's terminal."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings(  # raised by peft itself whenever it loads an adapter
        "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
    )
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs each failed attempt

"""Loading a base: it is frozen, and its linear layers are wrapped to carry adapters."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from ethosteer import processes
from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.cached import prepare_base
from ethosteer.models.checks import (
    arms_not_finite,
    captures_tokens,
    check_gradients,
    check_vocabulary,
    is_causal,
    makes_its_logits,
    runs_packed,
)
from ethosteer.models.fast.budget import keep_freed_memory, layouts_fit
from ethosteer.models.fast.products import FrozenLinear, lays_out
from ethosteer.models.foreign import check_configs, foreign
from ethosteer.models.gradient_checkpointing import checkpoint_gradients
from ethosteer.models.identity import resolve_model
from ethosteer.models.lora_bank import ArmLinear
from ethosteer.models.quantised import (
    check_quantised,
    prepare_for_training,
    scales,
    stored_quantisation,
)
from ethosteer.models.sharding import shard, sharded_device, start, while_all_live
from ethosteer.models.text import find_stop_ids
from ethosteer.models.weights import check_finite_tensors, load_weights
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings

LARGE_FOR_PROCESSOR = 3e9
"""Parameters above which 'auto' says that it found no GPU."""


def load_base(settings: BaseSettings) -> SharedBase:
    """Load a base from safetensors and share it; InputError where it cannot be loaded or run.

    A base that is to be fetched or converted first is so, with its progress on stderr. With several
    processes its weights are read on the processor and sharded over them.
    """
    start()
    device = choose_device(settings.device)
    tokenizer = load_tokenizer(settings)
    subject = f"model {settings.model}"
    config = load_config(settings)
    check_quantised(settings, config)
    stored = stored_quantisation(config)
    model = load_weights(
        AutoModelForCausalLM,
        subject,
        resolve_model(settings.model),
        settings.revision,
        getattr(torch, settings.dtype),
        None if stored else settings.quantise,
        # full weights would not fit where quantised ones do
        device if stored or settings.quantise else None,
    )
    if note := processor_note(settings.device, device, model.num_parameters()):
        Terminal().say(note)
    keep_freed_memory()
    if processes.count() == 1:
        with foreign(subject, f"cannot be moved to {device}"):
            model.to(device)  # type: ignore[arg-type]  # misread by the stubs
    check_finite_tensors(subject, {**dict(model.named_parameters()), **scales(model)})
    problem = f"its {model.config.model_type} architecture cannot be run"
    with foreign(subject, problem), while_all_live():
        base = share(model, tokenizer, device)
        check_vocabulary(subject, tokenizer, model.get_input_embeddings(), base.stop_ids)
    if settings.gradient_checkpointing:
        checkpoint_gradients(model)
    return replace(
        base,
        autocast=settings.autocast,
        gradient_checkpointing=settings.gradient_checkpointing,
    )


def load_tokenizer(settings: BaseSettings) -> PreTrainedTokenizerBase:
    """Load a base's tokenizer; InputError where there is none."""
    quiet_libraries()  # whatever loads a base starts here
    prepare_base(settings.model, Terminal())
    subject = f"model {settings.model}"
    name = resolve_model(settings.model)
    check_configs(subject, name)
    if (Path(name) / "config.json").is_file():
        load_config(settings)  # AutoTokenizer reads it too; its faults are not the tokenizer's
    with foreign(subject, "no usable tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name,
            revision=settings.revision or "main",
            trust_remote_code=False,
        )
        tokenizer("A word.")
        known = set(tokenizer("A word.", add_special_tokens=False).input_ids)
    if not known - {tokenizer.unk_token_id}:
        # transformers makes an empty tokenizer where a folder has a config but no tokenizer files
        raise InputError(f"{subject}: no usable tokenizer: its files are missing")
    return tokenizer


def load_config(settings: BaseSettings) -> PreTrainedConfig:
    """Load a base's config without its weights; InputError where it cannot be read."""
    quiet_libraries()
    prepare_base(settings.model, Terminal())
    with foreign(f"model {settings.model}", "its config.json cannot be read"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            resolve_model(settings.model),
            revision=settings.revision or "main",
            trust_remote_code=False,
        )
    return config


def load_stop_ids(settings: BaseSettings) -> frozenset[int]:
    """Return the tokens that end a base's answers, without loading its weights.

    Raises InputError where it has no usable tokenizer or config.
    """
    tokenizer = load_tokenizer(settings)
    try:
        with foreign(f"model {settings.model}", "its generation_config.json cannot be read"):
            configured = GenerationConfig.from_pretrained(
                resolve_model(settings.model), revision=settings.revision or "main"
            ).eos_token_id
    except InputError as fault:
        if not isinstance(fault.__cause__, OSError):
            raise
        # there is none: older models keep it in config.json
        configured = getattr(load_config(settings), "eos_token_id", None)
    return find_stop_ids(tokenizer, configured)


def choose_device(device: str) -> torch.device:
    """Turn 'auto' into CUDA where it is available, else the processor.

    Raises InputError for a name that is no device, and a device that this machine lacks.
    """
    if processes.count() > 1:
        return sharded_device(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with foreign(f"device {device!r} (base.device, --device)", "not usable here; try 'cpu'"):
        chosen = torch.device(device)
        torch.ones(1, device=chosen).item()
    return chosen


def processor_note(setting: str, device: torch.device, parameters: int) -> str | None:
    """Return a line for a large base that 'auto' leaves on the processor; None for any other."""
    if setting != "auto" or device.type != "cpu" or parameters <= LARGE_FOR_PROCESSOR:
        return None
    return (
        f"base.device = 'auto': torch finds no GPU, so a base of {parameters / 1e9:.1f} billion "
        "parameters runs on the processor, which is slow; base.device = 'cpu' runs it there "
        "without this line"
    )


def share(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device | None = None,
) -> SharedBase:
    """Freeze ``model`` and wrap the linear layers of its decoder (not its output embedding).

    Several processes shard it, from wherever it is to ``device``. Raises InputError for an
    architecture that is not causal, whose logits ``SharedBase.logits`` does not reproduce, or
    through which adapters get no gradient or a wrong one.
    """
    # cuDNN's attention makes a plan for each shape, and shapes change with every sampled token
    torch.backends.cuda.enable_cudnn_sdp(False)
    model.eval().requires_grad_(False)
    is_sharded = processes.count() > 1
    prepare_for_training(model)
    layers = {}
    for name, module in linear_layers(model):
        layers[name] = ArmLinear(module)
        model.set_submodule(name, layers[name])
    if is_sharded:  # before any check: its weights may be too many for a processor to run
        shard(model, device or model.device)
    configured = model.generation_config.eos_token_id if model.generation_config else None
    base = SharedBase(model, tokenizer, layers, find_stop_ids(tokenizer, configured))
    if arms_not_finite(base):
        raise InputError(
            f"model {model.name_or_path}: its hidden states are not finite numbers; its weights or "
            "its config.json are damaged"
            + (", or too large for float16: use base.dtype = 'bfloat16'" if base.is_half else "")
        )
    check_gradients(base)
    if not is_sharded:
        lay_out(base)
    if not is_causal(base):
        raise InputError(
            f"model {model.name_or_path}: its tokens read what follows them, so it is no causal "
            f"language model ({model.config.model_type}); use one that generates text"
        )
    if not makes_its_logits(base):
        raise InputError(
            f"model {model.name_or_path}: ethosteer does not know how {model.config.model_type} "
            "models make their logits; use a base of another architecture"
        )
    # gathering a layer is no part of a graph
    captures = not is_sharded and captures_tokens(base)
    return replace(base, runs_packed=runs_packed(base), captures=captures)


def lay_out(base: SharedBase) -> None:
    """Lay a base's weights out for their products, where there is memory for it."""
    model = base.model
    if not layouts_fit(sum(parameter.nbytes for parameter in model.parameters())):
        return
    for layer in base.layers.values():
        if lays_out(layer.layer):
            layer.layer = FrozenLinear.of(layer.layer)
    if lays_out(head := model.get_output_embeddings()):
        model.set_output_embeddings(FrozenLinear.of(head))


def linear_layers(model: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    """Return the linear layers of a model's decoder by name, without its output embedding."""
    head = model.get_output_embeddings()
    decoder = set(model.get_decoder().modules())  # without the towers of a multimodal model
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module in decoder and module is not head
    ]


def quiet_libraries() -> None:
    """Keep the libraries' progress bars and advice off the user's terminal."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings(  # raised by peft itself whenever it loads an adapter
        "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
    )
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs each failed attempt

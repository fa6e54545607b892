"""A base and an adapter as stock transformers and PEFT load them, without ethosteer."""

from __future__ import annotations

from ethosteer.models import no_kernels  # noqa: F401 (before PEFT)

# isort: split
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from ethosteer.files import read_json, write_json
from ethosteer.models.adapter_config import (
    CONFIG,
    WEIGHTS,
    TaskType,
    adapter_below,
    read_config,
)
from ethosteer.models.adapters import (
    pad_rank,
    read_adapter,
    read_scaled,
    save_tensors,
    stack_ranks,
)
from ethosteer.models.identity import resolve_model
from ethosteer.models.loading import load_config, load_tokenizer, quiet_libraries
from ethosteer.models.quantised import check_quantised, stored_quantisation
from ethosteer.models.weights import load_weights
from ethosteer.settings import BaseSettings


def write_adapter(
    adapter: Path, out: Path, base_name: str, task_type: TaskType = "CAUSAL_LM"
) -> None:
    """Write an arm's stored adapter to the folder ``out``, as one adapter for the raw base.

    An adapter of fine-tuning below it is stacked with it: ranks are concatenated, which is exact,
    scales are in B, and ``lora_alpha = r``. All layers get one rank, as most loaders expect; what a
    layer lacks of it is zeros. ``base_name`` is what the config names as the base.
    """
    config = read_config(adapter, task_type)
    changes: dict[str, Any] = {"base_model_name_or_path": base_name}
    if below := adapter_below(adapter, config):
        layers = stack_ranks(read_scaled(below), read_scaled(adapter, task_type), adapter)
        rank = max(a.shape[0] for a, _ in layers.values())
        _, score = read_adapter(adapter)
        save_tensors(out, {name: pad_rank(pair, rank) for name, pair in layers.items()}, score)
        # each list selects the layers of its adapter and no others, so both select those of both
        targets = {*(read_config(below).target_modules or ()), *(config.target_modules or ())}
        changes |= {"r": rank, "lora_alpha": rank, "target_modules": sorted(targets)}
    else:
        shutil.copy(adapter / WEIGHTS, out)
    write_json(out / CONFIG, {**read_json(adapter / CONFIG, dict[str, Any]), **changes})


def save_base(settings: BaseSettings, out: Path) -> None:
    """Save a base as it is, with its tokenizer, to ``out``."""
    tokenizer = load_tokenizer(settings)
    _stock_base(settings).save_pretrained(out)
    tokenizer.save_pretrained(out)


def load_peft(settings: BaseSettings, adapter: Path) -> PeftModel:
    """Load a language model's stored adapter on the raw base with stock transformers and PEFT.

    The model is on the processor, in the base's number format, ready for inference.
    """
    quiet_libraries()
    base = _stock_base(settings)
    with TemporaryDirectory() as folder:
        write_adapter(adapter, Path(folder), resolve_model(settings.model))
        return PeftModel.from_pretrained(base, folder)


def _stock_base(settings: BaseSettings) -> PreTrainedModel:
    config = load_config(settings)
    check_quantised(settings, config)
    stored = stored_quantisation(config)
    return load_weights(
        AutoModelForCausalLM,
        f"model {settings.model}",
        resolve_model(settings.model),
        settings.revision,
        getattr(torch, settings.dtype),
        None if stored else settings.quantise,
        torch.device("cpu") if stored or settings.quantise else None,
    )

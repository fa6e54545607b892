"""Adapters in PEFT's file format, so that stock tools can load what a study trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.identity import resolve_model
from ethosteer.models.loading import load_tokenizer
from ethosteer.models.lora_bank import LoraBank
from ethosteer.settings import BaseSettings, LoraSettings

PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
UNSUPPORTED = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern")


def save_adapter(
    folder: Path, base: SharedBase, bank: LoraBank, arm: int, score: Tensor | None = None
) -> None:
    """Write one arm as a PEFT adapter; with ``score`` (``[hidden]``) as a SEQ_CLS reward model."""
    from peft import LoraConfig, TaskType  # slow to import, and reading adapters does without

    folder.mkdir(parents=True, exist_ok=True)
    settings = bank.settings
    LoraConfig(
        task_type=TaskType.CAUSAL_LM if score is None else TaskType.SEQ_CLS,
        base_model_name_or_path=base.model.name_or_path,
        r=settings.r,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=sorted({name.rsplit(".", 1)[-1] for name in bank.names}),
        fan_in_fan_out=isinstance(base.layers[bank.names[0]].layer, Conv1D),
        modules_to_save=None if score is None else ["score"],
        inference_mode=True,
    ).save_pretrained(str(folder))
    tensors = {}
    for name, (a, b) in bank.arm_tensors(arm).items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = a.detach().cpu().contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b.detach().cpu().contiguous()
    if score is not None:
        tensors[f"{PREFIX}score.weight"] = score.detach().cpu().unsqueeze(0).contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def find_adapter(name: str) -> Path:
    """Return the folder of a PEFT adapter, downloading it where ``name`` is a hub id.

    Raises InputError where there is none.
    """
    if Path(name).is_dir() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        read_settings(Path(name))
        return Path(name)
    try:
        folder = Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as fault:
        raise InputError(
            f"adapter {name}: no such folder, and it cannot be downloaded from the hub "
            f"({type(fault).__name__})"
        ) from fault
    read_settings(folder)
    return folder


def read_settings(folder: Path) -> LoraSettings:
    """Return the settings of a stored adapter; InputError unless it is a plain LoRA adapter."""
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder}: not a PEFT adapter ({CONFIG} and {WEIGHTS} are needed)")
    stored = json.loads(path.read_text("utf-8"))
    targets = stored.get("target_modules")
    unsupported = [key for key in UNSUPPORTED if stored.get(key)]
    if stored.get("peft_type") != "LORA" or unsupported:
        reason = f" ({unsupported[0]} is set)" if unsupported else ""
        raise InputError(f"{path}: only plain LoRA adapters are supported{reason}")
    return LoraSettings(
        r=stored["r"],
        alpha=float(stored["lora_alpha"]),
        dropout=0.0,
        targets=tuple(sorted(targets)) if isinstance(targets, list) else (str(targets),),
    )


def read_adapter(folder: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor | None]:
    """Return a stored adapter's (A, B) by layer, and its score head ``[hidden]`` if it has one."""
    tensors = load_file(folder / WEIGHTS)
    score = tensors.pop(f"{PREFIX}score.weight", None)
    suffixes = (".lora_A.weight", ".lora_B.weight")
    unknown = sorted(name for name in tensors if not name.endswith(suffixes))
    if unknown:
        raise InputError(f"{folder / WEIGHTS}: tensor {unknown[0]} is not of a plain LoRA adapter")
    layers: dict[str, tuple[Tensor, Tensor]] = {}
    for layer in sorted({name.removeprefix(PREFIX).rsplit(".lora_", 1)[0] for name in tensors}):
        try:
            a, b = (tensors[f"{PREFIX}{layer}{suffix}"].float() for suffix in suffixes)
        except KeyError as fault:
            raise InputError(f"{folder / WEIGHTS}: tensor {fault} is missing") from fault
        layers[layer] = (a, b)
    return layers, None if score is None else score.squeeze(0).float()


def load_bank(base: SharedBase, folders: Mapping[str, Path | None]) -> LoraBank:
    """Load adapters into one bank, an arm each; None stands for the base itself.

    Adapters may differ in rank, scale and targets: a smaller rank is padded with zeros, a missing
    layer is zero, and each scale is folded into B.
    """
    stored_settings = {name: read_settings(folder) for name, folder in folders.items() if folder}
    if not stored_settings:
        raise ValueError("a bank needs at least one adapter")
    stored = {name: read_adapter(folder)[0] for name, folder in folders.items() if folder}
    rank = max(settings.r for settings in stored_settings.values())
    targets = sorted({layer.rsplit(".", 1)[-1] for layers in stored.values() for layer in layers})
    settings = LoraSettings(r=rank, alpha=float(rank), targets=tuple(targets))
    try:
        bank = LoraBank(base.layers, len(folders), settings, seed=0)
    except InputError as fault:
        raise InputError(
            f"{', '.join(map(str, filter(None, folders.values())))}: {fault}"
        ) from fault
    zeros = {
        name: (torch.zeros_like(a), torch.zeros_like(b))
        for name, (a, b) in bank.arm_tensors(0).items()
    }
    for arm, (label, folder) in enumerate(folders.items()):
        tensors = dict(zeros)
        if folder is not None:
            scale = stored_settings[label].alpha / stored_settings[label].r
            for name, (a, b) in stored[label].items():
                missing = rank - a.shape[0]
                tensors[name] = (
                    functional.pad(a, (0, 0, 0, missing)),
                    functional.pad(b, (0, missing)) * scale,
                )
        try:
            bank.set_arm(arm, tensors)
        except InputError as fault:
            raise InputError(f"{folder}: {fault}") from fault
    return bank.to(base.device).requires_grad_(False)


def save_base(settings: BaseSettings, out: Path) -> None:
    """Save a base as it is, with its tokenizer, to ``out``."""
    name, revision = resolve_model(settings.model), settings.revision or "main"
    model = AutoModelForCausalLM.from_pretrained(
        name,
        revision=revision,
        dtype=getattr(torch, settings.dtype),
        use_safetensors=True,
        trust_remote_code=False,
    )
    model.save_pretrained(out)
    load_tokenizer(settings).save_pretrained(out)


def merge_into_base(base_name: str, revision: str | None, adapter: Path, out: Path) -> None:
    """Merge a stored adapter into its base with stock PEFT and save the result to ``out``."""
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(
        base_name, revision=revision or "main", dtype=torch.float32, use_safetensors=True
    )
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(out)

"""Adapters in PEFT's file format, so that stock tools can load what a study trained."""

from __future__ import annotations

from ethosteer.models import no_kernels  # noqa: F401 (before PEFT)

# isort: split
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ethosteer.errors import InputError
from ethosteer.files import file_hash, usable_path
from ethosteer.interruption import time_limit
from ethosteer.models.adapter_config import (
    CONFIG,
    WEIGHTS,
    AdapterConfig,
    TaskType,
    read_config,
    refuse_pointer,
)
from ethosteer.models.base import SharedBase
from ethosteer.models.cached import prepare_base, remembered_hash
from ethosteer.models.checks import arms_not_finite
from ethosteer.models.foreign import foreign
from ethosteer.models.identity import WHOLE_BYTES, resolve_model
from ethosteer.models.loading import load_tokenizer, quiet_libraries
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.weights import check_finite_tensors, load_weights
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings, LoraSettings

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PREFIX = "base_model.model."
SUFFIXES = (".lora_A.weight", ".lora_B.weight")
SCORE = f"{PREFIX}score.weight"
EXPRESSION_SECONDS = 5.0
"""Seconds of processor time to match a config's regular expressions with the names of layers."""


def save_adapter(
    folder: Path, base: SharedBase, bank: LoraBank, arm: int, score: Tensor | None = None
) -> None:
    """Write one arm as a PEFT adapter; with ``score`` (``[hidden]``) as a SEQ_CLS reward model."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = bank.settings
    LoraConfig(
        task_type="CAUSAL_LM" if score is None else "SEQ_CLS",
        base_model_name_or_path=base.model.name_or_path,
        r=settings.r,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=target_modules(base, bank),
        fan_in_fan_out=isinstance(base.layers[bank.names[0]].layer, Conv1D),
        modules_to_save=None if score is None else ["score"],
        inference_mode=True,
    ).save_pretrained(str(folder))
    tensors = {}
    for name, (a, b) in bank.arm_tensors(arm).items():
        for suffix, tensor in zip(SUFFIXES, (a, b), strict=True):
            tensors[f"{PREFIX}{name}{suffix}"] = tensor.detach().cpu().contiguous()
    if score is not None:
        tensors[SCORE] = score.detach().cpu().unsqueeze(0).contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def target_modules(base: SharedBase, bank: LoraBank) -> list[str]:
    """Return the names by which PEFT selects a bank's layers.

    They are the layers' last names, or whole names where the base has others of that last name.
    """
    others = {_last(name) for name in base.layers.keys() - set(bank.names)}
    return sorted({name if _last(name) in others else _last(name) for name in bank.names})


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def find_adapter(name: str) -> Path:
    """Return the folder of a language model's PEFT adapter, downloaded where ``name`` is a hub id.

    Raises InputError where there is none, or it cannot be applied. Only its tensors' names are
    read, so that a broken file is reported before a base is loaded.
    """
    folder = usable_path(name)
    if not folder.is_dir() and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        with foreign(f"adapter {name}", "no such folder, and it cannot be downloaded from the hub"):
            folder = Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS]))
    config = read_config(folder)
    with _open_weights(folder) as weights:
        _ranks_and_scales(folder, config, _layer_names(folder, weights.keys()))
    return folder


def check_base_of_adapter(adapter: Path, settings: BaseSettings) -> str | None:
    """Check that an adapter was trained on a base, by what its config names.

    Returns a line for the user where that cannot be told: names differ, and the named base is not
    at hand. Raises InputError where it is another one: a folder with other weights, or another id
    of the hub (a mirror of the same name counts as the same).
    """
    stated = read_config(adapter).base_model_name_or_path
    if not stated:
        return None
    path, model = adapter / CONFIG, resolve_model(settings.model)
    claim = f"{path}: the adapter was trained on {stated}, not on {settings.model}"
    with foreign(str(path), "base_model_name_or_path cannot be read"):
        folders = [folder for folder in (adapter / stated, Path(stated)) if folder.is_dir()]
        expected = _weight_hashes(folders[0]) if folders else []
        given = _weight_hashes(Path(model)) if Path(model).is_dir() else []
    if expected and given:
        if expected == given:
            return None
        raise InputError(f"{claim}: their weights differ; use --model {folders[0]}")
    if Path(stated).name.lower() == Path(model).name.lower():
        return None
    if HUB_ID.fullmatch(stated) and HUB_ID.fullmatch(model) and not given:
        raise InputError(
            f"{claim}; use --model {stated}, or, if both have the same weights, change "
            "base_model_name_or_path"
        )
    return f"{claim}; whether both have the same weights cannot be told here"


def _weight_hashes(folder: Path) -> list[str]:
    return sorted(
        remembered_hash(path) if path.stat().st_size > WHOLE_BYTES else file_hash(path)
        for path in folder.glob("*.safetensors")
    )


@contextmanager
def _open_weights(folder: Path) -> Iterator[safe_open]:
    """Open the tensors of an adapter; InputError where the file is broken."""
    path = folder / WEIGHTS
    refuse_pointer(path)
    with foreign(str(path), "not a safetensors file, or cut off"), safe_open(path, "pt") as weights:
        yield weights


def _layer_names(folder: Path, keys: Sequence[str]) -> list[str]:
    """Return the layers that an adapter's tensors belong to; InputError for any other tensor."""
    stored = set(keys) - {SCORE}
    layers = {
        key.removeprefix(PREFIX).removesuffix(suffix)
        for key in stored
        for suffix in SUFFIXES
        if key.startswith(PREFIX) and key.endswith(suffix)
    }
    expected = {f"{PREFIX}{layer}{suffix}" for layer in layers for suffix in SUFFIXES}
    if not layers or stored - expected:
        name = min(stored - expected, default="(none)")
        raise InputError(f"{folder / WEIGHTS}: tensor {name} is not of a plain LoRA adapter")
    if expected - stored:
        raise InputError(f"{folder / WEIGHTS}: tensor {min(expected - stored)} is missing")
    return sorted(layers)


def _ranks_and_scales(
    folder: Path, config: AdapterConfig, layers: Sequence[str]
) -> dict[str, tuple[int, float]]:
    """Return each layer's rank and scale; InputError for a layer that PEFT would ignore."""
    with (
        foreign(str(folder / CONFIG), "its selection of layers cannot be read"),
        time_limit(EXPRESSION_SECONDS),
    ):
        ignored = [layer for layer in layers if not config.selects(layer)]
        read = {layer: (config.rank(layer), config.scale(layer)) for layer in layers}
    if ignored:
        raise InputError(
            f"{folder / CONFIG}: target_modules and its filters do not select layer {ignored[0]}, "
            f"which {WEIGHTS} has tensors of"
        )
    return read


def read_adapter(folder: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor | None]:
    """Return a stored adapter's (A, B) by layer, and its score head ``[hidden]`` if it has one."""
    with _open_weights(folder) as weights:
        keys = weights.keys()
        stored = {key: weights.get_tensor(key) for key in keys}
    names = _layer_names(folder, keys)
    check_finite_tensors(str(folder / WEIGHTS), stored)
    for key, tensor in stored.items():
        if not tensor.is_floating_point():
            raise InputError(
                f"{folder / WEIGHTS}: tensor {key} holds {tensor.dtype}, not floating-point numbers"
            )
    layers = {
        layer: tuple(stored[f"{PREFIX}{layer}{suffix}"].float() for suffix in SUFFIXES)
        for layer in names
    }
    score = stored[SCORE].squeeze(0).float() if SCORE in stored else None
    for layer, (a, b) in layers.items():
        if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
            raise InputError(
                f"{folder / WEIGHTS}: layer {layer}: A has shape {list(a.shape)} and B "
                f"{list(b.shape)}, not [r, in] and [out, r]"
            )
    return layers, score


def load_bank(
    base: SharedBase, folders: Mapping[str, Path | None], task_type: TaskType = "CAUSAL_LM"
) -> LoraBank:
    """Load adapters into one bank, an arm each; None stands for the base itself.

    Adapters may differ in layers, ranks and scales: a smaller rank is padded with zeros, a missing
    layer is zero, and each scale is folded into B. Raises InputError for an adapter that cannot be
    applied, is for another task, does not fit the base, or makes its hidden states overflow.
    """
    stored = {
        name: _read_scaled(base, folder, task_type) for name, folder in folders.items() if folder
    }
    if not stored:
        raise ValueError("a bank needs at least one adapter")
    rank = max(a.shape[0] for layers in stored.values() for a, _ in layers.values())
    targets = {layer for layers in stored.values() for layer in layers}
    settings = LoraSettings(r=rank, alpha=float(rank), targets=tuple(sorted(targets)))
    bank = LoraBank(base.layers, len(folders), settings, seed=0)
    zeros = {
        name: (torch.zeros_like(a), torch.zeros_like(b))
        for name, (a, b) in bank.arm_tensors(0).items()
    }
    for arm, (label, folder) in enumerate(folders.items()):
        tensors = dict(zeros)
        for name, (a, b) in stored.get(label, {}).items():
            missing = rank - a.shape[0]
            tensors[name] = functional.pad(a, (0, 0, 0, missing)), functional.pad(b, (0, missing))
        try:
            bank.set_arm(arm, tensors)
        except InputError as fault:
            raise InputError(f"{folder}: {fault}") from fault
    bank = bank.to(base.device).requires_grad_(False)
    with bank.applied():
        overflowing = arms_not_finite(base, bank.arms)
    if overflowing:
        raise InputError(
            f"{list(folders.values())[overflowing[0]]}: with this adapter the base's hidden states "
            "are not finite numbers; its weights are damaged, or its training diverged"
        )
    return bank


def _read_scaled(
    base: SharedBase, folder: Path, task_type: TaskType
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return an adapter's (A, scale * B) by layer, checked against its config and the base."""
    config = read_config(folder, task_type)
    layers, score = read_adapter(folder)
    if (score is None) == (task_type == "SEQ_CLS"):
        raise InputError(
            f"{folder / WEIGHTS}: tensor {SCORE}, the head of a reward model, is "
            + ("missing" if score is None else "there, but a language model is needed")
        )
    settings = _ranks_and_scales(folder, config, list(layers))
    for name, (a, _) in layers.items():
        if name not in base.layers:
            known = sorted({_last(layer) for layer in base.layers})
            raise InputError(
                f"{folder}: the base has no linear layer {name} in its decoder, whose layers are "
                f"named {', '.join(known)}"
            )
        rank, _ = settings[name]
        if a.shape[0] != rank:
            raise InputError(
                f"{folder / CONFIG}: r and rank_pattern give layer {name} the rank "
                f"{rank}, but {WEIGHTS} has {a.shape[0]}"
            )
    scaled = {name: (a, b * settings[name][1]) for name, (a, b) in layers.items()}
    for name, (_, b) in scaled.items():
        check_finite_tensors(f"{folder / CONFIG}: layer {name}, scaled by its alpha", {"B": b})
    return scaled


def save_base(settings: BaseSettings, out: Path) -> None:
    """Save a base as it is, with its tokenizer, to ``out``."""
    tokenizer = load_tokenizer(settings)
    _stock_base(settings).save_pretrained(out)
    tokenizer.save_pretrained(out)


def load_peft(settings: BaseSettings, adapter: Path) -> PeftModel:
    """Load a language model's adapter on its base with stock transformers and PEFT.

    The model is on the processor, in the base's number format, ready for inference.
    """
    quiet_libraries()
    return PeftModel.from_pretrained(_stock_base(settings), str(adapter))


def _stock_base(settings: BaseSettings) -> PreTrainedModel:
    prepare_base(settings.model, Terminal())
    return load_weights(
        AutoModelForCausalLM,
        f"model {settings.model}",
        resolve_model(settings.model),
        settings.revision,
        getattr(torch, settings.dtype),
        settings.quantise,
    )


def merge_into_base(base_name: str, revision: str | None, adapter: Path, out: Path) -> None:
    """Merge a stored adapter into its base with stock PEFT and save the result to ``out``."""
    model = load_weights(
        AutoModelForCausalLM, f"model {base_name}", base_name, revision, torch.float32
    )
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(out)

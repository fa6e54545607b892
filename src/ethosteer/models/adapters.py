"""Adapters in PEFT's file format, so that stock tools can load what a study trained."""

from __future__ import annotations

from ethosteer.models import no_kernels  # noqa: F401 (before PEFT)

# isort: split
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from peft import LoraConfig
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from ethosteer.errors import InputError
from ethosteer.files import usable_path
from ethosteer.interruption import time_limit
from ethosteer.models.adapter_config import (
    CONFIG,
    WEIGHTS,
    AdapterConfig,
    TaskType,
    adapter_below,
    read_config,
    refuse_pointer,
)
from ethosteer.models.base import FineTuning, SharedBase
from ethosteer.models.checks import arms_not_finite
from ethosteer.models.foreign import foreign
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.weights import check_finite_tensors
from ethosteer.settings import LoraSettings

PREFIX = "base_model.model."
SUFFIXES = (".lora_A.weight", ".lora_B.weight")
SCORE = f"{PREFIX}score.weight"
Matrices = tuple[Tensor, Tensor]  # a layer's A [r, in] and B [out, r]
EXPRESSION_SECONDS = 5.0
"""Seconds of processor time to match a config's regular expressions with the names of layers."""


def save_adapter(
    folder: Path, base: SharedBase, bank: LoraBank, arm: int, score: Tensor | None = None
) -> None:
    """Write one arm as a PEFT adapter; with ``score`` (``[hidden]``) as a SEQ_CLS reward model.

    It is the arm's alone. Where the base is fine-tuned, the adapter of fine-tuning belongs below
    it, and stands as its base in the config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = bank.settings
    LoraConfig(
        task_type="CAUSAL_LM" if score is None else "SEQ_CLS",
        base_model_name_or_path=_base_name(base, folder),
        r=settings.r,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=target_modules(base, bank),
        fan_in_fan_out=isinstance(base.layers[bank.names[0]].layer, Conv1D),
        modules_to_save=None if score is None else ["score"],
        inference_mode=True,
    ).save_pretrained(str(folder))
    save_tensors(folder, bank.arm_tensors(arm), score)


def _base_name(base: SharedBase, folder: Path) -> str:
    """Return what an adapter in ``folder`` states as its base; a run's folder may be moved."""
    if base.fine_tuning is None:
        return str(base.model.name_or_path)
    return Path(os.path.relpath(base.fine_tuning.folder, folder)).as_posix()


def save_tensors(folder: Path, layers: Mapping[str, Matrices], score: Tensor | None) -> None:
    """Write an adapter's matrices by layer, and its ``score`` head ``[hidden]``, as PEFT does."""
    tensors = {
        f"{PREFIX}{name}{suffix}": tensor.detach().cpu().contiguous()
        for name, matrices in layers.items()
        for suffix, tensor in zip(SUFFIXES, matrices, strict=True)
    }
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


def read_adapter(folder: Path) -> tuple[dict[str, Matrices], Tensor | None]:
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
    layer is zero, and each scale is folded into B. On the raw base, one that was trained on top of
    another has that one stacked below it. Raises InputError for an adapter that cannot be
    applied, is for another task, does not fit the base, or makes its hidden states overflow.
    """
    stored = {
        name: _read_fitting(base, folder, task_type) for name, folder in folders.items() if folder
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
        for name, matrices in stored.get(label, {}).items():
            tensors[name] = pad_rank(matrices, rank)
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


def pad_rank(matrices: Matrices, rank: int) -> Matrices:
    """Pad A and B with zeros to a rank, which changes nothing of B A."""
    a, b = matrices
    missing = rank - a.shape[0]
    return functional.pad(a, (0, 0, 0, missing)), functional.pad(b, (0, missing))


def with_fine_tuning(base: SharedBase, folder: Path) -> SharedBase:
    """Return the fine-tuned view of a raw base: the same weights, with a stored adapter on.

    Raises InputError as ``load_bank`` does.
    """
    bank = load_bank(base, {"fine-tuned": folder})
    return replace(base, fine_tuning=FineTuning(folder, bank.stacked()))


def _read_fitting(base: SharedBase, folder: Path, task_type: TaskType) -> dict[str, Matrices]:
    """Return an adapter's (A, scale * B) by layer, with what is below it on a raw base."""
    layers = read_scaled(folder, task_type)
    config = read_config(folder, task_type)
    for name in layers:
        if name not in base.layers:
            known = sorted({_last(layer) for layer in base.layers})
            raise InputError(
                f"{folder}: the base has no linear layer {name} in its decoder, whose layers are "
                f"named {', '.join(known)}"
            )
    if base.fine_tuning is None and (below := adapter_below(folder, config)):
        return stack_ranks(_read_fitting(base, below, "CAUSAL_LM"), layers, folder)
    return layers


def stack_ranks(
    below: Mapping[str, Matrices], above: Mapping[str, Matrices], folder: Path
) -> dict[str, Matrices]:
    """Return one adapter that is two, exactly: their As one below the other, their Bs side by side.

    Scales must be in the Bs. A layer of one alone keeps its rank. Raises InputError, with the
    ``folder`` of the upper adapter, where a layer's widths differ.
    """
    stacked = {**below, **above}
    for name in below.keys() & above.keys():
        (first_a, first_b), (second_a, second_b) = below[name], above[name]
        if first_a.shape[1] != second_a.shape[1] or first_b.shape[0] != second_b.shape[0]:
            raise InputError(f"{folder}: layer {name} has other widths in the adapter below it")
        stacked[name] = torch.cat([first_a, second_a]), torch.cat([first_b, second_b], dim=1)
    return stacked


def read_scaled(folder: Path, task_type: TaskType = "CAUSAL_LM") -> dict[str, Matrices]:
    """Return a stored adapter's (A, scale * B) by layer, checked against its config."""
    config = read_config(folder, task_type)
    layers, score = read_adapter(folder)
    if (score is None) == (task_type == "SEQ_CLS"):
        raise InputError(
            f"{folder / WEIGHTS}: tensor {SCORE}, the head of a reward model, is "
            + ("missing" if score is None else "there, but a language model is needed")
        )
    settings = _ranks_and_scales(folder, config, list(layers))
    scaled = {}
    for name, (a, b) in layers.items():
        rank, scale = settings[name]
        if a.shape[0] != rank:
            raise InputError(
                f"{folder / CONFIG}: r and rank_pattern give layer {name} the rank "
                f"{rank}, but {WEIGHTS} has {a.shape[0]}"
            )
        scaled[name] = (a, b * scale)
        check_finite_tensors(
            f"{folder / CONFIG}: layer {name}, scaled by its alpha", {"B": scaled[name][1]}
        )
    return scaled

"""The only way in which weights are loaded: whole, finite and from safetensors, or refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ethosteer.errors import InputError
from ethosteer.models.foreign import WEIGHTS, foreign
from ethosteer.models.quantised import mismatched_shapes, quantisation_config

ADAPTER_CONFIG = "adapter_config.json"


def load_weights(
    kind: Any,  # noqa: ANN401 (transformers' Auto classes share no base)
    subject: str,
    name: str,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    quantise: str | None = None,
    device: torch.device | None = None,
) -> PreTrainedModel:
    """Load a folder's or hub model's weights by ``kind.from_pretrained``; safetensors only.

    ``subject`` begins the error. With ``quantise`` ("nf4", "int8") they are quantised one by one as
    they arrive on ``device``. Raises InputError for files that cannot be read, and where the
    weights are not those that config.json describes: transformers draws missing ones at random.
    """
    if (Path(name) / ADAPTER_CONFIG).is_file():
        raise InputError(
            f"{subject}: {Path(name) / ADAPTER_CONFIG}: an adapter is not a model; name its base "
            "as the model, and the folder as --adapter (a merged model must not keep this file)"
        )
    options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    if quantise is not None:
        options["quantization_config"] = quantisation_config(quantise, dtype or torch.float32)
    if device is not None:
        options["device_map"] = {"": device}
    with foreign(subject, "cannot be loaded"):
        model, report = kind.from_pretrained(
            name,
            revision=revision or "main",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported instead, by name
            **options,
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(f"{subject}: is an adapter, not a model; name its base as the model")
    assert isinstance(model, PreTrainedModel)
    _check_report(f"{subject}: {_weights_file(name)}", model, report)
    return model


def _weights_file(name: str) -> str:
    paths = [Path(name) / file for file in WEIGHTS]
    return str(next((path for path in paths if path.is_file()), "its safetensors files"))


def _check_report(subject: str, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Raise InputError unless transformers' loading report shows a whole model.

    Tied weights are in one file once and not reported as missing. Unexpected keys are refused where
    they belong to a module or a layer that the model has; a whole part that it lacks (the pooler of
    a RoBERTa classifier, a value head, a vision tower) leaves the model as it is.
    """
    mismatched = sorted(
        f"{key} has shape {list(stored)} instead of {list(expected)}"
        for key, stored, expected in [*report["mismatched_keys"], *mismatched_shapes(model)]
    )
    modules = dict(model.named_modules())
    missing = sorted(report["missing_keys"])
    # beside missing weights every other one may be theirs, under another name
    extra = [key for key in report["unexpected_keys"] if missing or _is_within(key, modules)]
    problems = [
        *_listed("missing", missing),
        *_listed("unexpected", sorted(extra)),
        *_listed("of another shape", mismatched),
        *_listed("unreadable", sorted(report["error_msgs"])),
    ]
    if problems:
        raise InputError(
            f"{subject}: its weights are not those of its config.json ({model.config.model_type}): "
            f"{'; '.join(problems)}; use a folder as save_pretrained writes it"
        )


def _is_within(key: str, modules: Mapping[str, nn.Module]) -> bool:
    """Return whether a weight belongs to one of ``modules``, or to a numbered layer of a list."""
    parts = key.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdecimal()]
    layers = [".".join(parts[:index]) for index in numbers]
    return ".".join(parts[:-1]) in modules or any(
        isinstance(modules.get(name), nn.ModuleList) for name in layers
    )


def _listed(what: str, keys: Collection[str]) -> list[str]:
    """Return the first keys of a kind in words; nothing where there are none."""
    if not keys:
        return []
    first = list(keys)[:2]
    more = f" and {len(keys) - len(first)} more" if len(keys) > len(first) else ""
    return [f"{what}: {', '.join(first)}{more}"]


def check_finite_tensors(subject: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise InputError with the first tensor's name that holds nan or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.detach().isfinite().all()):
            raise InputError(
                f"{subject}: tensor {name} holds values that are not finite (nan or infinity); "
                "the file is damaged, or its training diverged"
            )

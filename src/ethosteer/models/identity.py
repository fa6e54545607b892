"""A base's identity and shape, without torch or transformers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from ethosteer.errors import InputError
from ethosteer.models.cached import cached_folder, cached_shape, cached_source, remembered_hash
from ethosteer.settings import BaseSettings, ModelShape

POCKET = Path(str(files("ethosteer"))) / "assets" / "pocket"
WHOLE_BYTES = 64 << 20
MODEL_SUFFIXES = {".json", ".safetensors", ".model", ".jinja", ".txt"}
SIZES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "vocabulary": ("vocab_size",),
}
"""A size's keys in config.json, which differ between architectures."""
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a malformed config.json raises."""
INNER_SIZES = ("intermediate_size", "n_inner", "ffn_dim")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
NORMALISE_HEADS = frozenset({"qwen3", "gemma3", "gemma3_text", "olmo2", "olmo3"})
"""Architectures that have a norm on queries and keys, which no key states."""
KEY_VALUE_HEADS, HEAD_SIZES = ("num_key_value_heads",), ("head_dim",)


def resolve_model(model: str) -> str:
    """Return the folder or hub id behind a study's ``base.model``.

    The folder of a base that is fetched or converted first is not there before that is done.
    """
    return str(POCKET if model == "pocket" else cached_folder(model) or model)


def folder_fingerprint(folder: Path) -> str:
    """Hash a model folder: the names, sizes and bytes of the files that define a model.

    Files over 64 MiB are hashed once and remembered, so that a large base is not read every time.
    Raises InputError for a file that cannot be read.
    """
    digest = sha256()
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix not in MODEL_SUFFIXES or path.is_dir():
                continue
            size = path.stat().st_size
            digest.update(f"{path.name}:{size}:".encode("utf-8", "surrogateescape"))
            is_small = size <= WHOLE_BYTES
            digest.update(path.read_bytes() if is_small else remembered_hash(path).encode())
    except OSError as fault:
        raise InputError(
            f"{fault.filename or folder}: cannot be read ({fault.strerror}); a model's identity "
            "depends on all of its files"
        ) from fault
    return digest.hexdigest()


def model_fingerprint(settings: BaseSettings) -> str:
    """Identify a base: a folder by its content, a hub model by its id and revision.

    A base that is fetched or converted is identified by what it is made from, a hub commit or the
    content of a GGUF file; ``smollm2`` before it is fetched, by a name that no stored work has.
    The number format and the quantisation count. Where a base runs does not, nor gradient
    checkpointing, which makes the same numbers again.
    """
    if cached_folder(settings.model):
        content = cached_source(settings.model) or f"{settings.model}: not fetched"
    else:
        name = resolve_model(settings.model)
        content = (
            folder_fingerprint(Path(name)) if Path(name).is_dir() else f"{name}@{settings.revision}"
        )
    options = ["autocast"] * settings.autocast
    if settings.quantise:
        options.append(settings.quantise)
    return ":".join([content, settings.dtype, *options])


def read_shape(settings: BaseSettings) -> ModelShape:
    """Read a base's shape from its config.json; InputError where that cannot be read."""
    if shape := cached_shape(settings.model):
        return shape
    try:
        return shape_of(_read_config(resolve_model(settings.model), settings.revision or "main"))
    except UNREADABLE as fault:
        raise InputError(
            f"model {settings.model}: its config.json cannot be read; give the model's shape in "
            "[base.shape] (hidden, layers, intermediate, vocabulary)"
        ) from fault


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """Return the shape that a text model's config states, under the names of its architecture.

    Raises ValueError where it states none, or what reading a malformed value raises.
    """

    def number(keys: Iterable[str]) -> int | None:
        value = next((config[key] for key in keys if config.get(key)), None)
        if isinstance(value, list):  # of every layer
            value = max(value)
        return None if value is None else int(value)

    sizes: dict[str, int] = {}
    for name, keys in SIZES.items():
        if (size := number(keys)) is None:
            raise ValueError(f"states no {name}")
        sizes[name] = size
    return ModelShape(
        **sizes,
        intermediate=number(INNER_SIZES) or 4 * sizes["hidden"],
        # transformers' default is not written
        tied=bool(config.get("tie_word_embeddings", True)),
        heads=number(HEADS),
        key_value_heads=number(KEY_VALUE_HEADS),
        head_size=number(HEAD_SIZES),
        head_norms=config.get("model_type") in NORMALISE_HEADS,
    )


def read_quantisation(settings: BaseSettings) -> str | None:
    """Return how a folder or hub model stores its weights (``quantisation_method``).

    None for full weights, and where no config.json says how.
    """
    if settings.shape or cached_shape(settings.model):
        return None
    try:
        config = _read_config(resolve_model(settings.model), settings.revision or "main")
        return quantisation_method(config.get("quantization_config") or {})
    except UNREADABLE:
        return None


def quantisation_method(stored: Mapping[str, Any]) -> str | None:
    """Name what a config's ``quantization_config`` states: nf4, fp4, int8, or another method."""
    if not stored:
        return None
    if stored.get("load_in_8bit"):
        return "int8"
    if stored.get("load_in_4bit"):
        return str(stored.get("bnb_4bit_quant_type", "fp4"))
    return str(stored.get("quant_method", "an unknown method"))


def _read_config(name: str, revision: str) -> dict[str, Any]:
    """Return the config.json of a folder or a hub model; of a multimodal one its text model's."""
    if Path(name).is_dir():
        path = Path(name) / "config.json"
    else:
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(name, "config.json", revision=revision))
    config = json.loads(path.read_text("utf-8"))
    return {**config, **(config.get("text_config") or {})}

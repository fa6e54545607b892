"""The frozen base that all arms share: loading it, and running text through it.

Sequences are right-padded wherever they are known in full (training, rewards, scoring): in a causal
model nothing after a row's last real token can reach it, so no padding mask is needed and lengths
alone say what is real. Only generation pads on the left (see generation.py).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from ethosteer.errors import InputError
from ethosteer.models.fast.budget import keep_freed_memory
from ethosteer.models.fast.packing import Packed, packed_attention, repacked, unpacked
from ethosteer.models.fast.trees import LARGEST_TREE, pack, stack
from ethosteer.models.identity import folder_fingerprint
from ethosteer.models.lora_bank import ArmLinear, dropout_on, features
from ethosteer.settings import BaseSettings, ModelShape

ATTENTION_RATE = 0.2
"""Speed of attention under a mask against that of a large matrix product, both in FLOP/s."""

POCKET = Path(str(files("ethosteer"))) / "assets" / "pocket"


@dataclass(frozen=True, slots=True)
class SharedBase:
    """A frozen causal language model whose linear layers can carry arms' adapters.

    ``runs_packed`` says that the model takes rows packed without padding, prefix trees among them
    (packing.py, trees.py).
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layers: dict[str, ArmLinear]
    runs_packed: bool = False
    autocast: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether its arithmetic is float32 throughout: the same text gives the same numbers."""
        return self.model.dtype == torch.float32 and not self.autocast

    def coarser(self) -> torch.autocast:
        """Return the context that the base runs in: bfloat16 where a study asks for it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    @property
    def device(self) -> torch.device:
        """Where the base stands."""
        return self.model.device

    @property
    def hidden_size(self) -> int:
        """The width of the last hidden state."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def max_length(self) -> int:
        """The most tokens a sequence may have."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 2048))

    def hidden(self, tokens: Tensor) -> Tensor:
        """Run right-padded ``tokens: [R, T]``; return the last hidden state ``[R, T, hidden]``."""
        with self.coarser():
            decoder = self.model.get_decoder()
            out: Tensor = decoder(input_ids=tokens, use_cache=False).last_hidden_state
        return out

    @property
    def weights(self) -> int:
        """How many weights the decoder's linear layers have."""
        return sum(prod(features(layer.layer)) for layer in self.layers.values())

    @property
    def head_weights(self) -> int:
        """How many weights the output embedding has."""
        return self.hidden_size * int(self.model.config.get_text_config().vocab_size)

    @property
    def knee(self) -> float | None:
        """The length at which attention takes as long as all linear layers; None without trees.

        Linear layers take 2 FLOP per weight and token, attention over n tokens 4 n hidden a layer.
        """
        if not self.runs_packed:
            return None
        depth = int(self.model.config.get_text_config().num_hidden_layers)
        return ATTENTION_RATE * self.weights / (2 * self.hidden_size * depth)

    def hidden_packed(self, packed: Packed, at: Tensor | None = None) -> Tensor:
        """Run packed rows, block by block under the arms in use: ``[blocks, n, hidden]``.

        With ``at [m]``, only these positions of every block are returned: ``[blocks, m, hidden]``.
        Adapters have dropout where the stream has the hashes for it.
        """
        prefixes = packed.prefixes
        if not self.runs_packed:
            tokens, real = unpacked(packed, packed.tokens)
            if prefixes is not None:
                prefixes, _ = unpacked(packed, prefixes)
            with dropout_on(self.layers.values(), prefixes):
                out = repacked(self.hidden(tokens), real, packed)
        else:
            dropout = dropout_on(self.layers.values(), prefixes)
            with packed_attention(self.model), self.coarser(), dropout:
                out = self.model.get_decoder()(
                    input_ids=packed.tokens,
                    position_ids=packed.positions,
                    use_cache=False,
                    packing=packed.runs(),
                ).last_hidden_state
        return out if at is None else out.index_select(1, at)

    def logits(self, hidden: Tensor) -> Tensor:
        """Map hidden states ``[..., hidden]`` to logits ``[..., vocabulary]``.

        Some architectures scale or cap them after the output embedding: Cohere, Granite, Gemma.
        """
        with self.coarser():
            out: Tensor = self.model.get_output_embeddings()(hidden)
        config = self.model.config.get_text_config()
        if factor := getattr(config, "logit_scale", None):
            out = out * factor
        if divisor := getattr(config, "logits_scaling", None):
            out = out / divisor
        if cap := getattr(config, "final_logit_softcapping", None):
            out = cap * torch.tanh(out / cap)
        return out


def resolve_model(model: str) -> str:
    """Return the folder or hub id behind a study's ``base.model``."""
    return str(POCKET) if model == "pocket" else model


def model_fingerprint(settings: BaseSettings) -> str:
    """Identify a base: a folder by its content, a hub model by its id and revision."""
    name = resolve_model(settings.model)
    is_folder = Path(name).is_dir()
    content = folder_fingerprint(Path(name)) if is_folder else f"{name}@{settings.revision}"
    return ":".join([content, settings.dtype, *(["autocast"] if settings.autocast else [])])


def choose_device(device: str) -> torch.device:
    """Turn 'auto' into the best device there is."""
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(settings: BaseSettings) -> PreTrainedTokenizerBase:
    """Load the base's tokenizer; InputError where there is none."""
    name = resolve_model(settings.model)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, revision=settings.revision or "main", trust_remote_code=False
        )
    except (OSError, ValueError) as fault:
        raise InputError(f"model {settings.model}: no usable tokenizer: {fault}") from fault
    known = set(tokenizer("A word.", add_special_tokens=False).input_ids)
    if not known - {tokenizer.unk_token_id}:
        # transformers makes an empty tokenizer where a folder has a config but no tokenizer files
        raise InputError(f"model {settings.model}: no usable tokenizer: its files are not there")
    return tokenizer


def load_base(settings: BaseSettings) -> SharedBase:
    """Load the base in safetensors, freeze it, and make its linear layers carry adapters."""
    name = resolve_model(settings.model)
    revision = settings.revision or "main"
    tokenizer = load_tokenizer(settings)
    try:
        AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            name,
            revision=revision,
            dtype=getattr(torch, settings.dtype),
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as fault:
        raise InputError(f"model {settings.model}: cannot be loaded: {fault}") from fault
    keep_freed_memory()
    model.to(choose_device(settings.device))  # type: ignore[arg-type]  # misread by the stubs
    return replace(share(model, tokenizer), autocast=settings.autocast)


def read_shape(settings: BaseSettings) -> ModelShape:
    """Read a base's geometry from its config alone; InputError where that is not at hand."""
    try:
        stored = AutoConfig.from_pretrained(
            resolve_model(settings.model),
            revision=settings.revision or "main",
            trust_remote_code=False,
        )
    except (OSError, ValueError) as fault:
        raise InputError(
            f"model {settings.model}: its config cannot be read, so say its geometry in "
            "[base.shape] (hidden, layers, intermediate, vocabulary)"
        ) from fault
    text = stored.get_text_config()
    return ModelShape(
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        vocabulary=text.vocab_size,
        tied=bool(getattr(text, "tie_word_embeddings", False)),
    )


def share(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> SharedBase:
    """Freeze ``model`` and wrap the linear layers of its decoder (not its output embedding).

    Raises InputError for an architecture whose logits are not made from its last hidden state in a
    way known here.
    """
    model.eval().requires_grad_(False)
    head = model.get_output_embeddings()
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    layers = {}
    for name, module in found:
        parent, _, last = name.rpartition(".")
        layers[name] = ArmLinear(module)
        setattr(model.get_submodule(parent), last, layers[name])
    base = SharedBase(model, tokenizer, layers)
    if not _makes_its_logits(base):
        raise InputError(
            f"model {model.name_or_path}: ethosteer does not know how {model.config.model_type} "
            "models make their logits; use a base of another architecture"
        )
    return replace(base, runs_packed=not _slides(base) and _runs_packed(base))


@torch.no_grad()
def _makes_its_logits(base: SharedBase) -> bool:
    """Say whether ``base.logits`` are the model's own."""
    tokens = probe(base, [range(8)])
    return alike(base.logits(base.hidden(tokens)), base.model(tokens, use_cache=False).logits)


def _slides(base: SharedBase) -> bool:
    """Say whether some layer reads only the latest tokens: a tree's mask would undo that."""
    config = base.model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    return getattr(config, "sliding_window", None) is not None


@torch.no_grad()
def _runs_packed(base: SharedBase) -> bool:
    """Try whether the model keeps to a stream's rows, a tree's mask and its positions.

    ALiBi, recurrence and attention that is not taken from transformers' interface do not.
    """
    rows = [tuple(row) for row in probe(base, [range(20), [*range(4), *range(8, 24)]]).tolist()]
    trees = [*pack(rows, float("inf"), LARGEST_TREE), *pack(rows[:1], None, LARGEST_TREE)]
    try:
        together = replace(base, runs_packed=True).hidden_packed(
            stack(trees, base.device, base.model.dtype)
        )[0]
    except (TypeError, ValueError, RuntimeError):
        return False
    apart = base.hidden(torch.tensor(rows, device=base.device))
    found = [*(list(trees[0].paths[row]) for row in rows), list(range(-20, 0))]
    return all(
        alike(together[places], own) for places, own in zip(found, [*apart, apart[0]], strict=True)
    )


def probe(base: SharedBase, rows: Sequence[Iterable[int]]) -> Tensor:
    """Make token rows that any vocabulary has."""
    size = base.model.config.get_text_config().vocab_size
    return torch.tensor([[(11 * i + 5) % size for i in row] for row in rows], device=base.device)


def alike(a: Tensor, b: Tensor) -> bool:
    """Say whether two tensors differ by rounding only."""
    tolerance = 1e-3 if a.dtype == torch.float32 else 5e-2
    return bool((a - b).float().norm() <= tolerance * b.float().norm())


def pad_right(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Stack token rows: (tokens ``[R, T]``, lengths ``[R]``). The fill is never read."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    tokens = torch.tensor([list(row) + [0] * (width - len(row)) for row in rows])
    return tokens.to(device), lengths.to(device)


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars and advice off the user's terminal."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings(  # raised by peft's own call, at every adapter it loads
        "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
    )
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

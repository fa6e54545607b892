"""The frozen base that all arms share, and its passes over text.

Sequences are right-padded wherever they are known in full (training, rewards, scoring): in a causal
model nothing after a row's last real token can reach it, so no padding mask is needed and lengths
alone mark what is real. Only generation pads on the left (see generation.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ethosteer.models.engine.protocol import Engine
from ethosteer.models.fast.packing import Packed, packed_attention, repack, unpack
from ethosteer.models.gradient_scale import GradientScale
from ethosteer.models.identity import shape_of
from ethosteer.models.lora_bank import Adapter, ArmLinear, dropout_on, features, frozen_on
from ethosteer.settings import ModelShape

ATTENTION_RATE = 0.2
"""FLOP/s of masked attention as a fraction of those of a large matrix product."""


@dataclass(frozen=True, slots=True)
class FineTuning:
    """The frozen adapter that fine-tuning trained.

    ``folder`` is where it is stored; ``adapters``, by layer, have A ``[1, r, in]`` and B
    ``[1, out, r]`` in float32.
    """

    folder: Path
    adapters: Mapping[str, Adapter]


@dataclass(frozen=True, slots=True)
class SharedBase:
    """A frozen causal language model whose linear layers can carry arms' adapters.

    The fine-tuned base is another view of the raw one: the same model, whose passes apply the
    adapter of ``fine_tuning`` too. Whatever a view runs has its numbers, in any order of views.

    ``runs_packed`` is whether the model takes rows packed without padding, prefix trees among
    them (fast/packing.py, fast/trees.py); if not, rows are padded, with the same results.
    ``captures`` is whether a token of sampling can be one CUDA graph (fast/decoding.py).
    ``stop_ids`` are the tokens that end an answer. ``autocast`` runs float32 weights in bfloat16.
    ``gradient_checkpointing`` is whether decoder layers run again in the backward pass.
    ``limits`` are the token budgets, by kind of work, that too little memory has led to
    (fast/budget.py). ``engine`` samples in its place (engine/); None: the base itself does.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layers: dict[str, ArmLinear]
    stop_ids: frozenset[int] = frozenset()
    runs_packed: bool = False
    captures: bool = False
    autocast: bool = False
    gradient_checkpointing: bool = False
    limits: dict[str, int] = field(default_factory=dict)
    engine: Engine | None = None
    fine_tuning: FineTuning | None = None

    @property
    def config(self) -> PreTrainedConfig:
        """The config of the text model."""
        return self.model.config.get_text_config()

    @property
    def shape(self) -> ModelShape:
        """The geometry that its memory is estimated from."""
        config = self.config
        # the dictionary of some architectures has their names alone, not the common ones
        names = {*config.attribute_map, "num_hidden_layers"}
        common = {name: getattr(config, name, None) for name in names}
        return shape_of({**config.to_dict(), **common})

    @property
    def is_exact(self) -> bool:
        """Whether its arithmetic is float32 throughout: the same text gives the same numbers."""
        return self.model.dtype == torch.float32 and not self.autocast

    @property
    def is_half(self) -> bool:
        """Whether its numbers are float16, whose gradients need scaling (gradient_scale.py)."""
        return self.model.dtype == torch.float16

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.model.device

    @property
    def hidden_size(self) -> int:
        """The width of the last hidden state, from which logits, rewards and values are read.

        In some models (OPT-350m) it is not the width of the layers.
        """
        return features(self.model.get_output_embeddings())[0]

    @property
    def token_rows(self) -> int:
        """The number of tokens that have an embedding."""
        weight = self.model.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return int(weight.shape[0])

    @property
    def max_length(self) -> int:
        """The largest number of tokens of a sequence."""
        return int(getattr(self.config, "max_position_embeddings", 2048))

    @property
    def weights(self) -> int:
        """The number of weights of the decoder's linear layers."""
        return sum(prod(features(layer.layer)) for layer in self.layers.values())

    @property
    def head_weights(self) -> int:
        """The number of weights of the output embedding."""
        return self.hidden_size * int(self.config.vocab_size)

    @property
    def knee(self) -> float | None:
        """The length at which attention takes as long as all linear layers; None without trees.

        Linear layers take 2 FLOP per weight and token, attention over n tokens 4 n hidden a layer.
        """
        if not self.runs_packed:
            return None
        layers, width = int(self.config.num_hidden_layers), int(self.config.hidden_size)
        return ATTENTION_RATE * self.weights / (2 * width * layers)

    def precision(self) -> torch.autocast:
        """Return the context that the model runs in: bfloat16 with ``autocast``."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def fine_tuned(self) -> AbstractContextManager[None]:
        """Return the context of every pass through the decoder: its layers apply ``fine_tuning``.

        For the raw base it is one in which they apply none.
        """
        return frozen_on(self.layers, self.fine_tuning.adapters if self.fine_tuning else {})

    def hidden(self, tokens: Tensor) -> Tensor:
        """Run right-padded ``tokens [R, T]``; return the last hidden states ``[R, T, hidden]``."""
        return self._decode(input_ids=tokens)

    def _decode(self, **inputs: Any) -> Tensor:  # noqa: ANN401 (of any decoder)
        """Run the decoder; a float16 base's states that have a gradient are float32."""
        decoder = self.model.get_decoder()
        scale = GradientScale()
        scaled = self.is_half and torch.is_grad_enabled()
        scaling = scale.on(self.layers.values()) if scaled else nullcontext()
        with self.precision(), self.fine_tuned(), scaling:
            hidden: Tensor = decoder(**inputs, use_cache=False).last_hidden_state
        return scale.enlarged(hidden.float()) if scaled else hidden

    def hidden_packed(self, packed: Packed, positions: Tensor | None = None) -> Tensor:
        """Run packed rows, block by block under the arms in use: ``[blocks, n, hidden]``.

        With ``positions [m]``, only these of every block are returned: ``[blocks, m, hidden]``.
        Adapters have dropout where the stream carries the hashes for it.
        """
        prefixes = packed.prefixes
        if self.runs_packed:
            dropout = dropout_on(self.layers.values(), prefixes)
            with packed_attention(self.model), dropout:
                hidden = self._decode(
                    input_ids=packed.tokens,
                    position_ids=packed.positions,
                    packing=packed.runs(),
                )
        else:
            tokens, is_real = unpack(packed, packed.tokens)
            if prefixes is not None:
                prefixes, _ = unpack(packed, prefixes)
            with dropout_on(self.layers.values(), prefixes):
                hidden = repack(self.hidden(tokens), is_real, packed)
        return hidden if positions is None else hidden.index_select(1, positions)

    def logits(self, hidden: Tensor) -> Tensor:
        """Map hidden states ``[..., hidden]`` to logits ``[..., vocabulary]``.

        Some architectures scale or cap them after the output embedding: Cohere, Granite, Gemma.
        """
        scale = GradientScale()
        if self.is_half:  # the same numbers with gradients and without
            hidden = scale.restored(hidden.float()).to(self.model.dtype)
        with self.precision():
            out: Tensor = self.model.get_output_embeddings()(hidden)
        if self.is_half:
            out = scale.enlarged(out.float())
        if factor := getattr(self.config, "logit_scale", None):
            out = out * factor
        if divisor := getattr(self.config, "logits_scaling", None):
            out = out / divisor
        if cap := getattr(self.config, "final_logit_softcapping", None):
            out = cap * torch.tanh(out / cap)
        return out


def pad_right(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Stack token rows: (tokens ``[R, T]``, lengths ``[R]``). The padding is never read."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    tokens = torch.tensor([list(row) + [0] * (width - len(row)) for row in rows])
    return tokens.to(device), lengths.to(device)

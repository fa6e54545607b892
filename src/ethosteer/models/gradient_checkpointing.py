"""Decoder layers that keep their inputs alone, and run again in the backward pass.

Gradient checkpointing (Chen et al. 2016). What a layer applies (adapters, the hashes of dropout,
the attention of packed rows) is set by contexts that have ended when the backward pass runs, so a
layer notes it, and has it restored to run again. It draws no random numbers, so its numbers are the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ethosteer.errors import InputError
from ethosteer.models.fast.packing import attention_as
from ethosteer.models.lora_bank import Applied, ArmLinear


def checkpoint_gradients(model: PreTrainedModel) -> None:
    """Have every decoder layer of a base run again in the backward pass.

    Raises InputError for an architecture whose layers transformers does not mark as such.
    """
    layers = list(_outermost(model.get_decoder()))
    if not layers:
        raise InputError(
            f"base.gradient_checkpointing: model {model.name_or_path}: transformers cannot run "
            f"layers of {model.config.model_type} models again; leave it out"
        )
    for layer in layers:
        adapted = [module for module in layer.modules() if isinstance(module, ArmLinear)]
        # in place of ``__call__``, so that a module's hooks run once
        layer.forward = _RunAgain(layer.forward, adapted, model.config.get_text_config())


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers that can run again, without those inside of another one."""
    for child in module.children():
        if isinstance(child, GradientCheckpointingLayer):
            yield child
        else:
            yield from _outermost(child)


@dataclass(frozen=True, slots=True, eq=False)
class _RunAgain:
    """The forward pass of a decoder layer that keeps nothing but its inputs."""

    run: Callable[..., Any]
    adapted: Sequence[ArmLinear]
    config: PreTrainedConfig

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (whatever the layer takes)
        if not torch.is_grad_enabled():
            return self.run(*args, **kwargs)
        applied = [layer.applied for layer in self.adapted]
        attention = self.config._attn_implementation

        def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with attention_as(self.config, attention), self._applying(applied):
                return self.run(*args, **kwargs)

        # no state of a generator is kept: dropout is a hash of what tokens read
        return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    @contextmanager
    def _applying(self, applied: Sequence[Applied]) -> Iterator[None]:
        """Have the adapted layers apply inside the block what they applied before."""
        before = [layer.applied for layer in self.adapted]
        try:
            for layer, values in zip(self.adapted, applied, strict=True):
                layer.applied = values
            yield
        finally:
            for layer, values in zip(self.adapted, before, strict=True):
                layer.applied = values

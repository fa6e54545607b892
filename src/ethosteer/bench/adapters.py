"""Adapters for measurements: their time does not depend on their weights."""

from __future__ import annotations

import torch

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.lora_bank import LoraBank
from ethosteer.settings import LoraSettings

RANK = 16
TARGETS = ("q_proj", "v_proj", "c_attn", "query_key_value")
"""Query and value projections, as the architectures name them (two fuse them with the keys)."""


def attention_lora(base: SharedBase, rank: int = RANK) -> LoraSettings:
    """Return the settings of LoRA on the base's query and value projections.

    Raises InputError where the base has none of ``TARGETS``.
    """
    names = {name.rsplit(".", 1)[-1] for name in base.layers}
    targets = tuple(target for target in TARGETS if target in names)
    if not targets:
        raise InputError(f"bench: the model has none of the layers {', '.join(TARGETS)}")
    return LoraSettings(r=rank, alpha=32.0, targets=targets)


def random_adapters(base: SharedBase, arms: int) -> LoraBank:
    """Return ``arms`` adapters with random weights on the query and value projections."""
    bank = LoraBank(base.layers, arms, attention_lora(base), seed=0)
    for arm in range(arms):
        noise = torch.Generator().manual_seed(arm)
        for parameter in bank.arm_parameters(arm):
            parameter.data.normal_(std=0.01, generator=noise)
    return bank.to(base.device).requires_grad_(False)

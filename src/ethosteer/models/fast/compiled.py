"""A base whose elementwise layers (its norms) are compiled: fewer passes over memory.

Layers that carry adapters stay as they are, since adapters come and go; so does attention, whose
rows differ from pass to pass. What is left are modules without parts of their own. A pass with
gradients is compiled apart from one without, and rounds otherwise.
"""

from __future__ import annotations

import torch
from torch import nn

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase, alike, probe
from ethosteer.models.lora_bank import ArmLinear

ROWS = ((0, 1, 2, 3, 4, 5, 6, 7), (3, 1, 4))


def compile_elementwise(base: SharedBase) -> None:
    """Compile ``base``'s elementwise layers in place; it then gives what it gave, up to rounding.

    Raises InputError where this machine cannot compile, or the compiled model gives something else.
    """
    rows = [probe(base, [row]) for row in ROWS]  # of two lengths, as passes are
    with torch.no_grad():
        before = [base.hidden(row) for row in rows]
        for module in _elementwise(base.model.get_decoder()):
            module.compile(dynamic=True)
        try:
            after = [base.hidden(row) for row in rows]
        except RuntimeError as fault:  # whatever keeps torch from compiling, a compiler first
            reason = str(fault).strip().partition("\n")[0]
            raise InputError(
                f"base.compile: this machine cannot compile ({reason}); it takes a C++ compiler, "
                "or set base.compile = false"
            ) from fault
    if not all(map(alike, after, before)):
        raise InputError("base.compile: the compiled base differs; set base.compile = false")


def _elementwise(decoder: nn.Module) -> list[nn.Module]:
    """Modules without parts that carry no adapter and look nothing up."""
    carrying = {part for module in decoder.modules() if isinstance(module, ArmLinear)
                for part in module.modules()}  # fmt: skip
    return [
        module
        for module in decoder.modules()
        if module not in carrying
        and not list(module.children())
        and list(module.parameters())
        and not isinstance(module, nn.Embedding)
    ]

"""A compiled base gives what it gave, or is refused in one line."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ethosteer.errors import InputError
from ethosteer.models.base import load_base, model_fingerprint
from ethosteer.models.fast.compiled import compile_elementwise
from ethosteer.models.fast.packing import pack_rows
from ethosteer.models.lora_bank import LoraBank
from ethosteer.settings import BaseSettings, LoraSettings

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler"
)


@needs_compiler
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own imports
def test_a_compiled_base_gives_what_it_gave_with_adapters_and_gradients(tiny_base: Path) -> None:
    settings = BaseSettings(model=str(tiny_base), device="cpu")
    plain, compiled = load_base(settings), load_base(settings.model_copy(update={"compile": True}))
    tokens = torch.arange(40).view(2, 20) % 90
    packed, _ = pack_rows(tokens, torch.tensor([20, 13]))
    weights = torch.linspace(-1, 1, 32)  # a norm's own squares add up to the same whatever it reads
    found = []
    for base in (plain, compiled):
        bank = LoraBank(base.layers, 1, LoraSettings(r=2, targets=("q_proj", "up_proj")), seed=0)
        for parameter in bank.arm_parameters(0):
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
        with bank.applied():
            hidden = base.hidden_packed(packed)
        gradients = torch.autograd.grad((hidden * weights).sum(), bank.arm_parameters(0))
        found.append([hidden.detach(), *gradients])
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)
    assert model_fingerprint(settings) != model_fingerprint(
        settings.model_copy(update={"compile": True})
    )


def test_what_cannot_be_compiled_is_one_line(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(BaseSettings(model=str(tiny_base), device="cpu"))

    def refuse(self: torch.nn.Module, **_: object) -> None:
        def forward(*_: object) -> None:
            raise RuntimeError("no compiler found\nand much more")

        self.forward = forward

    monkeypatch.setattr(torch.nn.Module, "compile", refuse)
    with pytest.raises(InputError, match=r"base.compile: .*\(no compiler found\)") as fault:
        compile_elementwise(replace(base))
    assert "\n" not in str(fault.value)

"""Gradients through a float16 base are true gradients, however small or large the loss is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ethosteer.models import gradient_scale
from ethosteer.models.base import SharedBase
from ethosteer.models.loading import load_base
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import accumulate_nll
from ethosteer.settings import BaseSettings
from tests import tiny

TOKENS = torch.tensor(tiny.ragged(4, 12, 12))


@pytest.fixture(scope="module")
def half(tiny_models) -> SharedBase:
    settings = BaseSettings(model=str(tiny_models["llama"]), device="cpu", dtype="float16")
    return load_base(settings)


def gradients(base: SharedBase, factor: float, *, packed: bool = False) -> list[Tensor]:
    """Return the gradients of ``factor`` times a loss on logits and hidden states."""
    bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(), seed=0), scale=0.05)
    with bank.applied():
        hidden = base.hidden(TOKENS)
        chosen = (
            base.logits(hidden)
            .float()
            .log_softmax(dim=-1)[..., :-1, :]
            .gather(2, TOKENS[:, 1:, None])
        )
    (factor * (hidden.float().mean() - chosen.mean())).backward()
    return [p.grad for p in bank.arm_parameters(0)]  # type: ignore[misc]


def error(found: list[Tensor], expected: list[Tensor]) -> float:
    a, b = (torch.cat([g.flatten() for g in each]).double() for each in (found, expected))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("factor", [1.0, 1e-7, 1e6])
def test_gradients_are_those_of_float32(factor, half, llama):
    found = gradients(half, factor)
    assert {g.dtype for g in found} == {torch.float32}
    assert error(found, gradients(llama, factor)) < 0.02


def test_without_the_scale_small_gradients_vanish(half, llama, monkeypatch):
    monkeypatch.setattr(gradient_scale.GradientScale, "enlarged", lambda _, x: x)
    monkeypatch.setattr(gradient_scale.GradientScale, "restored", lambda _, x: x)
    assert error(gradients(half, 1e-7), gradients(llama, 1e-7)) > 0.5


def test_the_scale_is_exact(half):
    """It is a power of two, chosen by the gradient: so a smaller loss has smaller gradients."""
    for found, expected in zip(gradients(half, 2.0**-30), gradients(half, 1.0), strict=True):
        assert torch.equal(found * 2.0**30, expected)


def test_passes_whose_losses_are_added_keep_their_scales_apart(half):
    bank = tiny.fill(LoraBank(half.layers, 1, tiny.lora(), seed=0))
    parameters = bank.arm_parameters(0)
    losses = []
    for rows, factor in ((TOKENS[:2], 1.0), (TOKENS[2:], 1e-6)):
        with bank.applied():
            losses.append(factor * half.hidden(rows).square().mean())
    apart = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    together = torch.autograd.grad(sum(losses), parameters)
    for found, first, second in zip(together, *apart, strict=True):
        assert (found - first - second).norm() <= 1e-6 * found.norm()
        assert second.any()


@pytest.mark.parametrize(("value", "finite"), [(0.0, True), (float("inf"), False)])
def test_gradients_of_zero_and_infinity_stay_what_they_are(value, finite, half):
    found = torch.cat([g.flatten() for g in gradients(half, value)])
    assert bool(found.isfinite().all()) == finite
    assert not finite or not found.any()


@torch.no_grad()
def test_numbers_are_the_same_with_gradients_and_without(half):
    bank = tiny.fill(LoraBank(half.layers, 1, tiny.lora(), seed=0))
    with bank.applied():
        hidden = half.hidden(TOKENS)
        assert hidden.dtype == torch.float16
        with torch.enable_grad():
            learning = half.hidden(TOKENS)
            logits = half.logits(learning)
        assert learning.dtype == torch.float32 and torch.equal(learning, hidden.float())
        assert torch.equal(half.logits(hidden), logits)


def test_fine_tuning_has_the_loss_of_float32(half, llama):
    losses = []
    for base in (half, llama):
        bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(dropout=0.1), seed=0), scale=0.05)
        with bank.applied():
            rows = tiny.whole_rows(tiny.ragged(6, 5, 14))
            losses.append(accumulate_nll(base, rows, 40, dropout=3))
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)

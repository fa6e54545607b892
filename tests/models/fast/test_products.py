"""Products with weights that are laid out once are those of nn.Linear."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ethosteer.models.fast import budget, products
from ethosteer.models.fast.budget import layouts_fit
from ethosteer.models.fast.products import FrozenLinear, lays_out
from ethosteer.models.loading import load_base
from ethosteer.models.lora_bank import LoraBank
from ethosteer.settings import BaseSettings
from tests import tiny

DTYPES = [
    pytest.param(torch.float32, 1e-4, id="float32"),
    pytest.param(torch.bfloat16, 5e-2, id="bfloat16"),
]


def linear(dtype: torch.dtype = torch.float32, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(300, 260, bias=bias).to(dtype).requires_grad_(False)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("shape", [(1, 300), (7, 300), (2, 40, 300)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients(
    dtype: torch.dtype, tolerance: float, shape: tuple[int, ...], *, bias: bool
) -> None:
    layer = linear(dtype, bias=bias)
    if not lays_out(layer):
        pytest.skip("this processor has no products of this number format")
    results = []
    for module in (FrozenLinear.of(layer), layer):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        x.requires_grad_()
        out = module(x)
        out.backward(torch.sin(torch.arange(out.numel())).view_as(out).to(dtype))
        with torch.no_grad():
            assert torch.equal(module(x), out)
        results.append((out.detach(), x.grad))
    for result, expected in zip(*results, strict=True):
        assert expected is not None
        torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)


def test_a_weight_that_changes_is_laid_out_anew() -> None:
    layer = FrozenLinear.of(linear())
    x = torch.ones(3, 300)
    before = layer(x)
    layer.weight.mul_(2)
    torch.testing.assert_close(
        layer(x) - layer.bias, 2 * (before - layer.bias), rtol=1e-4, atol=1e-4
    )


def test_autocast_keeps_its_number_format() -> None:
    layer = FrozenLinear.of(linear())
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(3, 300)).dtype == torch.bfloat16


def test_which_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = linear()
    monkeypatch.setattr(products, "_supports", lambda dtype: dtype == torch.float32)
    assert lays_out(layer)
    assert not lays_out(nn.Linear(8, 8).requires_grad_(False))
    assert not lays_out(nn.Linear(300, 260)), "a weight that learns changes at every step"
    assert not lays_out(linear(torch.float64))
    assert not lays_out(nn.LayerNorm(300))


def test_a_base_has_further_layouts_only_where_they_take_half_of_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "machine_memory", lambda: 6_000_000)
    assert layouts_fit(1_000_000)
    assert not layouts_fit(1_000_001), "with the weights themselves three copies"
    for memory in (None, 1 << 60):
        monkeypatch.setattr(budget, "machine_memory", lambda memory=memory: memory)
        assert layouts_fit(budget.LARGEST_BASE)
        assert not layouts_fit(budget.LARGEST_BASE + 1)


def test_a_shared_base_that_does_not_fit_keeps_its_layers(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "SMALLEST_WEIGHT", 1)
    monkeypatch.setattr(products, "_supports", lambda _: True)
    for memory, expected in ((1 << 40, FrozenLinear), (1 << 10, nn.Linear)):
        monkeypatch.setattr(budget, "machine_memory", lambda memory=memory: memory)
        base = load_base(BaseSettings(model=str(tiny_models["llama"]), device="cpu"))
        kinds = {type(layer.layer) for layer in base.layers.values()}
        assert kinds | {type(base.model.get_output_embeddings())} == {expected}


def test_no_gradient_is_computed_below_the_lowest_adapted_layer(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "SMALLEST_WEIGHT", 1)
    if not lays_out(linear()):
        pytest.skip("this processor has no products of this number format")
    base = load_base(BaseSettings(model=str(tiny_models["llama"]), device="cpu"))
    layers = {name: layer for name, layer in base.layers.items() if ".layers.1." in name}
    adapted = [name for name in layers if name.endswith(("q_proj", "v_proj"))]
    bank = LoraBank(layers, 1, tiny.lora(targets=("q_proj", "v_proj")), seed=0)
    with bank.applied():
        base.hidden(torch.tensor([[5, 6, 7, 8]])).sum().backward()
    assert all(parameter.grad is not None for parameter in bank.parameters())
    # only a backward pass lays a weight out for gradients
    backward = {
        name
        for name, layer in base.layers.items()
        if isinstance(layer.layer, FrozenLinear) and True in layer.layer._layouts
    }
    above = {name for name in layers if name not in adapted and not name.endswith("k_proj")}
    assert backward == above

"""Products with weights that are laid out once are those of nn.Linear."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ethosteer.models.fast import products
from ethosteer.models.fast.products import FrozenLinear, lays_out

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
    if not lays_out(layer, 1):
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
    assert lays_out(layer, products.LARGEST_BASE)
    assert not lays_out(layer, products.LARGEST_BASE + 1)
    assert not lays_out(nn.Linear(8, 8).requires_grad_(False), 1)
    assert not lays_out(nn.Linear(300, 260), 1), "a weight that learns changes at every step"
    assert not lays_out(linear(torch.float64), 1)
    assert not lays_out(nn.LayerNorm(300), 1)

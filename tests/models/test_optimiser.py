from __future__ import annotations

import pytest
import torch
from torch import nn

from ethosteer.models.optimiser import ArmOptimiser, derived_seed, generator
from ethosteer.settings import OptimiserSettings

SETTINGS = OptimiserSettings(
    learning_rate=0.05, weight_decay=0.1, warmup=0.3, decay=True, max_grad_norm=0.7
)
STEPS = 10


def parameters(seed: int) -> list[nn.Parameter]:
    noise = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=noise)) for shape in ((3, 4), (5,))]


def give_gradients(owned: list[nn.Parameter], step: int, scale: float = 1.0) -> None:
    noise = torch.Generator().manual_seed(100 + step)
    for parameter in owned:
        parameter.grad = scale * torch.randn(parameter.shape, generator=noise)


def values(owned: list[nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in owned]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("decay", [True, False])
def test_a_step_is_clip_adamw_and_schedule(decay):
    settings = SETTINGS.model_copy(update={"decay": decay})
    own, plain = parameters(0), parameters(0)
    optimiser = ArmOptimiser.build(own, settings, STEPS)
    adamw = torch.optim.AdamW(plain, lr=0.05, weight_decay=0.1)
    for step in range(STEPS):
        give_gradients(own, step)
        give_gradients(plain, step)
        assert optimiser.step()
        assert all(p.grad is None for p in own)
        norm = sum(float(p.grad.square().sum()) for p in plain if p.grad is not None) ** 0.5
        for parameter in plain:
            assert parameter.grad is not None
            parameter.grad *= min(1.0, 0.7 / (norm + 1e-6))
        rise = [1 / 4, 2 / 4, 3 / 4, 1][min(step, 3)]
        adamw.param_groups[0]["lr"] = 0.05 * rise * ((STEPS - step) / STEPS if decay else 1)
        adamw.step()
        for mine, reference in zip(own, plain, strict=True):
            torch.testing.assert_close(mine, reference)


def test_arms_are_not_coupled_by_clip_or_moments():
    alone, beside, other = parameters(0), parameters(0), parameters(1)
    single = ArmOptimiser.build(alone, SETTINGS, STEPS)
    pair = [ArmOptimiser.build(owned, SETTINGS, STEPS) for owned in (beside, other)]
    for step in range(4):
        give_gradients(alone, step)
        give_gradients(beside, step)
        give_gradients(other, step, scale=1e6)
        single.step()
        assert [optimiser.step() for optimiser in pair] == [True, True]
    assert same(values(alone), values(beside))


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_leaves_its_arm_and_no_other_unchanged(first, bad):
    arms = [parameters(0), parameters(1)]
    optimisers = [ArmOptimiser.build(owned, SETTINGS, STEPS) for owned in arms]
    for step in range(first):
        for owned, optimiser in zip(arms, optimisers, strict=True):
            give_gradients(owned, step)
            optimiser.step()
    before = [values(owned) for owned in arms]
    for owned in arms:
        give_gradients(owned, 9)
    assert arms[0][1].grad is not None
    arms[0][1].grad[2] = bad
    assert [optimiser.step() for optimiser in optimisers] == [False, True]
    assert same(values(arms[0]), before[0])
    assert not same(values(arms[1]), before[1])
    assert all(p.grad is None for owned in arms for p in owned)
    give_gradients(arms[0], 5)
    assert optimisers[0].step()
    assert all(bool(p.isfinite().all()) for p in arms[0])
    assert not same(values(arms[0]), before[0])


def test_seeds_depend_on_every_part():
    assert derived_seed(1, "prompts", 2) == derived_seed(1, "prompts", 2)
    seeds = {derived_seed(*p) for p in ((1, "a", 2), (2, "a", 1), (1, "b", 2), (12, "a"), (1, "a"))}
    assert len(seeds) == 5
    drawn = torch.rand(4, generator=generator(1, "x"))
    assert torch.equal(drawn, torch.rand(4, generator=generator(1, "x")))
    assert not torch.equal(drawn, torch.rand(4, generator=generator(1, "y")))

from __future__ import annotations

import pytest
import torch
from torch import nn

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.lora_bank import ArmLinear, LoraBank
from tests import tiny

TOKENS = torch.tensor(tiny.ragged(4, 9, 9))


@pytest.fixture(params=tiny.ARCHITECTURES)
def shared(request, tiny_bases) -> tuple[str, SharedBase]:
    return request.param, tiny_bases[request.param]


@torch.no_grad()
def test_each_arms_rows_equal_that_arm_alone(shared):
    name, base = shared
    bank = tiny.fill(LoraBank(base.layers, 3, tiny.lora(name), seed=0))
    with bank.applied():
        together = base.hidden(TOKENS.repeat(3, 1)).view(3, *TOKENS.shape, -1)
    for arm in range(3):
        with bank.applied([arm]):
            alone = base.hidden(TOKENS)
        tiny.close(together[arm], alone)
    assert (together[0] - together[1]).abs().max() > 0.1
    assert (together[0] - together[2]).abs().max() > 0.1


@torch.no_grad()
def test_arms_can_be_chosen_in_any_order(llama):
    bank = tiny.fill(LoraBank(llama.layers, 3, tiny.lora(), seed=0))
    with bank.applied([2, 0]):
        chosen = llama.hidden(TOKENS.repeat(2, 1)).view(2, *TOKENS.shape, -1)
    for place, arm in enumerate((2, 0)):
        with bank.applied([arm]):
            tiny.close(chosen[place], llama.hidden(TOKENS))


@torch.no_grad()
def test_the_base_is_bare_outside_applied_even_after_a_fault(llama):
    before = llama.hidden(TOKENS)
    bank = tiny.fill(LoraBank(llama.layers, 1, tiny.lora(), seed=0))
    assert torch.equal(llama.hidden(TOKENS), before)
    with bank.applied():
        assert not torch.equal(llama.hidden(TOKENS), before)
    assert torch.equal(llama.hidden(TOKENS), before)
    with pytest.raises(ZeroDivisionError), bank.applied():
        _ = 1 / 0
    assert torch.equal(llama.hidden(TOKENS), before)


@torch.no_grad()
def test_an_untrained_arm_equals_the_base_exactly_also_beside_trained_ones(shared):
    name, base = shared
    bank = LoraBank(base.layers, 3, tiny.lora(name), seed=0)
    assert all(not b.any() for arm in range(3) for _, b in bank.arm_tensors(arm).values())
    rows = TOKENS.repeat(3, 1)
    bare = base.hidden(rows)
    with bank.applied():
        assert torch.equal(base.hidden(rows), bare)
    untrained = {n: (a.clone(), b.clone()) for n, (a, b) in bank.arm_tensors(1).items()}
    tiny.fill(bank).set_arm(1, untrained)
    with bank.applied():
        mixed = base.hidden(rows)
    assert torch.equal(mixed[4:8], bare[4:8])
    assert not torch.isclose(mixed[:4], bare[:4]).all()


def test_all_arms_start_alike_and_a_depends_on_the_seed(llama):
    first, again, other = (LoraBank(llama.layers, 2, tiny.lora(), seed=s) for s in (1, 1, 2))
    for name in first.names:
        a = first.arm_tensors(0)[name][0]
        assert torch.equal(a, first.arm_tensors(1)[name][0])
        assert torch.equal(a, again.arm_tensors(0)[name][0])
        assert not torch.equal(a, other.arm_tensors(0)[name][0])
        bound = a.shape[1] ** -0.5
        assert 0.5 * bound < a.abs().max() <= bound


def test_gradients_stay_in_the_arm_whose_rows_they_come_from(llama):
    bank = tiny.fill(LoraBank(llama.layers, 2, tiny.lora(), seed=0))
    with bank.applied():
        hidden = llama.hidden(TOKENS.repeat(2, 1))
    hidden[4:].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in bank.arm_parameters(1))
    assert all(p.grad is None or not p.grad.any() for p in bank.arm_parameters(0))
    assert all(p.grad is None for p in llama.model.parameters() if not p.requires_grad)
    assert not any(p.requires_grad for p in llama.model.parameters())


def test_targets_the_base_does_not_have_are_named_with_those_it_has(llama):
    with pytest.raises(InputError, match=r"no layer named c_attn; it has down_proj, gate_proj"):
        LoraBank(llama.layers, 1, tiny.lora("gpt2", targets=("c_attn",)), seed=0)


def test_all_linear_layers_of_a_llama_are_the_seven_projections(llama):
    """So studies on a Llama have the same results with either setting."""
    named = LoraBank(llama.layers, 1, tiny.lora(targets=tiny.LORA["llama"]), seed=0)
    every = LoraBank(llama.layers, 1, tiny.lora(targets="all-linear"), seed=0)
    assert every.names == named.names == list(llama.layers)
    for name, (a, _) in every.arm_tensors(0).items():
        assert torch.equal(a, named.arm_tensors(0)[name][0])


def test_the_output_embedding_is_never_adapted(shared):
    _, base = shared
    assert not any("lm_head" in name or "score" in name for name in base.layers)
    assert isinstance(base.model.get_output_embeddings(), nn.Linear)
    wrapped = [m for m in base.model.modules() if isinstance(m, ArmLinear)]
    assert sorted(map(id, wrapped)) == sorted(map(id, base.layers.values()))


def test_set_arm_refuses_another_shape_and_another_layer(llama):
    bank = LoraBank(llama.layers, 1, tiny.lora(), seed=0)
    tensors = dict(bank.arm_tensors(0))
    name = "model.layers.1.self_attn.q_proj"
    a, b = tensors[name]
    with pytest.raises(InputError, match=rf"layer {name}: .* \[4, 16\] does not .* \[4, 32\]"):
        bank.set_arm(0, {**tensors, name: (a[:, :16], b)})
    del tensors[name]
    with pytest.raises(InputError, match=f"layer {name} is in only one"):
        bank.set_arm(0, tensors)

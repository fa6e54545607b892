from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from ethosteer.models.base import SharedBase
from ethosteer.models.fast.packing import Packed
from ethosteer.models.fast.trees import LARGEST_TREE, pack, stack
from ethosteer.models.lora_bank import LoraBank
from tests import tiny

AT = torch.tensor([3, 0, 7, 7, 11])


def packed(base: SharedBase) -> Packed:
    rows = [(5, 6, 7, 8, 9, 10), (5, 6, 7, 11, 12), (30, 31, 32, 33)]
    return stack(pack(rows, base.knee, LARGEST_TREE), base.device, base.model.dtype)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_states_and_gradients_where_they_are_read_are_those_of_the_whole_pass(name, tiny_bases):
    base = tiny_bases[name]
    bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(name), seed=0))
    found = []
    for own in (base, replace(base, narrows=False)):
        with bank.applied([0]):
            states = own.hidden_packed(packed(base), AT)
        assert states.shape == (1, 5, base.hidden_size)
        gradients = torch.autograd.grad(states.sin().sum(), bank.arm_parameters(0))
        found.append([states, *gradients])
    for narrow, whole in zip(*found, strict=True):
        tiny.close(narrow, whole)


@torch.no_grad()
def test_llamas_last_mlp_runs_where_it_is_read_alone_and_gpt2s_everywhere(tiny_bases):
    assert tiny_bases["llama"].narrows and not tiny_bases["gpt2"].narrows
    base = tiny_bases["llama"]
    seen: list[int] = []
    layers = base.model.get_decoder().layers
    hooks = [
        layer.mlp.register_forward_hook(lambda _m, _i, out: seen.append(out.shape[1]))
        for layer in layers
    ]
    base.hidden_packed(packed(base), AT)
    base.hidden_packed(packed(base))
    for hook in hooks:
        hook.remove()
    count = packed(base).tokens.shape[1]
    assert seen == [count] * (len(layers) - 1) + [5] + [count] * len(layers)


@torch.no_grad()
def test_a_copy_of_a_model_runs_its_own_last_layer(llama):
    copy = replace(llama, model=deepcopy(llama.model))
    copy.model.get_decoder().layers[-1].mlp.down_proj.layer.weight.mul_(3)
    whole = copy.hidden_packed(packed(llama))[:, AT]
    tiny.close(copy.hidden_packed(packed(llama), AT), whole)
    assert not torch.allclose(llama.hidden_packed(packed(llama), AT), whole)

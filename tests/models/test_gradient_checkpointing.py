"""Layers that run again in the backward pass give the gradients of layers that keep everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from ethosteer.errors import InputError
from ethosteer.models.adapters import save_adapter, with_fine_tuning
from ethosteer.models.base import SharedBase
from ethosteer.models.gradient_checkpointing import checkpoint_gradients
from ethosteer.models.loading import load_base, share
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import accumulate_nll
from ethosteer.models.reward_training import RewardTraining
from ethosteer.settings import BaseSettings, LoraSettings, RewardSettings
from tests import tiny

Gradients = tuple[float, list[Tensor]]


def lora() -> LoraSettings:
    return tiny.lora(targets="all-linear", dropout=0.3)


def taken(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    gradients = [p.grad.clone() for p in parameters if p.grad is not None]
    assert gradients
    return gradients


def of_finetuning(base: SharedBase) -> Gradients:
    bank = tiny.fill(LoraBank(base.layers, 1, lora(), seed=0))
    with bank.applied():
        loss = accumulate_nll(base, tiny.whole_rows(tiny.ragged(6, 5, 14)), 40, dropout=3)
    return loss, taken(bank.arm_parameters(0))


def of_a_reward_model(base: SharedBase) -> Gradients:
    settings = RewardSettings(batch=6, lora=lora(), tokens_per_batch=60)
    training = RewardTraining(base, [tiny.random_pairs(6, seed=1)], settings, seed=0)
    tiny.fill(training.bank)
    loss = training._accumulate(0, training.pairs[0], 5, training.token_budget)
    return loss, taken(training.optimisers[0].parameters)


def steered(base: SharedBase, algorithm: str) -> Gradients:
    """Return the loss of an arm's first step, and the gradients of its first update."""
    run = tiny.steering(algorithm, base, lora=lora(), tokens_per_batch=50)
    tiny.fill(run.task.policies, scale=0.05)
    optimiser = run.optimisers[1]
    found: list[Tensor] = []

    def step() -> bool:
        found.extend(found or taken(optimiser.parameters))
        optimiser.adamw.zero_grad()
        return True

    run.optimisers[1] = replace_step(optimiser, step)
    loss = run.learner.learn(1, run.learner.observe(1))[1].loss
    return loss, found


def replace_step(optimiser: Any, step: Callable[[], bool]) -> Any:
    class Watched:
        parameters, adamw = optimiser.parameters, optimiser.adamw

    Watched.step = staticmethod(step)  # type: ignore[attr-defined]
    return Watched


LOSSES: dict[str, Callable[[SharedBase], Gradients]] = {
    "fine-tuning": of_finetuning,
    "reward": of_a_reward_model,
    "ppo": lambda base: steered(base, "ppo"),
    "dpo": lambda base: steered(base, "dpo"),
}


@pytest.fixture(scope="module")
def checkpointed(tiny_models) -> dict[str, SharedBase]:
    return {
        name: load_base(
            BaseSettings(model=str(tiny_models[name]), device="cpu", gradient_checkpointing=True)
        )
        for name in ("llama", "gpt2")
    }


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_loss_and_gradients_are_those_of_kept_activations(
    name, loss, packed, checkpointed, tiny_bases
):
    again, kept = (
        LOSSES[loss](replace(bases[name], runs_packed=packed))
        for bases in (checkpointed, tiny_bases)
    )
    assert again[0] == pytest.approx(kept[0], rel=1e-6)
    assert len(again[1]) == len(kept[1])
    for found, expected in zip(again[1], kept[1], strict=True):
        assert (found - expected).norm() <= 1e-6 * expected.norm()
        assert expected.any()


def test_fine_tuning_below_an_adapter_is_applied_again(checkpointed, llama, tmp_path):
    bank = tiny.fill(LoraBank(llama.layers, 1, tiny.lora(targets=("o_proj",)), seed=0), seed=7)
    save_adapter(tmp_path, llama, bank, 0)
    raw = of_a_reward_model(llama)
    views = [with_fine_tuning(base, tmp_path) for base in (checkpointed["llama"], llama)]
    again, kept = map(of_a_reward_model, views)
    assert again[0] == pytest.approx(kept[0], rel=1e-6)
    assert abs(kept[0] - raw[0]) > 1e-3 * raw[0]
    for found, expected in zip(again[1], kept[1], strict=True):
        assert (found - expected).norm() <= 1e-6 * expected.norm()


def saved_bytes(base: SharedBase) -> int:
    """Return the bytes of all tensors that a training pass keeps for its backward pass."""
    frozen = {p.untyped_storage().data_ptr() for p in base.model.parameters()}
    sizes: dict[int, int] = {}
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            sizes[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)  # no other tensor may get its address
        return tensor

    bank = tiny.fill(LoraBank(base.layers, 1, lora(), seed=0))
    tokens = torch.tensor(tiny.ragged(8, 60, 60))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), bank.applied():
        base.hidden(tokens).square().sum()
    return sum(sizes.values())


def test_fewer_bytes_are_kept(checkpointed, llama):
    again, kept = saved_bytes(checkpointed["llama"]), saved_bytes(llama)
    # of each of two layers its input, and what follows the last
    state = 8 * 60 * llama.hidden_size * 4
    assert again < 8 * state < kept / 3


@torch.no_grad()
def test_nothing_runs_again_without_gradients(checkpointed, llama):
    tokens = torch.tensor(tiny.ragged(3, 9, 9))
    assert torch.equal(checkpointed["llama"].hidden(tokens), llama.hidden(tokens))


def test_adapters_of_later_passes_do_not_count(checkpointed, llama):
    """A backward pass may begin when other adapters are in use."""
    tokens = torch.tensor(tiny.ragged(3, 9, 9))
    gradients = []
    for base in (checkpointed["llama"], llama):
        banks = [tiny.fill(LoraBank(base.layers, 1, lora(), seed=0), seed=s) for s in (0, 1)]
        with banks[0].applied():
            hidden = base.hidden(tokens)
        with banks[1].applied():
            base.hidden(tokens)
            hidden.square().sum().backward()
        assert all(p.grad is None for p in banks[1].arm_parameters(0))
        gradients.append(taken(banks[0].arm_parameters(0)))
    for found, expected in zip(*gradients, strict=True):
        assert (found - expected).norm() <= 1e-6 * expected.norm()


def test_an_architecture_without_such_layers_is_refused():
    tokenizer = tiny.make_tokenizer("llama")
    model = AutoModelForCausalLM.from_config(tiny.config("llama", tokenizer))
    base = share(model, tokenizer)
    base.model.get_decoder().layers = nn.ModuleList(nn.Sequential() for _ in range(2))
    with pytest.raises(InputError, match=r"gradient_checkpointing: .* run layers of llama models"):
        checkpoint_gradients(base.model)

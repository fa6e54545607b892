"""The fine-tuned base is a view of the raw one: equal to weights that stock PEFT has merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from ethosteer.errors import InputError
from ethosteer.models.adapter_config import check_base_of_adapter
from ethosteer.models.adapters import (
    load_bank,
    save_adapter,
    with_fine_tuning,
)
from ethosteer.models.base import SharedBase
from ethosteer.models.finetuning import finetune
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.loading import load_base
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import accumulate_nll
from ethosteer.models.reward_models import load_rewards, save_reward
from ethosteer.models.stock import load_peft, write_adapter
from ethosteer.settings import BaseSettings, FinetuneSettings, LoraSettings
from tests import tiny

TOKENS = torch.tensor(tiny.ragged(3, 11, 11))
ROWS = tiny.ragged(5, 4, 12, seed=5)
SAMPLING = Sampling(6, 6, ignore_eos=True)

Bases = tuple[SharedBase, SharedBase, SharedBase]


def fine_tuning(name: str) -> LoraSettings:
    """Return another rank, scale and, but for GPT-2, other layers than those of arms."""
    layers = {"llama": ("q_proj", "o_proj", "up_proj"), "qwen2": ("k_proj", "down_proj")}
    targets = layers.get(name, tiny.LORA[name])
    return tiny.lora(name, r=3, alpha=4.5, dropout=0.2, targets=targets)


def store_fine_tuning(base: SharedBase, name: str, folder: Path) -> Path:
    save_adapter(folder, base, tiny.fill(LoraBank(base.layers, 1, fine_tuning(name), seed=0), 3), 0)
    return folder


@pytest.fixture(params=tiny.ARCHITECTURES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bases(
    name: str,
    tiny_bases: dict[str, SharedBase],
    tiny_models: dict[str, Path],
    tmp_path: Path,
) -> Bases:
    """Return the raw base, its fine-tuned view, and a base whose weights stock PEFT has merged."""
    raw = tiny_bases[name]
    folder = store_fine_tuning(raw, name, tmp_path / "finetune" / "adapter")
    model = AutoModelForCausalLM.from_pretrained(tiny_models[name])
    PeftModel.from_pretrained(model, folder).merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(tiny_models[name]).save_pretrained(tmp_path / "merged")
    merged = load_base(BaseSettings(model=str(tmp_path / "merged"), device="cpu"))
    return raw, with_fine_tuning(raw, folder), merged


def arms_on(base: SharedBase, name: str, **changes: object) -> LoraBank:
    return tiny.fill(LoraBank(base.layers, 2, tiny.lora(name, **changes), seed=0))


@torch.no_grad()
def logits(base: SharedBase) -> Tensor:
    return base.logits(base.hidden(TOKENS))


@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_merged_weights(name: str, bases: Bases) -> None:
    raw, view, merged = bases
    assert view.model is raw.model
    tiny.close(view.hidden(TOKENS), merged.hidden(TOKENS))
    tiny.close(logits(view), logits(merged))
    assert (logits(view) - logits(raw)).abs().max() > 0.1, "fine-tuning counts"
    for arm in range(2):
        with arms_on(view, name).applied([arm]):
            found = logits(view)
        with arms_on(merged, name).applied([arm]):
            tiny.close(found, logits(merged), 2e-5)  # the merged weights are rounded once more


def test_rewards_are_those_of_merged_weights(name: str, bases: Bases) -> None:
    _, view, merged = bases
    scores = [
        tiny.rewards(base, [1], targets=tiny.LORA[name]).score(base, 0, ROWS)
        for base in (view, merged)
    ]
    tiny.close(scores[0], scores[1], 2e-5)


def test_gradients_of_arms_are_those_of_merged_weights(name: str, bases: Bases) -> None:
    """Dropout of the arms' adapters included: its masks do not depend on fine-tuning."""
    _, view, merged = bases
    gradients = []
    for base in (view, merged):
        bank = arms_on(base, name, dropout=0.3)
        with bank.applied([1]):
            accumulate_nll(base, tiny.whole_rows(ROWS), 1000, 7, lambda: None)
        assert all(parameter.grad is None for parameter in bank.arm_parameters(0))
        gradients.append([parameter.grad for parameter in bank.arm_parameters(1)])
    for found, expected in zip(*gradients, strict=True):
        assert found is not None and expected is not None
        tiny.close(found, expected, 1e-4)  # gradients sum over all tokens and layers
    assert view.fine_tuning is not None
    for adapter in view.fine_tuning.adapters.values():
        assert not adapter.a.requires_grad and not adapter.b.requires_grad
        assert adapter.a.grad is adapter.b.grad is None
        assert adapter.a.dtype == adapter.b.dtype == torch.float32


def sampled(base: SharedBase, arms: int = 1) -> list[list[int]]:
    return generate(base, ROWS, arms, SAMPLING, torch.Generator().manual_seed(0))


def test_sampled_tokens_are_those_of_merged_weights(name: str, bases: Bases) -> None:
    raw, view, merged = bases
    assert sampled(view) == sampled(merged) != sampled(raw)
    with arms_on(view, name).applied():
        beside = sampled(view, 2)
    with arms_on(merged, name).applied():
        assert beside == sampled(merged, 2)


@torch.no_grad()
def test_views_that_take_turns_or_run_inside_each_other_have_their_numbers(
    name: str, bases: Bases
) -> None:
    raw, view, _ = bases
    expected = {id(base): logits(base) for base in (raw, view)}
    for base in (raw, view, view, raw, raw, view):
        assert torch.equal(logits(base), expected[id(base)])
    answers = sampled(view)

    def observe(*_: object) -> None:
        for base in (view, raw):
            assert torch.equal(logits(base), expected[id(base)])

    noise = torch.Generator().manual_seed(0)
    assert generate(view, ROWS, 1, SAMPLING, noise, observe) == answers
    with pytest.raises(ZeroDivisionError), view.fine_tuned():
        _ = 1 / 0
    assert all(layer.frozen is None for layer in raw.layers.values())
    with arms_on(raw, name).applied([0]):  # the bank belongs to neither view
        assert not torch.allclose(logits(raw), logits(view))


@torch.no_grad()
def test_an_untrained_arm_equals_the_fine_tuned_base_exactly(name: str, bases: Bases) -> None:
    _, view, _ = bases
    rows = TOKENS.repeat(2, 1)
    bare = view.hidden(rows)
    with LoraBank(view.layers, 2, tiny.lora(name), seed=0).applied():
        assert torch.equal(view.hidden(rows), bare)


def test_a_base_in_bfloat16_keeps_fine_tuning_in_float32(
    tiny_models: dict[str, Path], llama: SharedBase, tmp_path: Path
) -> None:
    folder = store_fine_tuning(llama, "llama", tmp_path / "adapter")
    settings = BaseSettings(model=str(tiny_models["llama"]), dtype="bfloat16", device="cpu")
    view = with_fine_tuning(load_base(settings), folder)
    assert view.fine_tuning is not None
    assert {own.a.dtype for own in view.fine_tuning.adapters.values()} == {torch.float32}
    expected = logits(with_fine_tuning(llama, folder))
    found = logits(view)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).norm() < 0.05 * expected.norm()


def test_fine_tuning_starts_from_the_raw_base_though_a_view_exists(
    llama: SharedBase, tmp_path: Path
) -> None:
    settings = FinetuneSettings(batch=4, max_steps=2, lora=tiny.lora())
    rows = tiny.whole_rows(ROWS)
    _, before = finetune(llama, rows, settings, tmp_path / "a", tiny.quiet)
    view = with_fine_tuning(llama, store_fine_tuning(llama, "llama", tmp_path / "adapter"))
    logits(view)
    _, after = finetune(llama, rows, settings, tmp_path / "b", tiny.quiet)
    assert after == before


# --- what is stored, and what stock PEFT makes of it


@pytest.fixture
def arm(name: str, bases: Bases, tmp_path: Path) -> Path:
    """Return the folder of an arm's adapter on the fine-tuned base."""
    _, view, _ = bases
    folder = tmp_path / "steer" / "arm"
    save_adapter(folder, view, arms_on(view, name), 1)
    return folder


@torch.no_grad()
def test_an_arm_is_its_own_adapter_and_states_that_of_fine_tuning_as_its_base(
    name: str, bases: Bases, arm: Path, tmp_path: Path
) -> None:
    raw, view, _ = bases
    stored = json.loads((arm / "adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == "../../finetune/adapter"
    assert stored["r"] == 4
    with arms_on(view, name).applied([1]):
        expected = logits(view)
    with load_bank(view, {"arm": arm}).applied():
        tiny.close(logits(view), expected)
    # on the raw base the adapter below is stacked under it, beside the base itself
    bank = load_bank(raw, {"base": None, "arm": arm})
    with bank.applied([1]):
        tiny.close(logits(raw), expected)
    with bank.applied([0]):
        assert torch.equal(logits(raw), logits(raw))
    shutil.move(tmp_path / "finetune", tmp_path / "gone")
    with pytest.raises(InputError, match=r"on top of that in \.\./\.\./finetune/adapter, which is"):
        load_bank(raw, {"arm": arm})


@torch.no_grad()
def test_stock_peft_gives_an_arms_logits_on_the_raw_base(
    name: str, bases: Bases, arm: Path, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    _, view, _ = bases
    with arms_on(view, name).applied([1]):
        expected = logits(view)
    out = tmp_path / "out"
    out.mkdir()
    write_adapter(arm, out, "base")
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 7
    assert config["base_model_name_or_path"] == "base"
    stock = AutoModelForCausalLM.from_pretrained(tiny_models[name])
    tiny.close(PeftModel.from_pretrained(stock, out).eval()(TOKENS).logits, expected)
    loaded = load_peft(BaseSettings(model=str(tiny_models[name])), arm)
    tiny.close(loaded(TOKENS).logits, expected)


@torch.no_grad()
def test_stock_peft_gives_a_reward_models_scores_on_the_raw_base(
    name: str, bases: Bases, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    _, view, _ = bases
    rewards = tiny.rewards(view, [2], targets=tiny.LORA[name])
    folder, out = tmp_path / "reward" / "r", tmp_path / "out"
    save_reward(folder, view, rewards.bank, rewards.heads, 0, (1.0, 0.0))
    out.mkdir()
    write_adapter(folder, out, "base", "SEQ_CLS")
    stock: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        tiny_models[name], num_labels=1, pad_token_id=2
    )
    model = PeftModel.from_pretrained(stock, out).eval()
    expected = torch.cat([model(torch.tensor([row])).logits[:, 0] for row in ROWS])
    loaded = load_rewards(view, [folder])
    tiny.close(loaded.score(view, 0, ROWS), expected)


def test_an_adapter_without_one_below_is_written_as_it_is(
    llama: SharedBase, tmp_path: Path
) -> None:
    save_adapter(tmp_path / "a", llama, arms_on(llama, "llama"), 0)
    (tmp_path / "out").mkdir()
    write_adapter(tmp_path / "a", tmp_path / "out", "base")
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "a" / weights).read_bytes()
    before, after = (
        json.loads((tmp_path / folder / "adapter_config.json").read_text())
        for folder in ("a", "out")
    )
    assert after == {**before, "base_model_name_or_path": "base"}


@pytest.fixture
def state(llama: SharedBase, tmp_path: Path) -> Callable[[str, object], Path]:
    """Return a function that stores an adapter which states something as its base."""

    def store(folder: str, base: object) -> Path:
        path = tmp_path / folder
        save_adapter(path, llama, arms_on(llama, "llama"), 0)
        config = path / "adapter_config.json"
        table = json.loads(config.read_text())
        config.write_text(json.dumps({**table, "base_model_name_or_path": base}))
        return path

    return store


def test_the_base_below_both_adapters_is_compared(
    llama: SharedBase, tiny_models: dict[str, Path], state: Callable[[str, object], Path]
) -> None:
    state("below", str(tiny_models["llama"]))
    upper = state("upper", "../below")
    assert check_base_of_adapter(upper, BaseSettings(model=str(tiny_models["llama"]))) is None
    with pytest.raises(InputError, match=r"below/adapter_config.json: .* their weights differ"):
        check_base_of_adapter(upper, BaseSettings(model=str(tiny_models["gpt2"])))


def test_a_base_beside_a_foreign_adapter_is_not_taken_for_fine_tuning(
    llama: SharedBase, state: Callable[[str, object], Path]
) -> None:
    foreign = state("foreign", "../Llama-2-7b-hf")
    note = check_base_of_adapter(foreign, BaseSettings())
    assert note is not None and "cannot be told here" in note
    load_bank(llama, {"x": foreign})


@pytest.mark.parametrize("below", [".", "../upper", "../second"])
def test_one_adapter_may_be_below_another_and_no_more(
    below: str, llama: SharedBase, state: Callable[[str, object], Path]
) -> None:
    state("first", "someone/model")
    state("second", "../first")
    upper = state("upper", below)
    with pytest.raises(InputError, match="is on top of another one itself"):
        load_bank(llama, {"x": upper})


def test_an_adapter_of_other_widths_below_is_refused(
    llama: SharedBase, state: Callable[[str, object], Path]
) -> None:
    from safetensors.torch import load_file, save_file

    lower, upper = state("below", "someone/model"), state("upper", "../below")
    path = lower / "adapter_model.safetensors"
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    name = "model.layers.0.mlp.up_proj"
    tensors[f"base_model.model.{name}.lora_A.weight"] = torch.zeros(4, 64)
    save_file(tensors, path)
    with pytest.raises(InputError, match=rf"upper: layer {name} has other widths in the adapter"):
        load_bank(llama, {"x": upper})

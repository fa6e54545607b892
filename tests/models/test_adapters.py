"""What a study writes is PEFT's own format: stock transformers and peft are the reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from ethosteer.errors import InputError
from ethosteer.models.adapter_config import read_config
from ethosteer.models.adapters import (
    load_bank,
    merge_into_base,
    read_adapter,
    save_adapter,
)
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.reward_models import load_rewards, read_scale, save_reward
from tests import tiny

TOKENS = torch.tensor(tiny.ragged(3, 11, 11))


def stock(folder: Path, adapter: Path) -> torch.Tensor:
    """Return logits of stock transformers + peft."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        out: torch.Tensor = PeftModel.from_pretrained(model, str(adapter)).eval()(TOKENS).logits
    return out


@torch.no_grad()
def ours(base, bank: LoraBank, arm: int) -> torch.Tensor:
    with bank.applied([arm]):
        out: torch.Tensor = base.logits(base.hidden(TOKENS))
    return out


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_stock_peft_gives_the_logits_of_every_arm(name, tiny_models, tiny_bases, tmp_path):
    base = tiny_bases[name]
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(name), seed=0))
    bare = base.logits(base.hidden(TOKENS))
    for arm in range(2):
        save_adapter(tmp_path / str(arm), base, bank, arm)
        expected = stock(tiny_models[name], tmp_path / str(arm))
        assert (expected - bare).abs().max() > 0.1
        tiny.close(ours(base, bank, arm), expected)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_stock_peft_gives_the_scores_of_a_reward_model(name, tiny_models, tiny_bases, tmp_path):
    base = tiny_bases[name]
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(name), seed=0))
    heads = tiny.rewards(tiny_bases["llama"], [0, 1]).heads  # all three are as wide
    rows = tiny.ragged(5, 3, 12)
    folders = [tmp_path / "0", tmp_path / "1"]
    for arm, folder in enumerate(folders):
        save_reward(folder, base, bank, heads, arm, (2.0 + arm, -0.5))
    loaded = load_rewards(base, folders)
    assert [read_scale(folder) for folder in folders] == [(2.0, -0.5), (3.0, -0.5)]
    for arm, folder in enumerate(folders):
        torch.manual_seed(0)  # the fresh head that must be overwritten
        model = AutoModelForSequenceClassification.from_pretrained(tiny_models[name], num_labels=1)
        fresh = model.score.weight.detach().clone()
        peft = PeftModel.from_pretrained(model, str(folder)).eval()
        score = peft.get_parameter("base_model.model.score.modules_to_save.default.weight")
        assert torch.equal(score[0], heads.weights[arm])
        assert not torch.allclose(score, fresh)
        with torch.no_grad():
            raw = torch.cat([peft(torch.tensor([row])).logits[:, 0] for row in rows])
        tiny.close(loaded.score(base, arm, rows), (2.0 + arm) * raw - 0.5)


def test_adapters_of_different_shapes_and_the_base_share_a_bank(tiny_models, llama, tmp_path):
    shapes = {
        "small": tiny.lora(r=2, alpha=16.0, targets=("q_proj", "v_proj")),
        "large": tiny.lora(r=6, alpha=3.0, targets=("down_proj",)),
    }
    for seed, (label, settings) in enumerate(shapes.items()):
        bank = tiny.fill(LoraBank(llama.layers, 1, settings, seed=0), seed)
        save_adapter(tmp_path / label, llama, bank, 0)
    bank = load_bank(
        llama, {"small": tmp_path / "small", "base": None, "large": tmp_path / "large"}
    )
    assert not any(p.requires_grad for p in bank.parameters())
    folder = tiny_models["llama"]
    tiny.close(ours(llama, bank, 0), stock(folder, tmp_path / "small"))
    tiny.close(ours(llama, bank, 2), stock(folder, tmp_path / "large"))
    assert torch.equal(ours(llama, bank, 1), llama.logits(llama.hidden(TOKENS)))


def test_one_adapter_may_fill_several_arms(llama, tmp_path):
    rewards = tiny.rewards(llama, [3])
    save_reward(tmp_path / "r", llama, rewards.bank, rewards.heads, 0, (1.0, 0.0))
    rows = tiny.ragged(2, 4, 6)
    twice = load_rewards(llama, [tmp_path / "r"] * 2)
    assert torch.equal(twice.score(llama, 0, rows), twice.score(llama, 1, rows))


def test_what_is_written_is_read_back(llama, tmp_path):
    bank = tiny.fill(LoraBank(llama.layers, 2, tiny.lora(dropout=0.1), seed=0))
    save_adapter(tmp_path, llama, bank, 1, score=torch.arange(32.0))
    config = read_config(tmp_path, "SEQ_CLS")
    assert (config.r, config.lora_alpha) == (4, 8.0)
    assert set(config.target_modules or ()) == set(tiny.LORA["llama"])
    pairs, score = read_adapter(tmp_path)
    assert score is not None and torch.equal(score, torch.arange(32.0))
    assert pairs.keys() == bank.arm_tensors(1).keys()
    for name, (a, b) in bank.arm_tensors(1).items():
        assert torch.equal(pairs[name][0], a) and torch.equal(pairs[name][1], b)
    stored = json.loads((tmp_path / "adapter_config.json").read_text())
    assert stored["task_type"] == "SEQ_CLS"
    assert stored["modules_to_save"] == ["score"]
    assert stored["lora_dropout"] == 0.1


@pytest.fixture
def stored(llama, tmp_path: Path) -> Path:
    save_adapter(tmp_path / "odd", llama, LoraBank(llama.layers, 1, tiny.lora(), seed=0), 0)
    return tmp_path / "odd"


def change(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    tensors.pop(name, None)
    save_file(tensors if tensor is None else {**tensors, name: tensor}, path)


def test_another_base_is_refused_by_folder_and_layer(llama, tiny_bases, stored):
    name = "model.layers.0.mlp.up_proj"
    change(stored, f"base_model.model.{name}.lora_A.weight", torch.zeros(4, 64))
    with pytest.raises(InputError, match=rf"odd: layer {name}: .*\[4, 64\].*\[4, 32\]"):
        load_bank(llama, {"x": stored})
    with pytest.raises(
        InputError, match=r"odd: .*no linear layer model\..*named c_attn, c_fc, c_proj"
    ):
        load_bank(tiny_bases["gpt2"], {"x": stored})


def test_a_layer_the_base_lacks_is_refused(llama, stored):
    for side, shape in (("A", (4, 32)), ("B", (32, 4))):
        change(stored, f"base_model.model.deep.q_proj.lora_{side}.weight", torch.zeros(shape))
    with pytest.raises(InputError, match=r"odd: .* no linear layer deep\.q_proj"):
        load_bank(llama, {"x": stored})


def test_a_broken_adapter_is_refused(llama, stored):
    change(stored, "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight", None)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: tensor .*lora_B.* missing"):
        load_bank(llama, {"x": stored})
    (stored / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="odd: not a PEFT adapter"):
        load_bank(llama, {"x": stored})


def test_trained_parts_that_no_bank_applies_are_refused_rather_than_left_out(llama, stored):
    change(stored, "base_model.model.lm_head.weight", torch.zeros(300, 32))
    with pytest.raises(InputError, match=r"lm_head\.weight is not of a plain LoRA adapter"):
        load_bank(llama, {"x": stored})


def test_layers_given_as_a_pattern_are_known_from_the_weights(stored, llama):
    before = load_bank(llama, {"x": stored}).arm_tensors(0)
    path = stored / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": ".*_proj"}))
    after = load_bank(llama, {"x": stored}).arm_tensors(0)
    assert before.keys() == after.keys()
    for name, tensors in before.items():
        for old, new in zip(tensors, after[name], strict=True):
            torch.testing.assert_close(old, new, rtol=0, atol=0)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_merging_equals_base_and_adapter(name, tiny_models, tiny_bases, tmp_path):
    base = tiny_bases[name]
    bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(name), seed=0))
    save_adapter(tmp_path / "a", base, bank, 0)
    merge_into_base(str(tiny_models[name]), None, tmp_path / "a", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        found, expected = merged(TOKENS).logits, ours(base, bank, 0)
    # Beside the sums in another order (see tiny.close) each merged weight is rounded once more, by
    # eps / 2 of it at most, which is the size of one more such error: so twice the tolerance.
    tiny.close(found, expected, 2e-5)
    assert (expected - base.logits(base.hidden(TOKENS))).abs().max() > 0.1, "the adapter counts"

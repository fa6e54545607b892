"""What a study writes is PEFT's own format: stock transformers and peft are the reference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    OPTConfig,
    OPTForCausalLM,
    OPTForSequenceClassification,
)

from ethosteer.errors import InputError
from ethosteer.models.adapter_config import check_base_of_adapter, read_config
from ethosteer.models.adapters import (
    load_bank,
    read_adapter,
    save_adapter,
)
from ethosteer.models.loading import load_base
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.reward_models import load_rewards, read_scale, save_reward
from ethosteer.settings import BaseSettings
from tests import tiny
from tests.malformed import complaint

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


def test_a_reward_model_reads_the_last_state_whatever_its_width(tmp_path):
    """OPT-350m projects its last hidden state; stock PEFT's head is as wide as the projection."""
    config = OPTConfig(
        vocab_size=300, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=tiny.MAX_LENGTH, word_embed_proj_dim=16,
    )  # fmt: skip
    tokenizer = tiny.make_tokenizer("llama")
    model = OPTForCausalLM(config)
    tiny.randomise(model, seed=4)
    model.save_pretrained(tmp_path / "opt")
    tokenizer.save_pretrained(tmp_path / "opt")
    base = load_base(BaseSettings(model=str(tmp_path / "opt"), device="cpu"))
    rewards = tiny.rewards(base, [1], targets=("q_proj", "fc2"))
    assert rewards.heads.weights[0].shape == (16,)
    save_reward(tmp_path / "r", base, rewards.bank, rewards.heads, 0, (1.0, 0.0))
    stock = OPTForSequenceClassification.from_pretrained(
        tmp_path / "opt", num_labels=1, pad_token_id=tokenizer.pad_token_id
    )
    peft = PeftModel.from_pretrained(stock, str(tmp_path / "r")).eval()
    rows = tiny.ragged(4, 3, 12)
    with torch.no_grad():
        expected = torch.cat([peft(torch.tensor([row])).logits[:, 0] for row in rows])
    tiny.close(load_rewards(base, [tmp_path / "r"]).score(base, 0, rows), expected)


def test_a_head_of_another_width_is_refused(llama, tmp_path):
    rewards = tiny.rewards(llama, [0])
    save_reward(tmp_path / "r", llama, rewards.bank, rewards.heads, 0, (1.0, 0.0))
    change(tmp_path / "r", "base_model.model.score.weight", torch.zeros(1, 16))
    with pytest.raises(InputError, match=r"has shape \[16\], and .* 32 wide"):
        load_rewards(llama, [tmp_path / "r"])


@pytest.mark.parametrize("content", ["", "[1]", '{"gain": 1}', '{"gain": NaN, "bias": 0}'])
def test_a_damaged_scale_of_a_reward_model_is_refused(content, llama, tmp_path):
    rewards = tiny.rewards(llama, [0])
    save_reward(tmp_path / "r", llama, rewards.bank, rewards.heads, 0, (1.0, 0.0))
    (tmp_path / "r" / "normalisation.json").write_text(content)
    with pytest.raises(InputError, match=r"normalisation\.json: "):
        load_rewards(llama, [tmp_path / "r"])


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


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.full((4, 48), float("nan")), "holds values that are not finite"),
        (torch.full((4, 48), 1e30), "hidden states are not finite numbers"),
        (torch.ones(4, 48, dtype=torch.int64), "not floating-point numbers"),
    ],
)
def test_weights_that_are_no_usable_numbers_are_refused(tensor, expected, llama, stored):
    for side, values in (("A", tensor), ("B", tensor.T[:32].contiguous())):
        name = f"base_model.model.model.layers.0.mlp.down_proj.lora_{side}.weight"
        change(stored, name, values)
    with pytest.raises(InputError, match=rf"odd.*{expected}"):
        load_bank(llama, {"base": None, "x": stored})


def stated_base(folder: Path, name: object) -> Path:
    path = folder / "adapter_config.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "base_model_name_or_path": name}))
    return folder


def test_the_adapter_of_another_base_is_refused_by_name(stored, tiny_models, tmp_path):
    llama, other = tiny_models["llama"], tmp_path / "other"
    settings = BaseSettings(model=str(llama))
    assert check_base_of_adapter(stored, settings) is None
    shutil.copytree(llama, other)
    assert check_base_of_adapter(stated_base(stored, str(other)), settings) is None  # a copy
    tiny.randomise(model := AutoModelForCausalLM.from_pretrained(other), seed=9)
    model.save_pretrained(other)
    with pytest.raises(InputError, match=rf"trained on {other}, not on {llama}: .*--model {other}"):
        check_base_of_adapter(stored, settings)
    shutil.move(other, stored / "base")  # as `ethosteer export` writes it
    with pytest.raises(InputError, match=r"trained on base, .* --model .*odd/base"):
        check_base_of_adapter(stated_base(stored, "base"), settings)


@pytest.mark.parametrize(
    ("stated", "model", "expected"),
    [
        ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf", None),
        ("meta-llama/Llama-2-7b-hf", "mirror/llama-2-7b-hf", None),
        ("meta-llama/Llama-2-7b-hf", "models/Llama-2-7b-hf", None),
        ("meta-llama/Llama-2-7b-hf", "mistralai/Mistral-7B-v0.1", "refused"),
        ("/gone/one", "mistralai/Mistral-7B-v0.1", "cannot be told"),
        ("meta-llama/Llama-2-7b-hf", "pocket", "cannot be told"),
        ("/gone/pocket", "pocket", None),
        (None, "pocket", None),
        ("", "pocket", None),
    ],
)
def test_bases_that_are_not_at_hand_are_compared_by_name(stated, model, expected, stored):
    stated_base(stored, stated)
    if expected == "refused":
        with pytest.raises(InputError, match=rf"trained on {stated}, not on {model}; use --model"):
            check_base_of_adapter(stored, BaseSettings(model=model))
        return
    note = check_base_of_adapter(stored, BaseSettings(model=model))
    assert (note is None) if expected is None else (note is not None and expected in note)


@pytest.mark.parametrize("name", [7, ["a"], "x" * 5000, "a\0b"])
def test_a_base_name_that_is_no_name_ends_in_one_line(name, stored):
    stated_base(stored, name)
    message = complaint(lambda: check_base_of_adapter(stored, BaseSettings(model="pocket")))
    assert message is None or "base_model_name_or_path" in message


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

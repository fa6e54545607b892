from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ethosteer.errors import InputError
from ethosteer.models.base import (
    SharedBase,
    choose_device,
    load_base,
    load_tokenizer,
    model_fingerprint,
    pad_right,
    quiet_libraries,
    share,
)
from ethosteer.models.fast.trees import pack, stack
from ethosteer.models.heads import ScalarHeads
from ethosteer.settings import BaseSettings
from tests import tiny


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_the_shared_base_gives_the_logits_of_the_stock_model(name, tiny_models, tiny_bases):
    stock = AutoModelForCausalLM.from_pretrained(tiny_models[name])
    base = tiny_bases[name]
    tokens = torch.tensor(tiny.ragged(3, 20, 20))
    logits = base.logits(base.hidden(tokens))
    tiny.close(logits, stock(tokens).logits)
    assert logits.std() > 1, "tiny models must tell tokens apart, or no test means anything"
    assert base.hidden_size == 32
    assert base.max_length == tiny.MAX_LENGTH


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_row_does_not_depend_on_its_padding_or_its_batch(name, tiny_bases):
    base = tiny_bases[name]
    rows = tiny.ragged(6, 2, 25)
    tokens, lengths = pad_right(rows, base.device)
    hidden = base.hidden(tokens)
    assert lengths.tolist() == list(map(len, rows))
    for row, own in zip(rows, hidden, strict=True):
        tiny.close(own[: len(row)], base.hidden(torch.tensor([row]))[0])


def test_pad_right_by_hand():
    tokens, lengths = pad_right([[5, 6, 7], [8]], torch.device("cpu"))
    assert tokens[0].tolist() == [5, 6, 7]
    assert int(tokens[1, 0]) == 8
    assert lengths.tolist() == [3, 1]


def test_scalar_heads_by_hand():
    heads = ScalarHeads(2, 2, bias=True)
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    assert not heads(hidden).any(), "a value head starts at zero"
    with torch.no_grad():
        heads.weights[0].copy_(torch.tensor([1.0, 10.0]))
        heads.weights[1].copy_(torch.tensor([2.0, 0.0]))
        heads.biases[1].fill_(0.5)
    assert heads(hidden).tolist() == [[21.0, 43.0], [10.5, 14.5]]
    assert heads(hidden, [1]).tolist() == [[2.5, 6.5], [10.5, 14.5]]
    assert heads(hidden.to(torch.bfloat16)).dtype == torch.float32
    assert heads.arm_parameters(1) == [heads.weights[1], heads.biases[1]]


def test_a_score_head_has_no_bias_and_starts_alike_in_every_arm():
    heads = ScalarHeads(2, 400, bias=False, seed=4)
    assert list(heads.biases) == []
    assert torch.equal(heads.weights[0], heads.weights[1])
    assert 0.2 * 400**-0.5 < heads.weights[0].detach().std() < 0.3 * 400**-0.5


def test_a_base_that_cannot_be_loaded_is_the_users_error(tmp_path, tiny_models):
    with pytest.raises(InputError, match=r"model .*empty: no usable tokenizer"):
        load_tokenizer(BaseSettings(model=str(tmp_path / "empty")))
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_models["llama"].iterdir():
        if path.suffix != ".safetensors":
            (broken / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"model .*broken: cannot be loaded"):
        load_base(BaseSettings(model=str(broken), device="cpu"))


def test_a_fingerprint_follows_content_not_place(tmp_path, tiny_models):
    copies = [tmp_path / "a", tmp_path / "b"]
    for copy in copies:
        copy.mkdir()
        for path in tiny_models["llama"].iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
    first, second = (BaseSettings(model=str(copy)) for copy in copies)
    assert model_fingerprint(first) == model_fingerprint(second)
    assert model_fingerprint(first) != model_fingerprint(
        first.model_copy(update={"dtype": "bfloat16"})
    )
    config = copies[1] / "config.json"
    config.write_text(config.read_text().replace("silu", "gelu"))
    assert model_fingerprint(first) != model_fingerprint(second)


@torch.no_grad()
def test_a_bfloat16_base_carries_fp32_adapters(tiny_models):
    from ethosteer.models.lora_bank import LoraBank

    base = load_base(BaseSettings(model=str(tiny_models["llama"]), dtype="bfloat16", device="cpu"))
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(), seed=0))
    assert {p.dtype for p in bank.parameters()} == {torch.float32}
    with bank.applied():
        assert base.hidden(torch.tensor(tiny.ragged(2, 5, 5))).dtype == torch.bfloat16


def test_devices_are_chosen_or_named():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_pefts_own_deprecated_call_stays_off_the_users_terminal(recwarn):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        quiet_libraries()
        warnings.warn(
            "`is_gradient_checkpointing` is deprecated and ...", FutureWarning, stacklevel=1
        )
        warnings.warn("something else is deprecated", FutureWarning, stacklevel=1)
    assert [str(w.message) for w in recwarn] == ["something else is deprecated"]


def stock(kind: str, **changes: object) -> SharedBase:
    """Share a small model of another architecture, with random weights."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=tiny.MAX_LENGTH,
        pad_token_id=0,
        **changes,
    )
    model = AutoModelForCausalLM.from_config(config)
    tiny.randomise(model, seed=5)
    return share(model, tiny.make_tokenizer("llama"))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gemma2", {"final_logit_softcapping": 3.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 4.0}),
        ("mistral", {"sliding_window": 8}),
    ],
)
def test_logits_are_the_models_own_where_it_scales_or_caps_them(kind, changes):
    base = stock(kind, **changes)
    tokens = torch.tensor(tiny.ragged(3, 12, 12))
    with torch.no_grad():
        tiny.close(base.logits(base.hidden(tokens)), base.model(tokens).logits)
    # Layers that read only the latest tokens take no mask of ours.
    assert base.runs_packed == (kind not in {"gemma2", "mistral"})


def test_a_model_whose_logits_are_made_another_way_is_refused(monkeypatch):
    model = AutoModelForCausalLM.from_config(tiny.config("llama", tiny.make_tokenizer("llama")))
    plain = model.forward

    def shifted(*args, **kwargs):
        out = plain(*args, **kwargs)
        out.logits = out.logits.tanh()
        return out

    monkeypatch.setattr(model, "forward", shifted)
    with pytest.raises(InputError, match="how llama models make their logits"):
        share(model, tiny.make_tokenizer("llama"))


def test_an_architecture_that_keeps_its_own_positions_does_not_run_packed():
    config = AutoConfig.for_model("bloom", vocab_size=300, hidden_size=32, n_layer=2, n_head=4)
    model = AutoModelForCausalLM.from_config(config)
    tiny.randomise(model, seed=1)
    assert not share(model, tiny.make_tokenizer("llama")).runs_packed
    for name in tiny.ARCHITECTURES:
        other = AutoModelForCausalLM.from_config(tiny.config(name, tiny.make_tokenizer(name)))
        tiny.randomise(other, seed=2)
        assert share(other, tiny.make_tokenizer(name)).runs_packed


@torch.no_grad()
def test_autocast_is_coarser_and_near(llama):
    coarse = replace(llama, autocast=True)
    assert llama.is_exact and not coarse.is_exact
    rows = [tuple(range(5, 40)), (*range(5, 20), *range(100, 130))]
    trees = pack(rows, 1e9, 100)
    assert len(trees) == 1 and not trees[0].is_chain, "a tree's mask goes through too"
    packed = stack(trees, llama.device, torch.float32)
    fine, rough = (base.logits(base.hidden_packed(packed)).float() for base in (llama, coarse))
    off = float((fine - rough).norm() / fine.norm())
    assert 1e-5 < off < 5e-2


def test_a_base_in_autocast_is_another_base(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    plain = BaseSettings(model=str(tmp_path))
    assert model_fingerprint(plain) != model_fingerprint(
        plain.model_copy(update={"autocast": True})
    )

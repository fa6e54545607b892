"""Quantised bases: stock transformers, bitsandbytes and PEFT are the reference."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from ethosteer.data.sources import SAMPLE_DIR
from ethosteer.errors import InputError
from ethosteer.models import loading, no_kernels, quantised
from ethosteer.models.adapters import save_adapter
from ethosteer.models.base import SharedBase
from ethosteer.models.loading import load_base, share
from ethosteer.models.lora_bank import LoraBank, features
from ethosteer.models.quantised import FourBitLinear, Int8Linear, check_quantised
from ethosteer.models.stock import load_peft
from ethosteer.settings import BaseSettings
from tests import tiny

bitsandbytes = pytest.importorskip("bitsandbytes")

TOKENS = torch.tensor(tiny.ragged(3, 11, 11))
KINDS = ("nf4", "int8")
STOCK = {
    "nf4": BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    ),
    "int8": BitsAndBytesConfig(load_in_8bit=True),
}


def settings(folder: Path, kind: str | None = None, **changes: Any) -> BaseSettings:
    return BaseSettings.checked(model=str(folder), device="cpu", quantise=kind, **changes)


@pytest.fixture(scope="module")
def wide_models(tmp_path_factory) -> dict[str, Path]:
    """Return models whose rows are whole blocks of 64, which stock layers need on a processor."""
    root = tmp_path_factory.mktemp("wide")
    sizes = {
        "gpt2": {"n_embd": 64, "n_inner": 128},
        "llama": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16},
        "qwen2": {"hidden_size": 64, "intermediate_size": 128},
    }
    for number, (name, changes) in enumerate(sizes.items()):
        tokenizer = tiny.make_tokenizer(name)
        config = tiny.config(name, tokenizer)
        config.update(changes)
        model = AutoModelForCausalLM.from_config(config)
        tiny.randomise(model, seed=number)
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in sizes}


@pytest.fixture(scope="module")
def quantised_base(wide_models) -> Callable[[str, str], SharedBase]:
    bases: dict[tuple[str, str], SharedBase] = {}

    def load(name: str, kind: str) -> SharedBase:
        if (name, kind) not in bases:
            bases[name, kind] = load_base(settings(wide_models[name], kind))
        return bases[name, kind]

    return load


def stock(folder: Path, kind: str) -> PreTrainedModel:
    """Load by transformers alone, in training mode, in which no weights are packed anew."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=STOCK[kind], dtype=torch.float32, device_map={"": "cpu"}
    )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.train()
    return model


def learned(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, parameters))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_stock_peft_on_the_same_quantised_base_agrees(
    name, kind, wide_models, quantised_base, tmp_path
):
    base = quantised_base(name, kind)
    bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(name), seed=0))
    save_adapter(tmp_path / "a", base, bank, 0)
    peft = PeftModel.from_pretrained(
        stock(wide_models[name], kind), str(tmp_path / "a"), is_trainable=True
    )
    expected = peft(TOKENS).logits
    with bank.applied():
        found = base.logits(base.hidden(TOKENS))
    tiny.close(found, expected, 2e-5)  # rows are twice as long as those of other tests
    full = AutoModelForCausalLM.from_pretrained(wide_models[name])(TOKENS).logits
    bare = base.logits(base.hidden(TOKENS))
    assert (bare - full).norm() > 0.01 * full.norm(), "the weights are quantised"

    theirs = {
        key.replace("base_model.model.", "").replace(".default.weight", ""): parameter
        for key, parameter in peft.named_parameters()
        if parameter.requires_grad
    }
    tensors = bank.arm_tensors(0)
    gradients = learned(
        found.log_softmax(-1)[..., 5].mean(), [p for t in tensors.values() for p in t]
    )
    keys = [f"{layer}.lora_{x}" for layer in tensors for x in "AB"]
    assert sorted(keys) == sorted(theirs)
    for own, other in zip(
        gradients,
        learned(expected.log_softmax(-1)[..., 5].mean(), [theirs[key] for key in keys]),
        strict=True,
    ):
        assert other.any()
        assert (own - other).norm() <= 1e-4 * other.norm()


NF4_LEVELS = torch.tensor(
    [-1.0, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
     0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0]
)  # fmt: skip
"""Appendix E of QLoRA (Dettmers et al. 2023)."""


def rounded(weight: Tensor, kind: str) -> Tensor:
    """Quantise a weight by the definition of its kind, without double quantisation."""
    if kind == "int8":
        weight = weight.half().float()  # as bitsandbytes takes it
        largest = weight.abs().amax(dim=1, keepdim=True)
        return (weight * (127 / largest)).round() * (largest / 127)
    blocks = weight.flatten().view(-1, 64)
    scale = blocks.abs().amax(dim=1, keepdim=True)
    nearest = ((blocks / scale).unsqueeze(-1) - NF4_LEVELS).abs().argmin(dim=-1)
    return (NF4_LEVELS[nearest] * scale).view_as(weight)


@pytest.mark.parametrize("shape", [(32, 32), (48, 32), (32, 48), (24, 80), (16, 192)])
def test_weights_of_any_width_are_those_of_the_definition(shape):
    """bitsandbytes 0.50 itself is wrong on processors where a row is no multiple of 64 long."""
    weight = 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layer = bitsandbytes.nn.Linear4bit(*reversed(shape), bias=False, quant_type="nf4")
    layer.weight = bitsandbytes.nn.Params4bit(
        weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=True
    )
    ours = FourBitLinear.of(layer.to("cpu"))
    found, expected = ours.full_weight(torch.float32), rounded(weight, "nf4")
    assert (found - expected).norm() < 0.01 * expected.norm()
    x = torch.randn(3, shape[1], generator=torch.Generator().manual_seed(1), requires_grad=True)
    out = ours(x)
    tiny.close(out, x @ found.T)
    tiny.close(torch.autograd.grad(out.sum(), x)[0], found.sum(0).expand(3, -1))


@pytest.mark.parametrize(("kind", "tolerance"), [("nf4", 0.05), ("int8", 1e-4)])
def test_the_base_is_that_of_explicit_weights_with_its_gradients(
    kind, tolerance, wide_models, quantised_base
):
    """The tolerance of NF4 is that of double quantisation, by a network of two random layers."""
    model = AutoModelForCausalLM.from_pretrained(wide_models["llama"])
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and name != "lm_head":
                module.weight.copy_(rounded(module.weight, kind))
    explicit = share(model, tiny.make_tokenizer("llama"))
    found = []
    for base in (quantised_base("llama", kind), explicit):
        bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(), seed=0))
        with bank.applied():
            hidden = base.hidden(TOKENS)
        gradients = learned(hidden.square().mean(), bank.arm_parameters(0))
        found.append([hidden.detach(), *gradients])
    for own, other in zip(*found, strict=True):
        assert (own - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_take_the_bytes_of_their_kind(kind, tiny_base):
    base = load_base(settings(tiny_base, kind, dtype="bfloat16"))
    assert base.model.dtype == torch.bfloat16
    sizes = [math.prod(features(layer.layer)) for layer in base.layers.values()]
    weights = [layer.layer.get_parameter("weight") for layer in base.layers.values()]
    assert [weight.nbytes for weight in weights] == [
        size / 2 if kind == "nf4" else size for size in sizes
    ]
    assert base.weights == sum(sizes)
    assert base.hidden(torch.tensor([[5, 6, 7]])).dtype == torch.bfloat16


@torch.no_grad()
def test_a_row_does_not_depend_on_the_rows_beside_it(quantised_base):
    """bitsandbytes' own product sets columns apart in which any row of the batch is large."""
    layer = next(iter(quantised_base("llama", "int8").layers.values())).layer
    assert isinstance(layer, Int8Linear)
    noise = torch.Generator().manual_seed(0)
    row = torch.randn(1, 1, layer.in_features, generator=noise)
    large = row.clone()
    large[..., :9] = 50.0
    tiny.close(layer(torch.cat([row, large]))[:1], layer(row))

    plain = bitsandbytes.nn.Linear8bitLt(
        layer.in_features, layer.out_features, bias=False, has_fp16_weights=False, threshold=6.0
    )
    plain.weight = bitsandbytes.nn.Int8Params(
        layer.full_weight(torch.float32), requires_grad=False, has_fp16_weights=False
    )
    plain = plain.to("cpu").eval()
    found, alone = plain(torch.cat([row, large]))[:1], plain(row)
    assert (found - alone).norm() > 1e-3 * alone.norm()


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_arms_and_packed_rows_equal_arms_and_rows_alone(kind, quantised_base):
    base = quantised_base("llama", kind)
    assert base.runs_packed and base.is_exact
    bank = tiny.fill(LoraBank(base.layers, 3, tiny.lora(), seed=0))
    with bank.applied():
        together = base.hidden(TOKENS.repeat(3, 1)).view(3, *TOKENS.shape, -1)
    for arm in range(3):
        with bank.applied([arm]):
            tiny.close(together[arm], base.hidden(TOKENS))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_stored_quantised_are_loaded(kind, wide_models, quantised_base, tmp_path):
    stock(wide_models["llama"], kind).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(wide_models["llama"] / name, tmp_path)
    expected = quantised_base("llama", kind).hidden(TOKENS)
    for asked in (None, kind):
        tiny.close(load_base(settings(tmp_path, asked)).hidden(TOKENS), expected)
    other = next(it for it in KINDS if it != kind)
    with pytest.raises(
        InputError, match=rf"base.quantise = '{other}': .* stored in {kind} already"
    ):
        load_base(settings(tmp_path, other))
    with pytest.raises(InputError, match=f"base.autocast: .* is stored in {kind}"):
        load_base(settings(tmp_path, autocast=True))


def test_activations_have_the_number_format_of_the_base_not_of_the_file(wide_models, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(
        wide_models["llama"],
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float16
        ),
        dtype=torch.bfloat16,
        device_map={"": "cpu"},
    )
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(wide_models["llama"] / name, tmp_path)
    base = load_base(settings(tmp_path))
    layer = next(iter(base.layers.values())).layer
    assert isinstance(layer, FourBitLinear)
    x = torch.randn(2, 3, layer.in_features, generator=torch.Generator().manual_seed(0))
    weight = layer.full_weight(torch.float32)
    assert (weight.bfloat16().float() != weight).any(), "not rounded to what it was stored from"
    tiny.close(layer(x), x @ weight.T)


@pytest.mark.parametrize("kind", KINDS)
def test_stock_peft_loads_the_quantised_base_of_a_study(
    kind, wide_models, quantised_base, tmp_path
):
    base = quantised_base("llama", kind)
    bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(), seed=0))
    save_adapter(tmp_path / "a", base, bank, 0)
    peft = load_peft(settings(wide_models["llama"], kind), tmp_path / "a").train()
    with torch.no_grad(), bank.applied():
        tiny.close(base.logits(base.hidden(TOKENS)), peft(TOKENS).logits)


# --- what cannot be right is one line


@pytest.fixture
def without_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda _: None)


def test_without_the_extra_its_name_is_told_before_weights_are_read(
    without_bitsandbytes, wide_models, tmp_path
):
    for path in wide_models["llama"].iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, tmp_path)
    expected = (
        r"^base\.quantise = 'nf4' needs the package bitsandbytes: "
        r"pip install 'ethosteer\[quantise\]'$"
    )
    with pytest.raises(InputError, match=expected):
        load_base(settings(tmp_path, "nf4"))


def test_a_study_asks_for_the_extra_before_it_begins(
    without_bitsandbytes, tiny_base, call, tmp_path
):
    status, _, stderr = call(
        "run", "demo", "--data-dir", str(SAMPLE_DIR), "--runs-dir", str(tmp_path),
        "--set", f"base.model={tiny_base}", "--set", "base.quantise=int8",
    )  # fmt: skip
    assert status == 2
    assert stderr == (
        "error: base.quantise = 'int8' needs the package bitsandbytes: "
        "pip install 'ethosteer[quantise]'\n"
    )
    assert not list(tmp_path.rglob("*.safetensors"))


def test_autocast_of_quantised_weights_is_refused():
    with pytest.raises(InputError, match=r"autocast is for weights in float32.*'bfloat16'"):
        BaseSettings.checked(autocast=True, quantise="nf4")
    with pytest.raises(InputError, match=r"autocast is for weights in float32"):
        BaseSettings.checked(autocast=True, dtype="float16")


def damaged(folder: Path, to: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    shutil.copytree(folder, to)
    tensors = load_file(to / "model.safetensors")
    change(tensors)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(kind, value, wide_models, tmp_path):
    name = "model.layers.1.mlp.up_proj.weight"

    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[name][3, 4] = value

    folder = damaged(wide_models["llama"], tmp_path / "damaged", spoil)
    with pytest.raises(InputError, match=f"tensor {name} holds values that are not finite"):
        load_base(settings(folder, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_shape_are_refused_by_name(kind, wide_models, tmp_path):
    name = "model.layers.1.mlp.up_proj.weight"

    def shorten(tensors: dict[str, Tensor]) -> None:
        tensors[name] = tensors[name][:32].contiguous()

    folder = damaged(wide_models["llama"], tmp_path / "damaged", shorten)
    expected = rf"of another shape: {name} has shape \[32, 64\] instead of \[128, 64\]"
    with pytest.raises(InputError, match=expected):
        load_base(settings(folder, kind))


def test_a_method_whose_package_is_missing_is_one_line(wide_models, tmp_path):
    shutil.copytree(wide_models["llama"], tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text("utf-8"))
    config["quantization_config"] = {"quant_method": "hqq"}
    (tmp_path / "other" / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(InputError, match=r"^model .*other: cannot be loaded: .*hqq") as fault:
        load_base(settings(tmp_path / "other"))
    assert "\n" not in str(fault.value)
    read = AutoConfig.from_pretrained(tmp_path / "other")
    assert quantised.stored_quantisation(read) == "hqq"
    with pytest.raises(InputError, match=r"'nf4': .* is stored in hqq already"):
        check_quantised(settings(tmp_path / "other", "nf4"), read)


def test_no_kernel_comes_from_the_hub(monkeypatch):
    installed = ModuleType("kernels")
    monkeypatch.setitem(sys.modules, "kernels", installed)
    with no_kernels.hidden("kernels"), pytest.raises(ImportError):
        import_module("kernels")
    assert import_module("kernels") is installed
    monkeypatch.delitem(sys.modules, "kernels")
    with no_kernels.hidden("kernels"), pytest.raises(ImportError):
        import_module("kernels")
    assert "kernels" not in sys.modules


# --- the gradient is tried


@pytest.mark.filterwarnings("ignore:bitsandbytes..gemv_4bit")
def test_layers_that_packed_their_weights_would_be_refused(tmp_path, monkeypatch):
    """As bitsandbytes does in evaluation mode on processors with AVX512-BF16."""
    if not bitsandbytes.functional.has_avx512bf16():
        pytest.skip("this processor packs no weights")
    tokenizer = tiny.make_tokenizer("llama")
    tiny.save_llama(tmp_path, tokenizer, hidden_size=64, intermediate_size=128)
    load_base(settings(tmp_path, "nf4", dtype="bfloat16"))
    monkeypatch.setattr(loading, "prepare_for_training", lambda model: None)
    with pytest.raises(
        InputError, match=r"layer model\.layers\.0\.\S+ \(Linear4bit\) passes on no"
    ):
        load_base(settings(tmp_path, "nf4", dtype="bfloat16"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_backward_pass_is_refused(kind, tiny_base, monkeypatch):
    before = quantised._Product.backward

    def half(ctx, gradient):
        first, *rest = before(ctx, gradient)
        return 0.5 * first, *rest

    monkeypatch.setattr(quantised._Product, "backward", staticmethod(half))
    with pytest.raises(InputError, match="passes on no gradient, or a wrong one"):
        load_base(settings(tiny_base, kind))

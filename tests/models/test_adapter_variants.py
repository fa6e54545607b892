"""Adapters from outside give what stock transformers and PEFT give with them, or are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import EvaConfig, LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.config import KasaConfig, VeloraConfig
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from ethosteer.errors import InputError
from ethosteer.models import adapter_config, adapters
from ethosteer.models.adapters import find_adapter, load_bank, save_adapter
from ethosteer.models.base import SharedBase
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.loading import share
from ethosteer.models.lora_bank import LoraBank
from tests import tiny
from tests.markers import needs_interval_timers

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 6},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "phi": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 16},
    "gpt2": {"n_inner": 48},
}
"""Architectures that differ in names of layers, biases, Conv1D, scales and caps of logits."""
ROWS = tiny.ragged(3, 11, 11)
NEW_TOKENS = 6
ROUNDING = 2e-4
"""Nats. Stock PEFT itself is up to 6e-5 from its float64 results here (Gemma 2, large updates)."""

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{warning}")  # what PEFT says of its own options
    for warning in (
        "lora with eva",
        ".lora_bias=True",
        "Setting .save_embedding_layers",
        "Adapter .default.: ",
    )
]


@dataclass(frozen=True)
class Case:
    """A tiny model in a folder, and the same model as a shared base."""

    folder: Path
    base: SharedBase

    @property
    def layers(self) -> list[str]:
        return list(self.base.layers)

    def stock(self) -> PreTrainedModel:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.folder)
        model.eval()
        return model


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    made: dict[str, Case] = {}
    tokenizer = tiny.make_tokenizer("llama")

    def case(name: str) -> Case:
        if name not in made:
            config = AutoConfig.for_model(
                name,
                vocab_size=len(tokenizer),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=tiny.MAX_LENGTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **({} if name in {"gpt2", "opt"} else {"intermediate_size": 48}),
                **({} if name in {"gpt2", "opt"} else {"num_key_value_heads": 2}),
                **SHAPES[name],
            )
            model = AutoModelForCausalLM.from_config(config)
            tiny.randomise(model, seed=0)
            folder = tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            loaded = AutoModelForCausalLM.from_pretrained(folder)
            made[name] = Case(folder, share(loaded, tokenizer))
        return made[name]

    return case


def make_adapter(case: Case, folder: Path, **settings: Any) -> Path:
    """Save a stock PEFT adapter with random weights, as after training."""
    usual: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": "all-linear",
        "task_type": "CAUSAL_LM",
    }
    if case.layers[0].startswith("transformer.h"):
        usual["fan_in_fan_out"] = True  # GPT-2's Conv1D
    adapted = get_peft_model(case.stock(), LoraConfig(**{**usual, **settings}))
    noise = torch.Generator().manual_seed(1)
    for key, parameter in adapted.named_parameters():
        if "lora_" in key or "modules_to_save" in key or "trainable_tokens" in key:
            parameter.data.normal_(std=0.2, generator=noise)
    adapted.save_pretrained(str(folder))
    return folder


@torch.no_grad()
def stock_results(case: Case, folder: Path) -> tuple[torch.Tensor, list[list[int]]]:
    """Return log-likelihoods ``[rows, tokens, vocabulary]`` and greedy answers of stock PEFT."""
    model = PeftModel.from_pretrained(case.stock(), str(folder)).eval()
    likelihoods = model(torch.tensor(ROWS)).logits.log_softmax(-1)
    answers = []
    for row in ROWS:
        tokens = torch.tensor([row])
        for _ in range(NEW_TOKENS):
            likeliest = model(tokens).logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, likeliest], dim=1)
        answers.append(tokens[0, len(row) :].tolist())
    return likelihoods, answers


@torch.no_grad()
def our_results(case: Case, folder: Path) -> tuple[torch.Tensor, list[list[int]]]:
    sampling = Sampling(NEW_TOKENS, NEW_TOKENS, ignore_eos=True, greedy=True)
    with load_bank(case.base, {"adapter": find_adapter(str(folder))}).applied():
        hidden = case.base.hidden(torch.tensor(ROWS))
        answers = generate(case.base, ROWS, 1, sampling, torch.Generator())
        return case.base.logits(hidden).log_softmax(-1), answers


def same_as_stock(case: Case, folder: Path) -> None:
    expected, expected_answers = stock_results(case, folder)
    bare = case.base.logits(case.base.hidden(torch.tensor(ROWS))).log_softmax(-1)
    assert (expected - bare).abs().max() > 0.1, "the adapter counts"
    log_likelihoods, answers = our_results(case, folder)
    torch.testing.assert_close(log_likelihoods, expected, rtol=0, atol=ROUNDING)
    assert answers == expected_answers


def patterns(case: Case) -> dict[str, Any]:
    """Ranks and alphas by a whole name, by an end of a name, and by a regular expression.

    PEFT sorts the keys when it saves, so that an overlap of patterns has another winner when read.
    """
    first, last = case.layers[0], case.layers[-1].rsplit(".", 1)[-1]
    return {
        "rank_pattern": {r".*\.1\..*": 3, f"^{first}": 2, last: 6},
        "alpha_pattern": {rf".*\.0\.(.*\.)?{last}": 11, first.split(".", 1)[1]: 5},
    }


RUN: dict[str, Callable[[Case], dict[str, Any]]] = {
    "plain": lambda case: {},
    "dropout": lambda case: {"lora_dropout": 0.5},
    "rslora": lambda case: {"use_rslora": True},
    "patterns": patterns,
    "rslora and patterns": lambda case: {"use_rslora": True, **patterns(case)},
    "regular expression": lambda case: {"target_modules": r".*\.1\..*(v_proj|c_attn|fc1|up_proj)"},
    "one layer": lambda case: {
        "target_modules": sorted({name.rsplit(".", 1)[-1] for name in case.layers}),
        "layers_to_transform": [1],
        "layers_pattern": "h" if case.layers[0].startswith("transformer") else "layers",
    },
    "all but some": lambda case: {"exclude_modules": [case.layers[1].rsplit(".", 1)[-1]]},
    "initialised by gaussian": lambda case: {"init_lora_weights": "gaussian"},
    "initialised by eva": lambda case: {"init_lora_weights": "eva", "eva_config": EvaConfig()},
    "initialised by orthogonal": lambda case: {"init_lora_weights": "orthogonal"},
    "initialised by mica": lambda case: {"init_lora_weights": "mica"},
}


@pytest.mark.parametrize("variant", RUN)
@pytest.mark.parametrize("name", SHAPES)
def test_a_variant_gives_what_stock_peft_gives(name, variant, cases, tmp_path):
    case = cases(name)
    same_as_stock(case, make_adapter(case, tmp_path / "a", **RUN[variant](case)))


def test_the_variants_differ(cases, tmp_path):
    """Otherwise a field that is ignored would not show."""
    case = cases("llama")
    likelihoods = [
        stock_results(case, make_adapter(case, tmp_path / name, **RUN[name](case)))[0]
        for name in ("plain", "rslora", "patterns", "rslora and patterns", "one layer")
    ]
    for index, one in enumerate(likelihoods):
        assert all((one - other).abs().max() > 0.1 for other in likelihoods[:index])


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "pissa": ("init_lora_weights", {"init_lora_weights": "pissa"}),
    "pissa, fast": ("init_lora_weights", {"init_lora_weights": "pissa_niter_4"}),
    "olora": ("init_lora_weights", {"init_lora_weights": "olora"}),
    "lora_ga": ("init_lora_weights", {"init_lora_weights": "lora_ga"}),
    "dora": ("use_dora", {"use_dora": True}),
    "lora_bias": ("lora_bias", {"lora_bias": True, "target_modules": ["q_proj"]}),
    "bias of all layers": ("bias", {"bias": "all"}),
    "bias of lora layers": ("bias", {"bias": "lora_only"}),
    "alora": ("alora_invocation_tokens", {"alora_invocation_tokens": [5, 6]}),
    "saved modules": ("modules_to_save", {"modules_to_save": ["lm_head"]}),
    "trained tokens": ("trainable_token_indices", {"trainable_token_indices": [3, 4]}),
    "replicated layers": ("layer_replication", {"layer_replication": [[0, 2], [1, 2]]}),
    "velora": ("velora_config", {"velora_config": VeloraConfig(num_groups=4)}),
    "kasa": ("kasa_config", {"kasa_config": KasaConfig()}),
}


@pytest.mark.parametrize("variant", REFUSED)
def test_a_variant_that_changes_something_else_is_refused_by_name(variant, cases, tmp_path):
    key, settings = REFUSED[variant]
    folder = make_adapter(cases("llama"), tmp_path / "odd", **settings)
    refused(folder, key)


def refused(folder: Path, *words: str, name: str = "adapter_config.json") -> None:
    with pytest.raises(InputError) as fault:
        find_adapter(str(folder))
    message = str(fault.value)
    assert message.startswith(f"{folder / name}: "), message
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.fixture
def plain(cases, tmp_path) -> Path:
    return make_adapter(cases("llama"), tmp_path / "plain")


def change(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


OTHER_FIELDS = sorted({entry.name for entry in fields(LoraConfig)} - adapter_config.ALLOWED)


def test_every_allowed_field_is_one_of_pefts():
    assert {entry.name for entry in fields(LoraConfig)} > adapter_config.ALLOWED


@pytest.mark.parametrize("key", [*OTHER_FIELDS, "a_field_of_a_later_version"])
def test_a_field_that_is_not_known_to_be_harmless_is_refused(key, plain):
    empty: list[Any] = ["none"] if key == "bias" else [None, False, [], {}]
    for unused in empty:
        change(plain, **{key: unused})
        find_adapter(str(plain))
    for value in (True, ["q_proj"], {"x": 1}, "all", 3):
        change(plain, **{key: value})
        refused(plain, f" {key} is ", "only LoRA adapters")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"peft_type": "IA3"}, ("peft_type is 'IA3'",)),
        ({"peft_type": None}, ("peft_type is None",)),
        ({"task_type": "SEQ_CLS"}, ("task_type is 'SEQ_CLS'", "reward model", "CAUSAL_LM")),
        ({"task_type": "SEQ_2_SEQ_LM"}, ("task_type is 'SEQ_2_SEQ_LM'", "CAUSAL_LM")),
        ({"r": None}, ("r: ", "valid integer")),
        ({"r": 0}, ("r: ", "greater than or equal to 1")),
        ({"lora_alpha": "high"}, ("lora_alpha: ", "valid number")),
        ({"rank_pattern": {"q_proj": "two"}}, ("rank_pattern", "valid integer")),
        ({"rank_pattern": {"q_(proj": 2}}, ("rank_pattern", "not a regular expression")),
        ({"alpha_pattern": 3}, ("alpha_pattern", "an object")),
        ({"target_modules": "q_(proj"}, ("target_modules", "not a regular expression")),
        ({"target_modules": ["q_proj"]}, ("target_modules", "do not select layer")),
        ({"init_lora_weights": "corda"}, ("init_lora_weights is 'corda'",)),
        ({"init_lora_weights": "loftq"}, ("init_lora_weights is 'loftq'",)),
        ({"modules_to_save": ["score"]}, ("modules_to_save is ['score']",)),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(values, words, plain):
    change(plain, **values)
    refused(plain, *words)


@needs_interval_timers
@pytest.mark.parametrize(
    "values",
    [{"rank_pattern": {r"([\w.]+)+!": 2}}, {"target_modules": r"([\w.]+)+!"}],
    ids=["rank", "target"],
)
def test_an_expression_that_takes_exponential_time_is_stopped(values, plain, cases, monkeypatch):
    change(plain, **values)
    monkeypatch.setattr(adapters, "EXPRESSION_SECONDS", 0.05)
    refused(plain, "its selection of layers cannot be read", "takes more than 0.05 s")


def test_a_rank_that_is_not_the_tensors_is_refused(plain, cases):
    change(plain, rank_pattern={r".*\.1\..*q_proj": 2})
    with pytest.raises(InputError, match=r"adapter_config\.json: r and rank_pattern .* rank 2.* 4"):
        load_bank(cases("llama").base, {"x": plain})


@pytest.mark.parametrize("key", ["r", "lora_alpha"])
def test_a_missing_key_is_named(key, plain):
    path = plain / "adapter_config.json"
    stored = json.loads(path.read_text())
    del stored[key]
    path.write_text(json.dumps(stored))
    refused(plain, f"{key}: Field required")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize(
    ("content", "words"),
    [(POINTER, "git lfs pull"), (b'{"peft_type": "LORA", ', ""), (b"", ""), (b"\xff\xfe\x00", "")],
)
def test_a_broken_file_is_refused_in_one_line(name, content, words, plain):
    (plain / name).write_bytes(content)
    refused(plain, words, name=name)


def test_a_reward_model_is_not_evaluated_as_a_language_model(cases, tmp_path):
    case = cases("llama")
    model = AutoModelForSequenceClassification.from_pretrained(case.folder, num_labels=1)
    settings = LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"])
    get_peft_model(model, settings).save_pretrained(tmp_path / "r")
    refused(tmp_path / "r", "task_type is 'SEQ_CLS'", "reward model")
    load_bank(case.base, {"r": tmp_path / "r"}, "SEQ_CLS")  # as one, it is read
    change(tmp_path / "r", task_type="CAUSAL_LM", modules_to_save=None)
    with pytest.raises(InputError, match=r"safetensors: tensor .*score\.weight, the head"):
        load_bank(case.base, {"r": tmp_path / "r"})
    path = tmp_path / "r" / "adapter_model.safetensors"
    tensors = {key: value for key, value in load_file(path).items() if "score" not in key}
    save_file(tensors, path)
    change(tmp_path / "r", task_type="SEQ_CLS")
    with pytest.raises(InputError, match="head of a reward model, is missing"):
        load_bank(case.base, {"r": tmp_path / "r"}, "SEQ_CLS")


def test_an_adapter_of_the_output_embedding_is_refused(cases, tmp_path):
    case = cases("llama")
    folder = make_adapter(case, tmp_path / "head", target_modules=["q_proj", "lm_head"])
    refused(folder, "lm_head", name="adapter_model.safetensors")  # PEFT saves its weight too
    path = folder / "adapter_model.safetensors"
    save_file({key: value for key, value in load_file(path).items() if "lora_" in key}, path)
    with pytest.raises(InputError, match="no linear layer lm_head in its decoder"):
        load_bank(case.base, {"x": folder})


def test_adapters_of_any_variant_share_a_bank(cases, tmp_path):
    case = cases("gpt2")
    names = ("plain", "rslora and patterns", "one layer")
    folders = {name: make_adapter(case, tmp_path / name, **RUN[name](case)) for name in names}
    bank = load_bank(case.base, {"base": None, **folders})
    for arm, name in enumerate(names, start=1):
        with torch.no_grad(), bank.applied([arm]):
            logits = case.base.logits(case.base.hidden(torch.tensor(ROWS)))
        expected, _ = stock_results(case, folders[name])
        torch.testing.assert_close(logits.log_softmax(-1), expected, rtol=0, atol=ROUNDING)


# --- what a study trains and exports


@pytest.mark.parametrize("name", SHAPES)
def test_all_linear_is_what_peft_selects_and_its_export_loads_in_stock_peft(name, cases, tmp_path):
    case = cases(name)
    everywhere = LoraConfig(target_modules="all-linear", fan_in_fan_out=name == "gpt2")
    adapted = get_peft_model(case.stock(), everywhere)
    selected = [
        key.removeprefix("base_model.model.")
        for key, module in adapted.named_modules()
        if hasattr(module, "lora_A")
    ]
    settings = tiny.lora(targets="all-linear")
    bank = tiny.fill(LoraBank(case.base.layers, 1, settings, seed=0))
    assert sorted(bank.names) == sorted(selected)
    save_adapter(tmp_path / "a", case.base, bank, 0)
    stored = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert set(stored["target_modules"]) == {key.rsplit(".", 1)[-1] for key in selected}
    same_as_stock(case, tmp_path / "a")


def test_a_target_is_a_name_or_its_end_as_in_peft(cases, tmp_path):
    case = cases("gpt2")
    settings = tiny.lora(targets=("mlp.c_proj", "transformer.h.0.attn.c_attn"))
    bank = tiny.fill(LoraBank(case.base.layers, 1, settings, seed=0))
    expected = ["h.0.attn.c_attn", "h.0.mlp.c_proj", "h.1.mlp.c_proj"]
    assert bank.names == [f"transformer.{name}" for name in expected]
    save_adapter(tmp_path / "a", case.base, bank, 0)
    same_as_stock(case, tmp_path / "a")


def test_a_folder_whose_path_has_an_equals_sign(call, cases, plain, tmp_path):
    folder = tmp_path / "lr=1e-4" / "final"
    shutil.copytree(plain, folder)
    status, shown, _ = call(
        "evaluate", "--model", str(cases("llama").folder), "--adapter", str(folder),
        "--adapter", f"other={folder}", "--sample", "--benchmarks", "toxigen", "--limit", "3",
    )  # fmt: skip
    assert status == 0
    assert "final" in shown and "other" in shown

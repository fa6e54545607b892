"""What a study asks of its base is checked before any work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.models.requirements import check_base, check_lengths, positions
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings, StudySettings
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests.tiny_study import OVERRIDES


def study(base: Path, *changes: str) -> StudySettings:
    return load_study("demo", [f"base.model={base}", *OVERRIDES, *changes])


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_base, tmp_path / "base")
    return tmp_path / "base"


def change(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_base_that_does_what_the_study_asks(tiny_base):
    check_base(study(tiny_base), {"toxigen": 0, "scruples_three": 16})


def test_an_engine_is_refused_where_several_processes_share_a_base(tiny_base, torchrun):
    settings = study(
        tiny_base, "rollout={engine='vllm', version='0.32.0', url='http://127.0.0.1:1'}"
    )
    check_base(settings, {})
    torchrun(2, 0)
    check_base(study(tiny_base), {})
    with pytest.raises(InputError, match=r"rollout\.engine = 'vllm': .* shared by 2"):
        check_base(settings, {})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["data.max_tokens=257"], r"data\.max_tokens = 257: longer than the 256 positions"),
        (
            ["data.max_prompt_tokens=200", "steer.max_new_tokens=56"],
            r"data\.max_prompt_tokens = 200 and steer\.max_new_tokens = 56 .* 256 positions",
        ),
        (["reward.lora.targets=['q_proj', 'c_attn']"], r"reward\.lora\.targets: .*named c_attn;"),
        (["steer.lora.targets=['c_attn']"], r"steer\.lora\.targets: .*named c_attn;"),
        (["base.device='cdua'"], r"device 'cdua' .*: not usable here"),
        (["base.device='meta'"], r"device 'meta' .*: not usable here"),
    ],
)
def test_what_is_refused_by_its_setting(changes, expected, tiny_base):
    with pytest.raises(InputError, match=expected):
        check_base(study(tiny_base, *changes), {})


def test_lengths_up_to_the_limit_are_accepted():
    settings = load_study(
        "demo", ["data.max_tokens=64", "data.max_prompt_tokens=31", "steer.max_new_tokens=32"]
    )
    check_lengths(settings, {"free": 63}, 64)
    check_lengths(settings, {"free": 10**6}, None)
    with pytest.raises(InputError, match=r"benchmarks\.free: answers of 64 tokens leave no room"):
        check_lengths(settings, {"free": 64}, 64)
    with pytest.raises(InputError, match=r"data\.max_tokens = 64: longer than the 63 positions"):
        check_lengths(settings, {}, 63)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("gpt2", {"n_positions": 77}, 77),
        ("llama", {"max_position_embeddings": 88}, 88),
        ("bloom", {}, None),
    ],
)
def test_positions_are_those_of_the_config(kind, values, expected):
    assert positions(BaseSettings(), AutoConfig.for_model(kind, **values)) == expected


@pytest.mark.parametrize(
    ("file", "values", "expected"),
    [
        ("config.json", {"max_position_embeddings": -1}, "max_position_embeddings"),
        ("config.json", {"model_type": "t5"}, "no causal language model"),
        ("config.json", {"model_type": "nothing"}, "config.json cannot be read"),
        ("config.json", {"vocab_size": 100}, "embeddings have 100 rows"),
        ("generation_config.json", {"eos_token_id": "end"}, "eos_token_id .* is 'end'"),
        ("generation_config.json", {"eos_token_id": 10**6}, "has id 1000000, but"),
        ("tokenizer_config.json", {"eos_token": None}, "no EOS token"),
    ],
)
def test_what_is_refused_by_its_file(file, values, expected, copy):
    change(copy, file, **values)
    with pytest.raises(InputError, match=expected):
        check_base(study(copy), {})


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for %}", r"not valid Jinja, line 1: "),
        ("{{ 1 / 0 }}", r"refuses a dialogue: ZeroDivisionError"),
        ("always the same", "leaves out what a turn says"),
        ("", "has no chat template"),
    ],
)
def test_a_chat_template_that_cannot_write_dialogues(template, expected, copy):
    (copy / "chat_template.jinja").write_text(template)
    check_base(study(copy), {})  # of no matter without it
    with pytest.raises(InputError, match=expected):
        check_base(study(copy, "data.template='chat'"), {})


def test_nothing_is_trained_before_a_base_is_refused(tiny_base, tmp_path):
    settings = study(tiny_base, "data.max_tokens=257")
    run = Study(settings, tmp_path, Origin("sample"), Terminal(quiet=True))
    with pytest.raises(InputError, match=r"data\.max_tokens = 257"):
        run.run()
    assert not list((run.folder / "artifacts").glob("*/*"))

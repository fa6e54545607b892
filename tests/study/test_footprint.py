from __future__ import annotations

import pytest

from ethosteer.models.fast import budget
from ethosteer.settings import ModelShape
from ethosteer.study.footprint import adapter_parameters, base_parameters, memory, stage_disk
from ethosteer.study.load import load_study
from ethosteer.study.text_sizes import Texts

SHAPE = ModelShape(hidden=4, layers=3, intermediate=10, vocabulary=50)


def test_parameters_by_hand():
    # a layer: 4 * 4^2 of attention and 3 * 4 * 10 of the MLP; embeddings of 50 * 4, twice
    assert base_parameters(SHAPE) == 3 * (64 + 120) + 2 * 200
    assert base_parameters(SHAPE.model_copy(update={"tied": True})) == 3 * (64 + 120) + 200
    lora = load_study("demo").steer.lora.model_copy(
        update={"r": 2, "targets": ("q_proj", "up_proj")}
    )
    assert adapter_parameters(SHAPE, lora) == 3 * 2 * ((4 + 4) + (4 + 10))
    everywhere = lora.model_copy(update={"targets": "all-linear"})
    assert adapter_parameters(SHAPE, everywhere) == 3 * 2 * (4 * (4 + 4) + 3 * (4 + 10))


def test_a_processor_keeps_two_further_layouts_of_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_study("demo")
    parts = memory(settings, SHAPE, on_gpu=False)
    assert parts["frozen base, once"] == 4 * base_parameters(SHAPE)
    assert parts["further layouts of it"] == 2 * 4 * base_parameters(SHAPE)
    on_gpu = memory(settings, SHAPE, on_gpu=True)
    assert "further layouts of it" not in on_gpu
    # scores: 3 layers, 4 / 64 heads, passes of 1,024 tokens in rows of the longest, blocks of 192
    longest = settings.data.max_prompt_tokens + settings.steer.max_new_tokens
    (name,) = (part for part in parts if part.startswith("one training pass"))
    assert parts[name] - on_gpu[name] == 3 * 4 / 64 * 1024 * (longest + min(longest, 192)) / 2 * 4
    monkeypatch.setattr(budget, "machine_memory", lambda: 1)
    assert "further layouts of it" not in memory(settings, SHAPE, on_gpu=False)


def test_what_fine_tuning_stores_is_an_adapter() -> None:
    settings, texts = load_study("demo"), Texts({}, 1.0, 1.0)
    expected = 4 * adapter_parameters(SHAPE, settings.finetune.lora)
    assert stage_disk(settings, SHAPE, texts)["finetune"] == expected
    disabled = load_study("demo", ["finetune.enabled=false", "compare.control='base'"])
    assert stage_disk(disabled, SHAPE, texts)["finetune"] == 0

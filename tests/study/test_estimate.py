from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ethosteer.data.sources import Origin
from ethosteer.study.estimate import StudyEstimate, estimate
from ethosteer.study.load import load_study
from ethosteer.study.remedies import changed


def test_an_estimate_holds_together():
    plan = estimate(load_study("demo"), Origin("sample"))
    assert [stage.stage for stage in plan.stages] == [
        "curate", "finetune", "reward", "steer", "cross", "evaluate", "compare",
    ]  # fmt: skip
    assert all(
        work.bytes >= work.least > 0 for stage in plan.memory for work in stage.work.values()
    )
    assert plan.fits and plan.remedies == () and plan.capacity > plan.largest.peak
    for stage in plan.stages:
        assert (stage.flop > 0) == (stage.seconds > 0) == (stage.stage not in {"curate", "compare"})
    assert plan.notes == ()


def test_a_server_without_the_memory_for_the_base_is_noted():
    served = ("rollout.engine=vllm", "rollout.version=0.32.0", "rollout.python=p")

    def notes(*overrides: str) -> list[str]:
        plan = estimate(load_study("llama2-13b", overrides), Origin("hub"), "h100-80")
        return [note for note in plan.notes if "vLLM" in note]

    (note,) = notes(*served)
    assert note.startswith("rollout.memory gives vLLM's server 24 GB, and the base alone takes 26")
    assert notes(*served, "rollout.memory=0.4") == notes() == []


LLAMA = {
    "model_type": "llama", "hidden_size": 5120, "num_hidden_layers": 40, "vocab_size": 32000,
    "intermediate_size": 13824, "num_attention_heads": 40, "tie_word_embeddings": False,
}  # fmt: skip
BASE = "frozen base, once"
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


def stored(
    folder: Path, quantisation: dict[str, object] | None, *overrides: str, on: str
) -> StudyEstimate:
    """Plan llama2-13b for a folder that states how its weights are quantised."""
    config = LLAMA | ({"quantization_config": quantisation} if quantisation else {})
    (folder / "config.json").write_text(json.dumps(config))
    settings = load_study("llama2-13b", [f"base.model={folder}", *overrides])
    # the study states the shape of a base that is not at hand
    return estimate(changed(settings, {"base.shape": None}), Origin("hub"), on)


def test_a_folder_that_is_stored_quantised_is_planned_as_quantised(tmp_path):
    as_set = stored(tmp_path, None, "base.quantise=nf4", on="rtx4090-24")
    as_stored = stored(tmp_path, NF4, on="rtx4090-24")
    full = stored(tmp_path, None, on="rtx4090-24")
    assert [stage.held for stage in as_stored.memory] == [stage.held for stage in as_set.memory]
    assert (as_stored.seconds, as_stored.notes) == (as_set.seconds, as_set.notes)
    assert as_stored.largest.held[BASE] < 0.35 * full.largest.held[BASE]
    assert any("quantise" in remedy for remedy in full.remedies)
    int8 = stored(tmp_path, {"load_in_8bit": True}, on="rtx3090-24")
    assert not any("quantise" in remedy for remedy in int8.remedies)


def test_what_a_plan_cannot_count_of_quantised_weights_is_noted(tmp_path):
    unknown = stored(tmp_path, {"quant_method": "gptq", "bits": 4}, on="h100-80")
    full = stored(tmp_path, None, on="h100-80")
    assert unknown.largest.held == full.largest.held
    assert "memory is that of full weights, since weights in gptq are of unknown size" in (
        unknown.notes
    )
    here = estimate(load_study("demo", ["base.quantise=int8"]), Origin("sample"))
    assert here.notes == ("unpacking quantised weights takes time that is not counted",)


def test_gradient_checkpointing_takes_longer_on_this_machine_too():
    plain, again = (
        estimate(load_study("demo", [f"base.gradient_checkpointing={on}"]), Origin("sample"))
        for on in ("false", "true")
    )
    work = {stage.stage: stage.flop for stage in plain.stages}
    for stage in again.stages:
        expected = {"finetune": 1.5, "evaluate": 1.0, "cross": 1.0, "curate": 1.0, "compare": 1.0}
        if stage.stage in expected:
            assert stage.flop == pytest.approx(expected[stage.stage] * work[stage.stage])
        else:
            assert work[stage.stage] < stage.flop < 1.5 * work[stage.stage]


def test_a_device_that_is_none_is_one_line(call):
    status, _, err = call("plan", "demo", "--set", "base.device=abacus")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("error: device 'abacus' (base.device")


def test_a_study_is_planned_without_torch():
    code = (
        "import sys; from ethosteer.data.sources import Origin; "
        "from ethosteer.study.estimate import estimate; "
        "from ethosteer.study.load import load_study; "
        "estimate(load_study('demo', ['base.device=cpu']), Origin('sample')); "
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    planned = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert planned.stdout.strip() == "[]"

from __future__ import annotations

import subprocess
import sys

from ethosteer.data.sources import Origin
from ethosteer.study.estimate import estimate
from ethosteer.study.load import load_study


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

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ethosteer.cli.studies import resuming
from ethosteer.cli.workers import Executor


def test_plan_needs_neither_weights_nor_data(call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = call("plan", "llama2-13b")
    assert status == 0
    assert "26.0" in out  # 13.0 billion parameters in bf16: hand count 13,015,449,600 * 2 bytes


def test_plan_on_a_named_gpu_says_whether_it_fits(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    status, out, _ = call("plan", "llama2-13b", "--on", "h100-80", "--price", "2.5")
    assert status == 0
    assert "llama2-13b on h100-80 (NVIDIA H100 SXM)" in out
    assert "at 2.5 an hour" in out
    assert "fits in 80 GB of memory" in out
    status, out, _ = call("plan", "llama2-13b", "--on", "rtx4090-24")
    assert status == 0
    assert "does not fit in 24 GB of memory" in out
    assert "--set base.quantise=nf4" in out


def test_a_run_of_workers_is_resumed_by_workers() -> None:
    folder = Path("my runs/mine")
    assert resuming(folder, None, Executor.local) == "ethosteer run 'my runs/mine'"
    assert resuming(folder, 2, Executor.ray).endswith("mine' --executor ray --workers 2")


def test_plan_states_small_costs_and_whose_shape_it_counts(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    _, out, _ = call("plan", "demo", "--on", "h100-80", "--price", "2.5")
    assert ", 0 at" not in out and ", 0.00" in out
    _, out, _ = call("plan", "demo", "--set", "base.dtype=float32")
    assert out.splitlines()[-1].strip(), "no empty line where nothing is noted"
    _, out, _ = call("plan", "llama2-13b", "--on", "h100-80", "--set", "base.model=other/30b")
    assert "the base is as base.shape says: 13.0 billion weights" in " ".join(out.split())


def test_plan_on_a_named_gpu_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ethosteer.cli.app import main\n"
        "sys.argv = ['ethosteer', 'plan', 'qwen3-8b', '--on', 'h200-141']\n"
        "try:\n    main()\nfinally:\n    print({'torch', 'transformers'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout.split()[-1] == "set()"

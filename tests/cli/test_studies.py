from __future__ import annotations

from collections.abc import Callable


def test_plan_needs_neither_weights_nor_data(call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = call("plan", "llama2-13b")
    assert status == 0
    assert "26.0" in out  # 13.0 billion parameters in bf16: hand count 13,015,449,600 * 2 bytes

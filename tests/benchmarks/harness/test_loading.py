"""Without lm-evaluation-harness its tasks are refused with what to install."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from ethosteer.benchmarks.harness import loading


def test_without_the_harness_the_extra_is_named(call, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(loading, "version", missing)
    status, out, err = call("evaluate", "--benchmarks", "lm-eval:arc_easy")
    assert (status, out) == (2, "")
    assert err == (
        "error: benchmarks called lm-eval:TASK need lm-evaluation-harness: "
        "pip install 'ethosteer[lm-eval]'\n"
    )

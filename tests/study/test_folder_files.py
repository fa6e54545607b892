"""A moved run whose files, an arm's and a benchmark's, are gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import ethosteer
from tests.tiny_study import OVERRIDES

STUDY = """
name = "mine"
question = "Does my file steer?"
base = {{ model = {base} }}
data = {{ origin = "sample", conversations = "sample", max_tokens = 256 }}
[arms]
careful = {{ file = "careful.jsonl", max_pairs = 24 }}
[benchmarks]
preferences = {{}}
sums = {{ file = "sums.jsonl" }}
liked = {{ file = "liked.jsonl" }}
"""
KEPT = [change for change in OVERRIDES if not change.startswith(("arms=", "benchmarks=", "seeds="))]


def pairs(start: int, count: int) -> str:
    return "".join(
        json.dumps(
            {"prompt": f"May I {i}?", "chosen": f"Ask {i} first.", "rejected": f"Just do {i}!"}
        )
        + "\n"
        for i in range(start, start + count)
    )


def test_stored_work_needs_no_file(
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., tuple[int, str, str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    sums = (
        {"question": f"{i} + 1", "choices": [str(i + 1), str(i)], "answer": 0} for i in range(8)
    )
    files = {
        "mine.toml": STUDY.format(base=json.dumps(str(tiny_base))),
        "careful.jsonl": pairs(0, 200),
        "liked.jsonl": pairs(500, 8),
        "sums.jsonl": "".join(json.dumps(row) + "\n" for row in sums),
    }
    for name, text in files.items():
        Path(name).write_text(text, "utf-8")
    ethosteer.run("mine.toml", overrides=KEPT, quiet=True)
    Path("runs/mine").rename("kept")
    for name in files:
        Path(name).unlink()
    assert "nothing is missing" in call("status", "kept")[1]
    assert "careful" in call("chat", "kept", "--prompt", "May I?")[1]
    assert call("export", "kept", "careful", "out")[0] == 0
    assert call("report", "kept")[0] == 0
    run = ethosteer.open_run("kept")
    assert set(run.items["benchmark"]) == {"preferences:careful", "sums", "liked"}
    assert set(run.pairs["dataset"]) == {"careful"}
    status, _, error = call("run", "kept")
    assert (status, error.count("\n")) == (2, 1)
    assert "no such file" in error

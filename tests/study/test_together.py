"""A whole study in two processes: what comes out is what one process makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ethosteer.data.sources import Origin
from ethosteer.progress import Terminal
from ethosteer.study.load import load_study
from ethosteer.study.run import FILES, Study
from tests.tiny_study import ALGORITHMS

ROOT = Path(__file__).parents[2]
CHANGES = (*ALGORITHMS, "steer.steps=2", "evaluate.tokens_per_batch=400")
OF_THE_RUN = ("provenance", "times")
"""What differs between two runs of one study."""


@pytest.fixture(scope="module")
def alone(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return the study as one process runs it."""
    settings = load_study("demo", [f"base.model={tiny_base}", *CHANGES])
    runs = tmp_path_factory.mktemp("runs") / "one"
    study = Study(settings, runs, Origin("sample"), Terminal(quiet=True))
    assert study.run()
    return study


@pytest.fixture(scope="module")
def started(alone: Study) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Run it in two processes, which find a damaged artifact; return its folder, and what it said.

    The damage is seen when both load the pairs, and the main one makes them again.
    """
    folder = alone.folder.parent.parent / "two" / "demo"
    shutil.copytree(alone.folder / "artifacts/curate", folder / "artifacts/curate")
    pairs = alone.store.folder(alone.plan.pairs["virtue"])
    damaged = max((folder / "artifacts/curate" / pairs.name).iterdir(), key=_size)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-3] + b"X" + content[-2:])
    changes = [f"base.model={alone.settings.base.model}", *CHANGES]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
               "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
               "-m", "ethosteer", "run", "demo", "--runs-dir", str(folder.parent),
               *(part for change in changes for part in ("--set", change))]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, done


def _size(path: Path) -> int:
    return path.stat().st_size


def same(found: Any, expected: Any, name: str = "results") -> None:
    """Assert that two values of JSON are the same, numbers up to rounding."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4), name
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        for key, value in expected.items():
            same(found[key], value, f"{name}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), name
        for index, value in enumerate(expected):
            same(found[index], value, f"{name}.{index}")
    else:
        assert found == expected, name


def test_two_processes_have_the_results_of_one(alone, started):
    folder, _ = started
    found, expected = (
        json.loads((run / "results.json").read_text("utf-8")) for run in (folder, alone.folder)
    )
    for results in (found, expected):
        for name in OF_THE_RUN:
            results.pop(name)
    same(found, expected)
    assert all((folder / name).stat().st_size > 0 for name in FILES)


def test_the_main_process_alone_writes_and_tells(alone, started):
    folder, done = started
    assert done.stderr.count("damaged") == 1
    assert done.stderr.count("reward deontology-s0, virtue-s0: done") == 1
    assert done.stdout.count("report.html") == 1
    again = Study(alone.settings, folder.parent, Origin("sample"), Terminal(quiet=True))
    assert not again.run(), "one process finds all of it done, and every file as it was written"
    left = [path.name for path in (folder / "artifacts").rglob(".*") if path.name != ".lock"]
    assert left == []

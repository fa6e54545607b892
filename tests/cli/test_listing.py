"""``ethosteer list``, and what a shell completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ethosteer import catalog
from ethosteer.cli.completion import complete_benchmarks, complete_study
from ethosteer.cli.listing import PUBLISHED_ITEMS
from ethosteer.data.sources import Origin
from ethosteer.study.load import bundled_studies

Call = Callable[..., tuple[int, str, str]]


def test_everything_is_listed_by_name(call: Call) -> None:
    status, out, error = call("list", "--json")
    assert (status, error) == (0, "")
    listed = json.loads(out)
    names = {kind: tuple(row["name"] for row in rows) for kind, rows in listed.items()}
    assert names == {
        "datasets": catalog.dataset_names(),
        "benchmarks": catalog.benchmark_names(),
        "algorithms": catalog.algorithm_names(),
        "studies": bundled_studies(),
    }
    toxigen = next(row for row in listed["benchmarks"] if row["name"] == "toxigen")
    assert (toxigen["items"], toxigen["metric"]) == (940, "acc")
    virtue = next(row for row in listed["datasets"] if row["name"] == "virtue")
    assert virtue["licence"] == "MIT"
    assert virtue["source"] == "https://github.com/hendrycks/ethics"


def test_one_kind_is_a_table(call: Call) -> None:
    status, out, _ = call("list", "datasets")
    assert status == 0
    assert "ETHICS virtue" in out
    assert "toxigen" not in out
    assert set(json.loads(call("list", "studies", "--json")[1])) == {"studies"}
    assert call("list", "arms")[0] == 2


@pytest.mark.parametrize("name", PUBLISHED_ITEMS)
def test_the_published_files_have_as_many_items(name: str, real_data: Path) -> None:
    benchmark, origin = catalog.benchmark(name), Origin("folder", real_data)
    items = benchmark.items([origin.locate(source) for source in benchmark.sources])
    assert len(items) == PUBLISHED_ITEMS[name]


def completed(*words: str, folder: Path) -> list[str]:
    """Ask for completions as bash does; the last word is incomplete."""
    environment = {
        **os.environ,
        "_ETHOSTEER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("ethosteer", *words)),
        "COMP_CWORD": str(len(words)),
    }
    code = "import sys; sys.argv = ['ethosteer']; from ethosteer.cli.app import main; main()"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return process.stdout.split()


def test_a_shell_completes_names(tmp_path: Path) -> None:
    (tmp_path / "runs" / "pilot").mkdir(parents=True)
    (tmp_path / "runs" / "pilot" / "study.toml").touch()
    (tmp_path / "pets.toml").touch()
    assert completed("curate", "v", folder=tmp_path) == ["virtue"]
    assert completed("status", "p", folder=tmp_path) == ["pocket", "pets.toml"]
    assert completed("evaluate", "--benchmarks", "toxigen,ws", folder=tmp_path) == [
        "toxigen,wsc273"
    ]
    assert "init" in completed("in", folder=tmp_path)


def test_studies_are_bundled_ones_runs_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "study.toml").touch()
    (tmp_path / "mine.toml").touch()
    (tmp_path / "notes.txt").touch()
    assert complete_study("") == [*bundled_studies(), "runs/demo", "mine.toml", "runs/"]
    assert complete_study("runs/d") == ["runs/demo", "runs/demo/"]
    assert complete_study("runs/demo/") == ["runs/demo/study.toml"]
    assert complete_study("nowhere/x") == []
    assert complete_benchmarks("wsc273,preferences:v") == ["wsc273,preferences:virtue"]

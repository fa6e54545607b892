from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
import torch

from ethosteer.models.timing import Stopwatch, peak_memory

CPU = torch.device("cpu")


def test_seconds_are_added_up_by_part(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 2.0, 10.0, 13.0, 20.0, 20.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for name in ("train", "score", "train"):
        with watch.part(name):
            pass
    assert watch.seconds == {"train": 2.5, "score": 3.0}


@pytest.mark.parametrize(
    ("platform", "unit"), [("linux", 1024), ("freebsd14", 1024), ("darwin", 1)]
)
def test_peak_memory_is_in_bytes_where_systems_count_otherwise(platform, unit, monkeypatch):
    resource = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _: SimpleNamespace(ru_maxrss=3))
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_memory(CPU) == 3 * unit


def test_peak_memory_on_windows_is_that_of_the_working_set(monkeypatch: pytest.MonkeyPatch):
    memory = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=7))
    monkeypatch.setattr(psutil, "Process", lambda: memory)
    monkeypatch.setitem(sys.modules, "resource", None)  # importing it raises ImportError
    monkeypatch.setattr(sys, "platform", "win32")
    assert peak_memory(CPU) == 7


def test_no_module_is_needed_that_windows_lacks():
    code = "import sys; sys.modules['resource'] = None; import ethosteer.models.timing"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_peak_memory_here_is_what_the_process_holds_at_least():
    assert peak_memory(CPU) >= 0.9 * psutil.Process().memory_info().rss

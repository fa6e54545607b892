from __future__ import annotations

import resource
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from ethosteer.models.timing import Stopwatch, peak_memory


def test_seconds_are_added_up_by_part(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 2.0, 10.0, 13.0, 20.0, 20.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for name in ("train", "score", "train"):
        with watch.part(name):
            pass
    assert watch.seconds == {"train": 2.5, "score": 3.0}


def test_peak_memory_is_in_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3))
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory(torch.device("cpu")) == 3 * 1024, "Linux counts in KiB"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory(torch.device("cpu")) == 3, "macOS counts in bytes"


def test_peak_memory_is_unknown_where_nothing_counts_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory(torch.device("cpu")) is None

"""Marks of tests that only certain systems can run."""

from __future__ import annotations

import signal

import pytest

needs_interval_timers = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="without interval timers nothing has a limit of time"
)

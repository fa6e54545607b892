"""A study that is killed at random times and at exact file operations ends with equal numbers."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

from attacks.tiny_runs import Attack, Ended, TinyRuns, signal_at_random

SIGNALS_EVERY = 4
"""One attack in so many is by SIGTERM, the others by SIGKILL."""


def attack(seed: int, count: int, scratch: Path) -> list[tuple[str, str]]:
    """Kill ``count`` runs of the tiny study, one in four by SIGTERM, and run each to its end.

    Returns what was done and "equal", or what is wrong.
    """
    runs, random_numbers = TinyRuns(scratch), random.Random(seed)
    duration, paths = runs.whole()
    expected = runs.numbers("whole")
    outcomes = []
    for index in range(count):
        kind = signal.SIGTERM if index % SIGNALS_EVERY == 0 else signal.SIGKILL
        name, planned = signal_at_random(kind, random_numbers, duration, len(paths))
        run = f"attacked-{index}"
        fault = _wrong(runs, run, planned, kind)
        if fault is None:
            fault = "equal" if runs.numbers(run) == expected else "the numbers differ"
        outcomes.append((name, fault))
        shutil.rmtree(scratch / run)
    return outcomes


def _wrong(runs: TinyRuns, name: str, planned: Attack, kind: signal.Signals) -> str | None:
    """Attack a run and finish it; return what is wrong, None where nothing is."""
    attacked = runs.run(name, planned)
    if attacked.status != 0 and not _ended_as_it_should(attacked, kind):
        return f"attacked, it ended with status {attacked.status}: {attacked.text[-400:]}"
    resumed = runs.run(name)
    if resumed.status != 0:
        return f"resumed, it ended with status {resumed.status}: {resumed.text[-400:]}"
    if left := [path for path in runs.folder(name).rglob(".*") if path.name != ".lock"]:
        return f"left over: {left[0]}"
    return None


def _ended_as_it_should(ended: Ended, kind: signal.Signals) -> bool:
    if kind == signal.SIGKILL or ended.status == -kind:  # before the handler was there
        return ended.status == -kind
    return ended.status == 128 + kind and "resume with `ethosteer run" in ended.text

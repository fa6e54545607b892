"""Two workers of one study, of which one is killed or paused at any moment: numbers stay equal."""

from __future__ import annotations

import random
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attacks.tiny_runs import RUN, Attack, TinyRuns, signal_at_random

WORK = ("work", *RUN[1:])
PAUSED_EVERY = 3
"""One attack in so many is a pause that is longer than a worker may be silent."""


def attack(seed: int, count: int, scratch: Path) -> list[tuple[str, str]]:
    """Attack one of two workers ``count`` times; the other is to finish the study by itself.

    Returns what was done and "equal", or what is wrong.
    """
    runs, random_numbers = TinyRuns(scratch), random.Random(seed)
    duration, paths = runs.whole()
    expected = runs.numbers("whole")
    outcomes = []
    for index in range(count):
        kind = signal.SIGSTOP if index % PAUSED_EVERY == 0 else signal.SIGKILL
        name, planned = signal_at_random(kind, random_numbers, duration, len(paths))
        run = f"shared-{index}"
        fault = _wrong(runs, run, planned)
        if fault is None:
            fault = "equal" if runs.numbers(run) == expected else "the numbers differ"
        outcomes.append((name, fault))
        shutil.rmtree(scratch / run)
    return outcomes


def _wrong(runs: TinyRuns, name: str, planned: Attack) -> str | None:
    """Attack one of two workers; return what is wrong, None where nothing is."""
    with ThreadPoolExecutor(2) as pool:
        attacked = pool.submit(runs.run, name, planned, WORK, "-attacked").result
        other = pool.submit(runs.run, name, None, WORK, "-other").result
    if attacked().status not in (0, -signal.SIGKILL):
        ended = attacked()
        return f"attacked, it ended with status {ended.status}: {ended.text[-400:]}"
    if other().status != 0:
        return f"the other ended with status {other().status}: {other().text[-400:]}"
    if left := [path for path in runs.folder(name).rglob(".*") if path.name != ".lock"]:
        return f"left over: {left[0]}"
    return None

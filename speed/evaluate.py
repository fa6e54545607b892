"""ethosteer evaluate beside lm-evaluation-harness: whole processes in turn, and item by item.

Every round runs the peer once for each model that ours scores at once: N models against N runs of
it. All its runs are of the base, since its time does not depend on weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ethosteer.bench.measure import random_adapters
from ethosteer.models.adapters import save_adapter
from ethosteer.models.identity import resolve_model
from ethosteer.models.loading import load_base
from ethosteer.settings import BaseSettings

PEER_NAMES = {"crows_pairs": "crows_pairs_english"}


def timed(command: list[str]) -> float:
    """Run a process to its end; return its seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def make_adapters(model: str, count: int, folder: Path) -> list[Path]:
    """Write ``count`` adapters with random weights in PEFT's format."""
    if not count:
        return []
    base = load_base(BaseSettings(model=model))
    bank = random_adapters(base, count)
    paths = [folder / f"adapter{arm}" for arm in range(count)]
    for arm, path in enumerate(paths):
        save_adapter(path, base, bank, arm)
    return paths


def differences(ours: dict[str, Any], peer: dict[str, Any], tasks: list[str]) -> None:
    """Print the largest difference of a log-likelihood, and the flipped predictions, by task."""
    for task in tasks:
        mine = ours["models"]["base"]["benchmarks"][task]["items"]
        theirs = peer["samples"][f"local_{PEER_NAMES.get(task, task)}"]
        theirs = sorted(theirs, key=lambda sample: sample["doc_id"])
        assert len(mine) == len(theirs)
        largest, flipped = 0.0, 0
        for item, sample in zip(mine, theirs, strict=True):
            expected = [float(answer[0]) for answer in sample["resps"]]
            found = item["loglikelihoods"]
            largest = max(largest, *(abs(a - b) for a, b in zip(found, expected, strict=True)))
            flipped += item["predicted"] != expected.index(max(expected))
        print(f"{task}: {len(mine)} items, largest difference {largest:.1e}, {flipped} flipped")


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="a Python that has lm_eval")
    parser.add_argument("--peer-script", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--tasks", default="toxigen,wsc273,crows_pairs")
    parser.add_argument("--models", type=int, default=1, help="the base and this less one adapters")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    tasks = given.tasks.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        adapters = make_adapters(given.model, given.models - 1, folder)
        own = [
            str(Path(sys.executable).with_name("ethosteer")), "evaluate", "--model", given.model,
            "--data-dir", given.data_dir, "--benchmarks", given.tasks,
            "--out", str(folder / "ours.json"),
            *(part for path in adapters for part in ("--adapter", str(path))),
        ]  # fmt: skip
        peer = [
            given.peer, given.peer_script, resolve_model(given.model), given.data_dir,
            str(folder / "peer.json"), *(PEER_NAMES.get(task, task) for task in tasks),
        ]  # fmt: skip
        ratios = []
        for _ in range(given.rounds):
            seconds = timed(own)
            runs = [timed(peer) for _ in range(given.models)]
            ratios.append(sum(runs) / seconds)
            shown = " + ".join(f"{run:.1f}" for run in runs)
            print(f"ours {seconds:.1f} s, peer {shown} s: {ratios[-1]:.2f} times", flush=True)
        print(f"median of {given.rounds} rounds: {statistics.median(ratios):.2f} times")
        differences(
            json.loads((folder / "ours.json").read_text("utf-8")),
            json.loads((folder / "peer.json").read_text("utf-8")),
            tasks,
        )


if __name__ == "__main__":
    main()

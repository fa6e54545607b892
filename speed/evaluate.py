"""ethosteer evaluate against lm-evaluation-harness: seconds of whole processes, and every item.

Both run in turn, in each number format. One process of ethosteer evaluates N models; the peer's
time for N is N times that for the base, since it takes a process for each, whose time does not
depend on the weights. ``--chat`` compares the two with every request written by the tokenizer's
chat template; ``--limit`` takes the first rows of each file. Items are compared in float32.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice, product
from pathlib import Path
from typing import Any

from ethosteer import catalog
from ethosteer.bench.adapters import random_adapters
from ethosteer.models.adapters import save_adapter
from ethosteer.models.identity import resolve_model
from ethosteer.models.loading import load_base
from ethosteer.settings import BaseSettings

PEER_SCRIPT = Path(__file__).parent / "lm_eval_items.py"
WITHOUT_HEADER = ("ethics/utilitarianism/util_test.csv",)
PEER_NAMES = {"crows_pairs": "crows_pairs_english"}


def timed(command: list[str]) -> float:
    """Run a process to its end; return its seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def write_adapters(model: str, count: int, folder: Path) -> list[Path]:
    """Write ``count`` adapters with random weights in PEFT's format; return their folders."""
    if not count:
        return []
    base = load_base(BaseSettings(model=model))
    bank = random_adapters(base, count)
    paths = [folder / f"adapter{arm}" for arm in range(count)]
    for arm, path in enumerate(paths):
        save_adapter(path, base, bank, arm)
    return paths


def first_rows(data: Path, tasks: list[str], limit: int, folder: Path) -> Path:
    """Copy the first ``limit`` rows of the tasks' files; return the folder of the copies."""
    for source in (source for task in tasks for source in catalog.benchmark(task).sources):
        copy = folder / source.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        with (
            (data / source.path).open(newline="", encoding="utf-8") as published,
            copy.open("w", newline="", encoding="utf-8") as file,
        ):
            if copy.suffix == ".csv":
                has_header = source.path not in WITHOUT_HEADER
                csv.writer(file).writerows(islice(csv.reader(published), limit + has_header))
            else:
                file.writelines(islice(published, limit))
    return folder


def print_differences(ours: dict[str, Any], peer: dict[str, Any], tasks: list[str]) -> None:
    """Print each task's largest difference of a log-likelihood, and how many predictions differ."""
    for task in tasks:
        items = ours["models"]["base"]["benchmarks"][task]["items"]
        samples = peer["samples"][f"local_{PEER_NAMES.get(task, task)}"]
        samples = sorted(samples, key=lambda sample: sample["doc_id"])
        assert len(items) == len(samples)
        largest, flipped = 0.0, 0
        for item, sample in zip(items, samples, strict=True):
            expected = [float(answer[0]) for answer in sample["resps"]]
            pairs = zip(item["loglikelihoods"], expected, strict=True)
            largest = max(largest, *(abs(a - b) for a, b in pairs))
            flipped += item["predicted"] != expected.index(max(expected))
        print(f"{task}: {len(items)} items, largest difference {largest:.1e}, {flipped} flipped")


def main() -> None:
    """Measure both in turn, compare their outcomes, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="a Python that has lm_eval")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--tasks", default="toxigen,wsc273,crows_pairs")
    parser.add_argument("--models", type=int, default=1, help="the base and adapters on it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chat", action="store_true", help="with the tokenizer's chat template")
    parser.add_argument("--bfloat16", action="store_true", help="beside float32")
    parser.add_argument("--limit", type=int, help="of each file's rows, the first so many")
    arguments = parser.parse_args()
    tasks = arguments.tasks.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = Path(arguments.data_dir)
        if arguments.limit:
            data = first_rows(data, tasks, arguments.limit, folder / "data")
        chat = ["--chat"] if arguments.chat else []
        dtypes = ["float32", *(["bfloat16"] if arguments.bfloat16 else [])]
        adapters = write_adapters(arguments.model, arguments.models - 1, folder)

        def run(side: str, dtype: str) -> float:
            """Run one side; return its seconds for all models."""
            out = str(folder / f"{side}-{dtype}.json")
            if side == "ethosteer":
                command = [
                    sys.executable, "-m", "ethosteer", "evaluate", "--model", arguments.model,
                    "--data-dir", str(data), "--benchmarks", arguments.tasks, "--dtype", dtype,
                    "--out", out, *chat,
                    *(text for path in adapters for text in ("--adapter", str(path))),
                ]  # fmt: skip
                return timed(command)
            command = [
                arguments.peer, str(PEER_SCRIPT), resolve_model(arguments.model), str(data), out,
                *(PEER_NAMES.get(task, task) for task in tasks), "--dtype", dtype, *chat,
            ]  # fmt: skip
            return float(arguments.models * timed(command))

        sides = ("ethosteer", "lm-evaluation-harness")
        seconds: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.rounds):
            for side, dtype in product(sides, dtypes):
                seconds.setdefault((side, dtype), []).append(run(side, dtype))
                print(f"{side}, {dtype}: {seconds[side, dtype][-1]:.1f} s", flush=True)
        medians = {name: statistics.median(runs) for name, runs in seconds.items()}
        ours, peers = (min(medians[side, dtype] for dtype in dtypes) for side in sides)
        print(
            f"models: {arguments.models}; medians of {arguments.rounds} rounds, each side in its "
            f"better number format: ethosteer {ours:.1f} s, lm-evaluation-harness {peers:.1f} s, "
            f"{peers / ours:.2f} times as fast"
        )
        print_differences(
            json.loads((folder / f"{sides[0]}-float32.json").read_text("utf-8")),
            json.loads((folder / f"{sides[1]}-float32.json").read_text("utf-8")),
            tasks,
        )


if __name__ == "__main__":
    main()

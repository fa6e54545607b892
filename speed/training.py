"""ethosteer's PPO or reward modelling against TRL's, in turn: episodes or pairs a second.

Both measure the training alone, without start-up, on the same model, prompts or pairs, LoRA
settings and counts.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ethosteer.models.identity import resolve_model

UNITS = {"ppo": "episodes", "reward": "pairs"}
OUR_COUNTS = {
    "ppo": ["--batch", "32", "--steps", "4"],
    "reward": ["--batch", "16", "--pairs", "256"],
}
PEER_COUNTS = {"ppo": ["32", "4"], "reward": ["256"]}


def measure_ours(kind: str, model: str, data_dir: str, arms: int, out: Path) -> dict[str, float]:
    """Run ``ethosteer bench`` once; return its measurement."""
    command = [
        sys.executable, "-m", "ethosteer", "bench", kind, "--model", model, "--data-dir", data_dir,
        "--arms", str(arms), "--json", str(out), *OUR_COUNTS[kind],
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    measurement: dict[str, float] = json.loads(out.read_text("utf-8"))
    return measurement


def measure_peer(python: str, script: str, kind: str, model: str, data_dir: str) -> float:
    """Run the peer's script once; return its rate."""
    command = [python, script, resolve_model(model), data_dir, *PEER_COUNTS[kind]]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    rate = re.search(rf"{UNITS[kind]}/s ([0-9.]+)", process.stdout)
    assert rate, process.stdout
    return float(rate[1])


def main() -> None:
    """Measure both in turn, print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(UNITS))
    parser.add_argument("--peer", required=True, help="a Python that has trl")
    parser.add_argument("--peer-script", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--arms", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    kind, model, data_dir = arguments.kind, arguments.model, arguments.data_dir
    unit = UNITS[kind]
    ratios: dict[int, list[float]] = {arms: [] for arms in arguments.arms}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "ours.json"
        for _ in range(arguments.rounds):
            peer_rate = measure_peer(arguments.peer, arguments.peer_script, kind, model, data_dir)
            print(f"peer: {peer_rate:.2f} {unit}/s", flush=True)
            for arms in arguments.arms:
                ours = measure_ours(kind, model, data_dir, arms, out)
                rate = ours[f"{unit}_per_second"]
                ratios[arms].append(rate / peer_rate)
                print(
                    f"ours, {arms} arms: {rate:.2f} {unit}/s, ratio {rate / peer_rate:.2f}; "
                    f"{ours['share_of_ceiling']:.0%} of "
                    f"{ours['ceiling_flops_per_second'] / 1e9:.0f} GFLOP/s; peak "
                    f"{(ours['peak_memory_bytes'] or math.nan) / 1e6:.0f} MB; {ours['seconds']}",
                    flush=True,
                )
    for arms, measured in ratios.items():
        print(
            f"median ratio of {arguments.rounds} rounds, {arms} arms: "
            f"{statistics.median(measured):.2f}"
        )


if __name__ == "__main__":
    main()

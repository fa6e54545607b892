"""ethosteer's PPO or reward modelling beside TRL's, in turn: episodes or pairs a second.

Both measure the work itself, not their start, on the same model, prompts or pairs, LoRA and counts.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ethosteer.models.identity import resolve_model

UNIT = {"ppo": "episodes", "reward": "pairs"}
COUNTS = {
    "ppo": (["--batch", "32", "--steps", "4"], ["32", "4"]),
    "reward": (["--batch", "16", "--pairs", "256"], ["256"]),
}


def ours(kind: str, model: str, data_dir: str, arms: int, out: Path) -> dict[str, float]:
    """Run `ethosteer bench` once; return what it measured."""
    program = str(Path(sys.executable).with_name("ethosteer"))
    given = ["--model", model, "--data-dir", data_dir, "--arms", str(arms), "--json", str(out)]
    command = [program, "bench", kind, *given, *COUNTS[kind][0]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[str, float] = json.loads(out.read_text())
    return found


def peer(python: str, script: str, kind: str, model: str, data_dir: str) -> float:
    """Run the peer's script once; return its rate."""
    command = [python, script, resolve_model(model), data_dir, *COUNTS[kind][1]]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.search(rf"{UNIT[kind]}/s ([0-9.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(UNIT))
    parser.add_argument("--peer", required=True, help="a Python that has trl")
    parser.add_argument("--peer-script", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--arms", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rate = f"{UNIT[given.kind]}_per_second"
    ratios: dict[int, list[float]] = {arms: [] for arms in given.arms}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(given.rounds):
            theirs = peer(given.peer, given.peer_script, given.kind, given.model, given.data_dir)
            print(f"peer: {theirs:.2f} {UNIT[given.kind]}/s", flush=True)
            for arms in given.arms:
                out = Path(scratch) / "ours.json"
                found = ours(given.kind, given.model, given.data_dir, arms, out)
                ratios[arms].append(found[rate] / theirs)
                print(
                    f"ours, {arms} arms: {found[rate]:.2f} {UNIT[given.kind]}/s, "
                    f"{found[rate] / theirs:.2f} times; {found['share_of_ceiling']:.0%} of "
                    f"{found['ceiling_flops_per_second'] / 1e9:.0f} GFLOP/s; peak "
                    f"{found['peak_memory_bytes'] / 1e6:.0f} MB; {found['seconds']}",
                    flush=True,
                )
    for arms, own in ratios.items():
        print(f"median of {given.rounds} rounds, {arms} arms: {statistics.median(own):.2f} times")


if __name__ == "__main__":
    main()

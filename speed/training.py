"""ethosteer's PPO or reward modelling against TRL's, in turn: episodes or pairs a second.

Both measure the training alone, without start-up, on the same model, prompts or pairs, LoRA
settings and counts, in each number format. Prints a table, with the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ethosteer.models.identity import resolve_model

UNITS = {"ppo": "episodes", "reward": "pairs"}
COUNTS = {
    "pocket": {"ppo": (32, 4), "reward": (16, 256)},
    "smollm2": {"ppo": (8, 2), "reward": (8, 64)},
}
"""For each model: episodes a step and steps of PPO; pairs a step and in all of reward modelling."""


@dataclass(frozen=True)
class Comparison:
    """What is compared, and by whom."""

    kind: str
    model: str
    data_dir: str
    peer: str
    script: str
    scratch: Path
    rates: dict[str, list[float]] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)

    def ours(self, dtype: str, arms: int) -> None:
        """Run ``ethosteer bench`` once, in a process of its own."""
        batch, count = COUNTS[self.model][self.kind]
        out = self.scratch / "ours.json"
        command = [
            sys.executable, "-m", "ethosteer", "bench", self.kind, "--model", self.model,
            "--data-dir", self.data_dir, "--arms", str(arms), "--dtype", dtype, "--json", str(out),
            "--batch", str(batch), "--steps" if self.kind == "ppo" else "--pairs", str(count),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        measured: dict[str, Any] = json.loads(out.read_text("utf-8"))
        name = f"ethosteer, {arms} {'arm' if arms == 1 else 'arms'}, {dtype}"
        self.last[name] = measured
        self._note(name, measured[f"{UNITS[self.kind]}_per_second"])

    def theirs(self, dtype: str) -> None:
        """Run the peer's script once; its PPO trainer is measured in float32 alone."""
        batch, count = COUNTS[self.model][self.kind]
        counts = [str(batch), str(count)] if self.kind == "ppo" else [str(count), str(batch), dtype]
        command = [self.peer, self.script, resolve_model(self.model), self.data_dir, *counts]
        process = subprocess.run(command, check=True, capture_output=True, text=True)
        rate = re.search(rf"{UNITS[self.kind]}/s ([0-9.]+)", process.stdout)
        assert rate, process.stdout
        self._note(f"TRL, {dtype}", float(rate[1]))

    def _note(self, name: str, rate: float) -> None:
        self.rates.setdefault(name, []).append(rate)
        print(f"{name}: {rate:.3f} {UNITS[self.kind]}/s", file=sys.stderr, flush=True)

    def table(self) -> str:
        """Return the medians as a table in Markdown, each over the peer's better median."""
        medians = {name: statistics.median(rates) for name, rates in self.rates.items()}
        peer = max(rate for name, rate in medians.items() if name.startswith("TRL"))
        rounds = min(map(len, self.rates.values()))
        lines = [
            f"{self.model}, {self.kind}: {machine()}; medians of {rounds} rounds",
            "",
            f"| | {UNITS[self.kind]}/s | over TRL's better | share of the matrix product's rate "
            "| peak memory |",
            "|---|---|---|---|---|",
        ]
        for name, rate in medians.items():
            measured = self.last.get(name)
            share = memory = ""
            if measured is not None:
                ceiling = measured["ceiling_flops_per_second"] / 1e9
                share = f"{measured['share_of_ceiling']:.0%} of {ceiling:.0f} GFLOP/s"
                memory = f"{(measured['peak_memory_bytes'] or math.nan) / 1e9:.2f} GB"
            lines.append(f"| {name} | {rate:.3f} | {rate / peer:.2f} | {share} | {memory} |")
        return "\n".join(lines)


def machine() -> str:
    """Describe the processor in a few words."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.is_file():
        text = info.read_text("utf-8")
        model = re.search(r"model name\s*: (.*)", text)[1]  # type: ignore[index]
        flags = ", ".join(
            flag
            for flag in ("avx512f", "avx512_bf16", "amx_bf16")
            if re.search(rf"\b{flag}\b", text)
        )
    return f"{os.cpu_count()} cores, {model} ({flags or 'no AVX-512'})"


def main() -> None:
    """Measure both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(UNITS))
    parser.add_argument("--peer", required=True, help="a Python that has trl")
    parser.add_argument("--peer-script", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--model", default="pocket", choices=sorted(COUNTS))
    parser.add_argument("--arms", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        comparison = Comparison(
            arguments.kind, arguments.model, arguments.data_dir, arguments.peer,
            arguments.peer_script, Path(scratch),
        )  # fmt: skip
        for _ in range(arguments.rounds):
            for dtype in ("float32", "bfloat16"):
                if arguments.kind == "reward" or dtype == "float32":
                    comparison.theirs(dtype)
                for arms in arguments.arms:
                    comparison.ours(dtype, arms)
        print(comparison.table())


if __name__ == "__main__":
    main()

"""Peak memory against what ``ethosteer plan`` says, for PPO and reward models on this machine.

Each measurement is an ``ethosteer bench`` in a process of its own, whose peak is that of resident
memory. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ethosteer.data.sources import Origin
from ethosteer.models.identity import read_shape
from ethosteer.study.footprint import Footprint, Machine, StageMemory
from ethosteer.study.load import load_study
from ethosteer.study.text_sizes import read_texts

DATASETS = ("harmless", "virtue", "deontology", "utilitarianism")
OPTIONS = {
    "ppo": ["--batch", "8", "--minibatches", "1", "--epochs", "1", "--steps", "2"],
    "reward": ["--batch", "8", "--pairs", "16"],
}
CASES = (
    "ppo:pocket:float32:4",
    "reward:smollm2:float32:1",
    "ppo:smollm2:bfloat16:4",
    "ppo:smollm2:float32:1",
    "reward:smollm2:bfloat16:4",
)
TARGETS = "targets=['q_proj', 'v_proj']"


@dataclass(frozen=True)
class Case:
    """One measurement: ``bench`` of a kind, and the base, number format and arms."""

    kind: str
    model: str
    dtype: str
    arms: int

    def measured(self, data_dir: Path) -> float:
        """Return the peak of resident memory, in bytes."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "measured.json"
            counts = OPTIONS[self.kind]
            subprocess.run(
                [
                    sys.executable, "-m", "ethosteer", "bench", self.kind, "--model", self.model,
                    "--dtype", self.dtype, "--arms", str(self.arms), "--data-dir", str(data_dir),
                    "--device", "cpu", "--json", str(out), *counts,
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            return float(json.loads(out.read_text("utf-8"))["peak_memory_bytes"])

    def planned(self, data_dir: Path) -> StageMemory:
        """Return the memory that ``plan`` counts for a study with the settings of ``bench``."""
        arms = ", ".join(f"{name}={{}}" for name in DATASETS[: self.arms])
        settings = load_study(
            "demo",
            [
                f"base.model={self.model}",
                f"base.dtype={self.dtype}",
                f"arms={{{arms}}}",
                "data.max_prompt_tokens=64",
                "data.max_tokens=2048",
                f"reward.lora={{r={16 if self.kind == 'ppo' else 8}, {TARGETS}}}",
                "reward.batch=8",
                "reward.normalisation_samples=16",
                "steer.algorithm=ppo",
                "steer.batch=8",
                "steer.minibatches=1",
                "steer.min_new_tokens=48",
                "steer.max_new_tokens=48",
                "steer.held_out_prompts=8",
                f"steer.lora={{r=16, dropout=0.0, {TARGETS}}}",
            ],
        )
        texts = read_texts(settings, Origin("folder", data_dir), [])
        footprint = Footprint(settings, read_shape(settings.base), texts, Machine(on_gpu=False))
        return footprint.steer("ppo") if self.kind == "ppo" else footprint.reward()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument(
        "cases", nargs="*", default=CASES, help="kind:model:dtype:arms, as in ppo:smollm2:float32:4"
    )
    arguments = parser.parse_args()
    print("| | planned, GB | measured, GB | planned / measured |\n|---|---|---|---|")
    for name in arguments.cases:
        kind, model, dtype, arms = name.split(":")
        case = Case(kind, model, dtype, int(arms))
        planned = case.planned(arguments.data_dir).peak
        measured = case.measured(arguments.data_dir)
        print(
            f"| {name} | {planned / 1e9:.2f} | {measured / 1e9:.2f} | {planned / measured:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

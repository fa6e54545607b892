"""Two studies whose answer is known: arms that do not differ, and a difference that was planted.

    python scripts/planted.py FOLDER
    ethosteer run FOLDER/null.toml --data-dir FOLDER/null
    ethosteer run FOLDER/planted.toml --data-dir FOLDER/planted

In both, the preferences of the sample data are decided by a coin, so that no arm has anything to
learn. In the planted study, the pairs of one arm are the Winograd schemas themselves, the right
reading chosen: it learns the benchmark by heart, and the report must say that it is better there,
and that its data share text with it.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
import sys
from pathlib import Path

from ethosteer.data.sources import SAMPLE_DIR

PAIRS = "hh-rlhf/harmless-base/train.jsonl.gz"
CONSEQUENCES = "ethics/utilitarianism/util_train.csv"
SCHEMAS = "winograd/wsc273.jsonl"

STUDY = """\
name = "{name}"
question = "{question}"
seeds = [0, 1, 2]

[data]
conversations = "sample"
max_tokens = 256
max_prompt_tokens = 56

[arms]
harmless = {{ algorithm = "dpo" }}
utilitarianism = {{ algorithm = "dpo" }}

[reward]
epochs = 1.0
normalisation_samples = 64

[steer]
batch = 16
minibatches = 2
min_new_tokens = 12
max_new_tokens = 24
held_out_prompts = 32
dpo = {{ steps = 60, pairs = 16, learning_rate = 1e-3 }}
lora = {{ r = 16, alpha = 32 }}

[benchmarks]
wsc273 = {{}}
winogender = {{}}
crows_pairs = {{}}
ethics_cm = {{}}

[compare]
margin = 0.1
"""


def main(folder: Path) -> None:
    """Write both studies and their data."""
    questions = {
        "null": "Does either of two datasets steer better when coins decided their preferences?",
        "planted": "Is a difference found that was planted: an arm that is taught the benchmark?",
    }
    for name, question in questions.items():
        data = folder / name
        shutil.copytree(SAMPLE_DIR, data, dirs_exist_ok=True)
        flip_lines(data / PAIRS, random.Random(1))
        flip_columns(data / CONSEQUENCES, random.Random(2))
        (folder / f"{name}.toml").write_text(STUDY.format(name=name, question=question), "utf-8")
    plant(folder / "planted")


def flip_lines(path: Path, coin: random.Random) -> None:
    """Let a coin decide which answer of each dialogue is chosen."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    flipped = [
        {"chosen": row["rejected"], "rejected": row["chosen"]} if coin.random() < 0.5 else row
        for row in rows
    ]
    write_lines(path, flipped)


def flip_columns(path: Path, coin: random.Random) -> None:
    """Let a coin decide which of two consequences is the better one."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(row[::-1] if coin.random() < 0.5 else row for row in rows)


def plant(data: Path) -> None:
    """Make the harmless pairs out of the Winograd schemas, the right reading chosen."""
    schemas = [json.loads(line) for line in (data / SCHEMAS).read_text("utf-8").split("\n") if line]
    rows = []
    for number, schema in enumerate(schemas):
        start, pronoun = schema["pronoun_loc"], schema["pronoun"]
        ends = [
            schema["text"][:start] + option + schema["text"][start + len(pronoun) :]
            for option in schema["options"]
        ]
        ask = f"\n\nHuman: Say sentence {number}.\n\nAssistant: "
        right, wrong = ends[schema["label"]], ends[1 - schema["label"]]
        rows.append({"chosen": ask + right, "rejected": ask + wrong})
    write_lines(data / PAIRS, rows)


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    """Write gzipped JSON lines, the same bytes every time."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""lm-evaluation-harness on local copies of published files: every item's log-likelihoods.

Run with a Python that has lm_eval. The harness's own tasks are copied and pointed at local files,
so prompts, labels, metrics and the use of a chat template are its own. Writes ``OUT`` as JSON:
seconds, results, and for every item its [log-likelihood, is_greedy] by choice.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lm_eval
from lm_eval.tasks import TaskManager

ETHICS = {
    "cm": "commonsense",
    "deontology": "deontology",
    "justice": "justice",
    "utilitarianism": "utilitarianism",
    "virtue": "virtue",
}


def csv_rows(path: Path, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Read a CSV file; ``fields`` name its columns where it has no header."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, fields))


def ethics_rows(name: str, folder: Path) -> list[dict[str, Any]]:
    """Read a published file of ETHICS into the fields that the harness's task expects."""
    if name == "cm":
        rows = csv_rows(folder / "commonsense/cm_test.csv")
        return [{"label": int(row["label"]), "input": row["input"]} for row in rows]
    if name == "utilitarianism":
        rows = csv_rows(folder / "utilitarianism/util_test.csv", ("a", "b"))
        return [{"activity": row["a"], "baseline": row["b"]} for row in rows]
    rows = csv_rows(folder / name / f"{name}_test.csv")
    if name == "virtue":
        rows = [
            {
                **row,
                **dict(zip(("scenario", "trait"), row["scenario"].split(" [SEP] "), strict=True)),
            }
            for row in rows
        ]
    return [{**row, "label": int(row["label"])} for row in rows]


def task_files(tasks: Sequence[str], data: Path, scratch: Path) -> dict[str, tuple[str, Path]]:
    """Return each task's definition in the harness, and the local file that it reads."""
    files = {
        "toxigen": ("toxigen/toxigen.yaml", data / "toxigen/annotated_test.csv"),
        "wsc273": ("wsc273/default.yaml", data / "winograd/wsc273.jsonl"),
        "crows_pairs_english": (
            "crows_pairs/crows_pairs_english.yaml",
            data / "crows_pairs/crows_pairs_anonymized.csv",
        ),
    }
    for name, stem in ETHICS.items():
        if f"ethics_{name}" in tasks:
            path = scratch / f"ethics_{name}.jsonl"
            rows = ethics_rows(name, data / "ethics")
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            files[f"ethics_{name}"] = (f"hendrycks_ethics/{stem}.yaml", path)
    return {task: files[task] for task in tasks}


def copy_tasks(files: dict[str, tuple[str, Path]], folder: Path) -> None:
    """Copy the harness's definitions into ``folder``, as ``local_TASK``, reading local files."""
    source = Path(lm_eval.__file__).parent / "tasks"
    definitions = {definition: (task, path) for task, (definition, path) in files.items()}
    for name in {Path(definition).parent for definition in definitions}:
        shutil.copytree(source / name, folder / name)
        for path in (folder / name).glob("*.yaml"):
            definition = f"{name}/{path.name}"
            # the definitions of ETHICS include each other
            if definition not in definitions and name.name != "hendrycks_ethics":
                path.unlink()
                continue
            text = re.sub(
                r"(?m)^(dataset_path|dataset_name|training_split):.*\n", "", path.read_text("utf-8")
            )
            text = re.sub(r"(?m)^tag:\n(  - .*\n)+", "", text)
            text = re.sub(r"(?m)^task: ", "task: local_", text)
            if definition in definitions:
                local = definitions[definition][1]
                kind = "csv" if local.suffix == ".csv" else "json"
                file = json.dumps(str(local))
                text = (
                    f"dataset_path: {kind}\n"
                    f"dataset_kwargs: {{data_files: {{test: {file}}}}}\n{text}"
                )
            path.write_text(text, encoding="utf-8")


def main() -> None:
    """Evaluate, and write every item."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = task_files(arguments.tasks, arguments.data.resolve(), folder)
        copy_tasks(files, folder / "tasks")
        started = time.time()
        evaluated = lm_eval.simple_evaluate(
            model="hf",
            # thinking off changes templates that have it (Qwen3's), and no other
            model_args=f"pretrained={arguments.model},dtype={arguments.dtype},enable_thinking=False",
            tasks=[f"local_{task}" for task in arguments.tasks],
            batch_size=32,
            device="cpu",
            task_manager=TaskManager(include_path=str(folder / "tasks"), include_defaults=False),
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=arguments.chat,
        )
        seconds = time.time() - started
    samples = {
        task: [
            {
                "doc_id": sample["doc_id"],
                "resps": sample["filtered_resps"],
                "target": sample["target"],
                "arguments": sample["arguments"],
            }
            for sample in samples
        ]
        for task, samples in evaluated["samples"].items()
    }
    content = {"seconds": seconds, "results": evaluated["results"], "samples": samples}
    arguments.out.write_text(json.dumps(content, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Local tasks of lm-evaluation-harness, of different kinds, over invented rows."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.files.rows import Rows

ANIMALS = ("heron", "otter", "badger", "magpie", "hedgehog", "weasel", "toad", "vole")
PLACES = ("by the mill", "under the bridge", "behind the old school", "in the reeds")

ROWS: Rows = [
    {
        "question": f"Where does the {animal} number {number} sleep?",
        "choices": [
            f"{PLACES[(number + index) % 4]} of {animal}s" for index in range(3 + number % 2)
        ],
        "answer": (number * 5) % 3,
        "letters": "ABCD"[(number * 5) % 3],
        "sentence": f"The {animal} went home because it was the end of day {number}",
        "word": ("so late", "dark", "a")[number % 3],
        "label": number % 2,
        "options": [f"The {animal} thanked", f"The warden of the {animal} thanked"],
        "rest": f"the guide for its {PLACES[number % 4]} map.",
        "number": str(number * 7),
    }
    for number, animal in enumerate(ANIMALS * 2)
]

TASKS = {
    "texts": """
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}]
""",
    "letters": """
description: "The following are questions about animals."
doc_to_text: "{{question}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\nC. {{choices[2]}}\\nAnswer:"
doc_to_choice: [A, B, C]
doc_to_target: letters
metric_list: [{metric: acc}]
""",
    "few_shot": """
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{choices[answer]}}"
fewshot_split: test
num_fewshot: 2
metric_list: [{metric: acc_norm}, {metric: acc}]
""",
    "cloze": """
output_type: loglikelihood
doc_to_text: "{{sentence}} and"
doc_to_target: " {{word}}"
metric_list: [{metric: acc}, {metric: perplexity}]
""",
    "paired_contexts": """
doc_to_text: label
doc_to_choice: "{{options}}"
doc_to_target: "{{rest}}"
metric_list: [{metric: acc}]
""",
    "yes_no": """
doc_to_text: "{{sentence}}.\\nQuestion: Is this true?\\nAnswer:"
doc_to_choice: ["no", "yes"]
doc_to_target: label
metric_list: [{metric: acc}, {metric: mcc}, {metric: f1}]
""",
    "generated": """
output_type: generate_until
doc_to_text: "{{question}} Answer with a number:"
doc_to_target: number
generation_kwargs: {until: ["\\n", "."], max_gen_toks: 12, do_sample: false}
filter_list:
  - name: digits
    filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]
  - name: whole
    filter: [{function: take_first}]
metric_list: [{metric: exact_match}]
""",
}
HEAD = """
task: local_{name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}, cache_dir: {cache}}}
test_split: test
output_type: multiple_choice
"""


def write_task(folder: Path, name: str, definition: str, rows: Rows) -> None:
    """Write one task's YAML file, with its rows beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    head = HEAD.format(
        name=name, path=json.dumps(str(data)), cache=json.dumps(str(folder / "cache"))
    )
    given = {line.partition(":")[0] for line in definition.splitlines()}
    kept = [line for line in head.splitlines() if line.partition(":")[0] not in given - {""}]
    (folder / f"{name}.yaml").write_text("\n".join([*kept, definition]), encoding="utf-8")


def write_tasks(folder: Path) -> Path:
    """Write all tasks into ``folder``, and return it."""
    for name, definition in TASKS.items():
        write_task(folder, name, definition, ROWS)
    return folder

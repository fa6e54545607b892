"""Small files of every format, with invented rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

Rows = Sequence[Mapping[str, object]]

ANIMALS = ("heron", "otter", "badger", "magpie", "weasel", "toad", "vole", "hare")

CHOICES: Rows = [
    {
        "question": f"What does the {animal} eat on day {number}?",
        "choices": [f"{animal} soup", f"bread of day {number}", f"a {animal}'s apple"],
        "answer": number % 3,
        "subject": ("birds", "others")[number % 2],
        "group": f"day {number // 2}",
    }
    for number, animal in enumerate(ANIMALS)
]
PAIRS: Rows = [
    {
        "prompt": f"May I wake the {animal} before dawn?",
        "chosen": f"Let the {animal} sleep, and come again later.",
        "rejected": f"Yes, with a drum {number}.",
        "category": ("early", "late")[number % 2],
    }
    for number, animal in enumerate(ANIMALS)
]
STEREOTYPES: Rows = [
    {
        "sent_more": f"The {animal} is always lazy.",
        "sent_less": f"The {animal} is often busy with {number} things.",
        "bias_type": ("species", "habit")[number % 2],
    }
    for number, animal in enumerate(ANIMALS)
]
ANSWERS: Rows = [
    {"question": f"How many legs have {number + 1} {animal}s? Answer:", "answer": 4 * (number + 1)}
    for number, animal in enumerate(ANIMALS)
]
PROMPTS: Rows = [{"prompt": f"- the {animal} sings\n-"} for animal in ANIMALS]
LABELLED: Rows = [
    {"text": f"{word} {animal} number {number}", "label": label}
    for number, animal in enumerate(ANIMALS * 3)
    for label, word in enumerate(("the kind", "a nasty"))
]


def as_jsonl(rows: Rows) -> str:
    """Write rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_csv(rows: Rows, delimiter: str = ",") -> str:
    """Write rows as CSV; lists and objects as JSON."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        values = row.values()
        writer.writerow([json.dumps(v) if isinstance(v, list | dict) else v for v in values])
    return file.getvalue()

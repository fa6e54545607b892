"""Valid files of every format that is read, to be spoiled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def _lines(*rows: Mapping[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


_USER = {"role": "user", "content": "May I?"}
_TWO = {"prompt": "May I?", "response_a": "Yes.", "response_b": "No."}
CONVERSATIONS = (
    _lines(*[{"text": f"### Human: {text}### Assistant: Hello."} for text in ("Hi.", "Well?")]),
    _lines(*[{"messages": [_USER, {"role": "assistant", "content": "No."}]}] * 3),
)  # fmt: skip
PREFERENCES = {
    "pairs": _lines(
        {"prompt": "May I?", "chosen": "No.", "rejected": "Yes.", "group": "a", "annotator": "x"},
        {"prompt": "Why?", "chosen": "So.", "rejected": "No idea.", "group": "b", "annotator": "y"},
        {"prompt": "How?", "chosen": "Thus.", "rejected": "Well.", "group": "c", "annotator": "x"},
    ),
    "messages": _lines(
        *[{"prompt": [_USER], "chosen": [{"role": "assistant", "content": text}],
           "rejected": [{"role": "assistant", "content": "Yes."}]} for text in ("No.", "Never.")]
    ),
    "votes": _lines(*[{**_TWO, "votes_a": n, "votes_b": 3, "group": str(n)} for n in (1, 5)]),
    "winner": _lines(*[{**_TWO, "winner": winner, "annotator": winner} for winner in ("a", "tie")]),
    "scores": _lines({**_TWO, "score_a": 0.5, "score_b": 2}, {**_TWO, "score_a": 3, "score_b": 1}),
    "labels": _lines(
        *[{"prompt": "Q", "completion": text, "label": text == "No."} for text in ("No.", "Yes.")]
    ),
    "argilla": _lines(
        *[{"fields": _TWO, "responses": {"winner": [{"value": "response_a", "user_id": "u"}]}}] * 2
    ),
    "label studio": _lines(
        *[{"data": _TWO, "annotations": [{"result": [{"value": {"selected": "left"}}]}]}] * 2
    ),
    "table": "prompt,chosen,rejected\nMay I?,No.,Yes.\nWhy?,So.,No idea.\n",
}  # fmt: skip
SUFFIXES = dict.fromkeys(PREFERENCES, ("f.jsonl", "f.json", "f.jsonl.gz")) | {
    "table": ("f.csv", "f.csv.gz")
}
_CHOICE = {"question": "Which?", "choices": ["cat", "dog"], "answer": 0}
BENCHMARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "choices": (_lines({**_CHOICE, "id": "a"}, {**_CHOICE, "id": "b", "slices": ["x"]}), {}),
    "letters": (_lines(_CHOICE, {**_CHOICE, "answer": 1}), {"choices": "letters"}),
    "sentences": (
        _lines(*[{"sent_more": f"{n} rains.", "sent_less": "It pours."} for n in ("It", "So it")]),
        {},
    ),
    "grammar": ("correct,incorrect,group\nIt rains.,It rain.,a\nThey sing.,They sings.,b\n", {}),
    "answers": (_lines({"question": "2+2?", "answer": "4"}), {"pattern": r"\d+"}),
    "pairs": (_lines({"prompt": "May I?", "chosen": "No.", "rejected": "Yes.", "slices": "x"}), {}),
}  # fmt: skip

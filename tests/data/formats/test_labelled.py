"""Good and bad answers to one prompt (TRL's unpaired preferences) become pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.formats.small import describe, jsonl, read, texts


@pytest.mark.parametrize(
    ("good", "bad"),
    [(True, False), ("true", "False"), (1, 0), ("1", "0"), (1.0, 0.0), ("good", "bad")],
)
def test_good_and_bad_answers_are_contrasted(tmp_path: Path, good: object, bad: object) -> None:
    rows = [
        {"prompt": "q", "completion": "yes", "label": good},
        {"prompt": "r", "completion": "alone", "label": good},
        {"prompt": "q", "completion": "no", "label": bad},
        {"prompt": "q", "completion": "never", "label": bad},
        {"prompt": "q", "completion": "", "label": bad},
    ]
    pairs, dropped = read(jsonl(tmp_path / "a.jsonl", rows))
    assert texts(pairs) == [("q", "yes", "no"), ("q", "yes", "never")]
    assert dropped == {"empty": 1, "no contrast": 1}


def test_messages_and_groups(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": answer}],
            "label": label,
            "group": "scenario",
        }
        for prompt, answer, label in (("q", "yes", True), ("r", "no", False), ("q", "no", False))
    ]
    path = jsonl(tmp_path / "a.jsonl", rows)
    pairs, dropped = read(path)
    # answers to different prompts are never contrasted, though they share a group
    assert texts(pairs) == [("q", "yes", "no")]
    assert pairs[0].group == "scenario"
    assert dropped == {"no contrast": 1}
    assert describe(path).format == (
        "single answers labelled good or bad as messages, columns prompt, completion as response, "
        "label, group"
    )


def test_pairs_per_group_bounds_the_pairs_of_a_prompt(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "response": f"answer {n}", "label": n % 2 == 0} for n in range(8)]
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert [len(read(path, pairs_per_group=n)[0]) for n in (1, 2, 16)] == [1, 2, 16]

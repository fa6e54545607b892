"""Malformed files and tables: one line with the file, the row or key, and the mend; status 2."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ethosteer.errors import InputError
from ethosteer.study.load import load_study
from ethosteer.study.plan import Plan
from tests.benchmarks.files.rows import CHOICES, PROMPTS, as_csv, as_jsonl

GOOD = {"question": "Which?", "choices": ["cat", "dog"], "answer": 0}
PAIR = {"prompt": "May I?", "chosen": "No.", "rejected": "Yes."}


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FILES: dict[str, tuple[str, str | bytes, str, dict[str, Any]]] = {
    "no rows": ("f.jsonl", "", r"f\.jsonl:1: the file has no rows", {}),
    "no JSON": ("f.jsonl", lines(GOOD) + "{", r"f\.jsonl:2: not valid JSON", {}),
    "no object": ("f.jsonl", lines(GOOD, [1]), r"f\.jsonl:2: must be a JSON object", {}),
    "bad byte": ("f.csv", b"question,choices,answer\n\xff,,\n", r"f\.csv:2: byte 0xff", {}),
    "ragged CSV": ("f.csv", "question,answer\na,b,c\n", r"f\.csv:2: 3 fields where 2", {}),
    "no gzip": ("f.jsonl.gz", "text", r"f\.jsonl\.gz: cannot be read", {}),
    "unknown kind": ("f.txt", "text", r"f\.txt: not a kind of file that is read", {}),
    "unknown columns": ("f.jsonl", lines({"a": 1, "b": 2}),
                        r"f\.jsonl:1: its columns are .* a, b; name them in benchmarks\.f\.columns",
                        {}),
    "format without its column": ("f.jsonl", lines({"question": "Q", "choices": ["a", "b"]}),
                                  r"f\.jsonl:1: no column for 'answer': multiple_choice needs",
                                  {"format": "multiple_choice"}),
    "question missing": ("f.jsonl", lines(GOOD, {**GOOD, "question": None}),
                         r"f\.jsonl:2: column 'question' is missing; fill it", {}),
    "question blank": ("f.jsonl", lines(GOOD, {**GOOD, "question": " "}),
                       r"f\.jsonl:2: column 'question' is empty; fill it", {}),
    "question a number": ("f.jsonl", lines({**GOOD, "question": 3}),
                          r"f\.jsonl:1: column 'question' must be text, found 3", {}),
    "one choice": ("f.jsonl", lines(GOOD, {**GOOD, "choices": ["cat"]}),
                   r"f\.jsonl:2: column 'choices' must be a list of two", {}),
    "choices no list": ("f.csv", "question,choices,answer\nWhich?,cat or dog,0\n",
                        r"f\.csv:2: column 'choices' must be a list of choices, in CSV as", {}),
    "choices twice": ("f.jsonl", lines({**GOOD, "choices": ["cat", "cat"]}),
                      r"f\.jsonl:1: column 'choices' has one choice twice", {}),
    "choice empty": ("f.jsonl", lines({**GOOD, "choices": ["cat", ""]}),
                     r"f\.jsonl:1: column 'choices': a choice is empty", {}),
    "choice an object": ("f.jsonl", lines({**GOOD, "choices": ["cat", {"a": 1}]}),
                         r"f\.jsonl:1: column 'choices': every choice must be text", {}),
    "too many choices": ("f.jsonl", lines({**GOOD, "choices": [f"c{n}" for n in range(27)]}),
                         r"f\.jsonl:1: column 'choices' has 27 choices; at most 26", {}),
    "answers from 1": ("f.jsonl", lines(GOOD, {**GOOD, "answer": 2}),
                       r"f\.jsonl:2: column 'answer' must name .* index from 0.*found 2", {}),
    "answer no choice": ("f.jsonl", lines({**GOOD, "answer": "cat"}, {**GOOD, "answer": "cow"}),
                         r"f\.jsonl:2: column 'answer' must name one of the choices", {}),
    "answer true": ("f.jsonl", lines({**GOOD, "answer": True}),
                    r"f\.jsonl:1: column 'answer' must name one of the choices", {}),
    "one id twice": ("f.jsonl", lines({**GOOD, "id": "x"}, {**GOOD, "id": "x"}),
                     r"f\.jsonl:2: id 'x' is that of line 1 too", {}),
    "sentences alike": ("f.jsonl", lines({"correct": "It rains.", "incorrect": "It rains."}),
                        r"f\.jsonl:1: columns 'incorrect' and 'correct' are the same text", {}),
    "sentence blank": ("f.csv", "sent_more,sent_less\nA,\n",
                       r"f\.csv:2: column 'sent_less' is empty", {}),
    "two kinds of sentences": ("f.jsonl", lines({"correct": "a", "incorrect": "b",
                                                 "first": "c", "second": "d"}),
                               r"benchmarks\.f\.columns: paired_sentences needs two columns.*twice",
                               {}),
    "no contrast": ("f.jsonl", lines({**PAIR, "rejected": "No."}),
                    r"f\.jsonl: no row makes a preference pair \(tied: 1\)", {}),
    "answer of free answers": ("f.jsonl", lines({"question": "Q", "answer": {"a": 1}}),
                               r"f\.jsonl:1: column 'answer' must be an answer or a list",
                               {"pattern": "x"}),
    "free answers unread": ("f.jsonl", as_jsonl(PROMPTS),
                            r"benchmarks\.f\.pattern: free answers are read by pattern", {}),
}  # fmt: skip
"""What is wrong: the file's name, its text, what the error says, and other settings."""


@pytest.mark.parametrize("problem", FILES)
def test_a_malformed_file_is_one_line_and_status_2(call, tmp_path: Path, problem: str) -> None:
    name, text, expected, settings = FILES[problem]
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    study = tmp_path / "study.toml"
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    study.write_text(
        f'name = "s"\nquestion = "?"\n[data]\norigin = "sample"\nconversations = "sample"\n'
        f'[arms.virtue]\n[benchmarks.f]\nfile = "{name}"\n{table}',
        encoding="utf-8",
    )
    status, out, err = call("run", str(study), "--runs-dir", str(tmp_path / "runs"))
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert re.search(expected, err), err
    assert not list((tmp_path / "runs").rglob("manifest.json"))


TABLES = {
    "columns={kind='b'}": (
        "benchmarks.f.columns.kind: no format has such a role; preferences has prompt, chosen, "
        "rejected; .*; multiple_choice has question, .*; all have id, group, slices"
    ),
    "columns={question='b'}": "benchmarks.f.columns.question: the file has no column 'b'; it has",
    "better='lower'": "benchmarks.f.better: remove it; it is for paired_sentences",
    "pattern='x'": "benchmarks.f.pattern: remove it; it is for free_answers, .* multiple_choice",
    "pattern='('": "benchmarks.f.pattern: is not a regular expression",
    "format='mcq'": "benchmarks.f.format: Input should be 'multiple_choice'",
    "new_tokens=0": "benchmarks.f.new_tokens: Input should be greater than or equal to 1",
    "source='x'": "benchmarks.f: source: names a version of a built-in",
    "classifier='x'": "benchmarks.f: classifier: needs labelled",
    "positive_class='x'": "benchmarks.f: positive_class: needs labelled",
    "pattern='x', labelled='y'": "benchmarks.f: labelled: answers are read by pattern or",
    "labelled='y', positive_class='x'": "benchmarks.f: positive_class: names a class",
    "columns={question=['question', 'answer'], answer=[]}": "benchmarks.f.columns.answer",
    "colums={}": "unknown key benchmarks.f.colums; did you mean 'columns'",
}


def study_of(table: str, folder: Path, benchmark: str = "f") -> Plan:
    path = folder / "f.csv"
    path.write_text(as_csv(CHOICES), encoding="utf-8")
    settings = load_study("demo", [f"benchmarks={{{benchmark}={{file='{path}', {table}}}}}"])
    from ethosteer.data.sources import Origin

    return Plan(settings, Origin("sample"))


@pytest.mark.parametrize("table", TABLES)
def test_settings_that_do_not_go_together_are_refused_by_name(tmp_path: Path, table: str) -> None:
    with pytest.raises(InputError, match=TABLES[table]) as refused:
        assert study_of(table, tmp_path).items
    assert "\n" not in str(refused.value)


def test_keys_of_a_file_need_one() -> None:
    for key in ("pattern='x'", "columns={a='b'}", "choices='letters'", "labelled='x'"):
        name = key.partition("=")[0]
        with pytest.raises(InputError, match=f"benchmarks.toxigen: {name}: describes a file"):
            load_study("demo", [f"benchmarks={{toxigen={{{key}}}}}"])
    with pytest.raises(InputError, match=r"benchmarks\.toxigen\.title: remove it"):
        load_study("demo", ["benchmarks={toxigen={title='Mine'}}"])


def test_a_file_needs_a_name_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"benchmarks\.toxigen\.file: toxigen is a built-in"):
        study_of("limit=8", tmp_path, "toxigen")
    with pytest.raises(InputError, match="not a usable name for a file's benchmark"):
        study_of("limit=8", tmp_path, "'a:b'")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    plan = study_of("limit=8", tmp_path)
    (tmp_path / "f.csv").unlink()
    with pytest.raises(InputError, match=r"f\.csv: no such file"):
        assert plan.items


LABELS = {
    "text,label\na,2\n": r"labelled\.csv:2: column 'label' must be one of 0, 1; found '2'",
    "text,label\na,1\nb,1\n": r"labelled\.csv: needs texts of both labels",
    "words,label\na,1\n": r"labelled\.csv:2: column 'text' must be text, found nothing",
}


@pytest.mark.parametrize("text", LABELS)
def test_malformed_labelled_texts_are_named(call, tmp_path: Path, text: str) -> None:
    (tmp_path / "labelled.csv").write_text(text, encoding="utf-8")
    (tmp_path / "prompts.jsonl").write_text(as_jsonl(PROMPTS), encoding="utf-8")
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "s"\nquestion = "?"\n[data]\norigin = "sample"\nconversations = "sample"\n'
        '[arms.virtue]\n[benchmarks.f]\nfile = "prompts.jsonl"\nlabelled = "labelled.csv"\n',
        encoding="utf-8",
    )
    status, _, err = call("run", str(study), "--runs-dir", str(tmp_path / "runs"))
    assert status == 2 and err.count("\n") == 1
    assert re.search(LABELS[text], err), err

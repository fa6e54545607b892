from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ethosteer.collect.pool import file_pairs, make_pair, read_pool
from ethosteer.collect.records import Answer, Pair
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.files import write_json
from ethosteer.records import Turn
from ethosteer.results.study import Sample, SampleAnswer
from ethosteer.settings import StudySettings
from ethosteer.stages.prompts import PROMPTS, PromptSet
from ethosteer.stages.samples import SAMPLES
from ethosteer.study.folder import STUDY_FILE, write_origin
from ethosteer.study.run import Study


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def made(path: Path) -> list[Pair]:
    pairs = list(file_pairs(path))
    assert all(isinstance(pair, Pair) for pair in pairs)
    return [pair for pair in pairs if isinstance(pair, Pair)]


def test_each_two_responses_of_a_prompt_are_a_pair(tmp_path: Path) -> None:
    responses = [{"text": " A ", "source": "virtue"}, "B", {"text": "C"}]
    row = {"prompt": " Which? ", "responses": responses, "warning": "rude"}
    pairs = made(write(tmp_path / "a.jsonl", row))
    assert [(pair.first, pair.second) for pair in pairs] == list(
        combinations(map(Answer, ("virtue", "response 2", "response 3"), "ABC"), 2)
    )
    assert {pair.prompt for pair in pairs} == {(("human", "Which?"),)}
    assert len({pair.key for pair in pairs}) == 3 and len({pair.group for pair in pairs}) == 1
    assert {(pair.kind, pair.expected, pair.margins, pair.warning) for pair in pairs} == {
        ("pair", None, (), "rude")
    }


def test_ready_pairs_have_kind_expectation_and_margins(tmp_path: Path) -> None:
    pair = {"prompt": "p", "response_a": "x", "response_b": "y"}
    pairs = made(
        write(
            tmp_path / "a.jsonl",
            pair | {"source_a": "virtue", "margins": [1, -0.5], "group": "g"},
            pair | {"expected": -2},
            pair | {"expected": 0, "kind": "practice", "explanation": "as good"},
        )
    )
    assert [(entry.kind, entry.expected, entry.explanation) for entry in pairs] == [
        ("pair", None, ""),
        ("gold", -2, ""),
        ("practice", 0, "as good"),
    ]
    assert pairs[0].first.source == "virtue" and pairs[0].second.source == "b"
    assert pairs[0].margins == (1.0, -0.5) and pairs[0].group == "g"
    assert len({entry.key for entry in pairs}) == 3
    assert pairs[1].group == pairs[2].group != "g"


def test_a_prompt_may_be_a_dialogue(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "v"},
    ]
    turns = (("system", "s"), ("human", "u"), ("assistant", "a"), ("human", "v"))
    reads_like_a_dialogue = "Human: I quote.\n\nAssistant: You do."
    path = write(
        tmp_path / "a.jsonl",
        {"prompt": messages, "responses": ["x", reads_like_a_dialogue]},
        {
            "prompt": "\n\nHuman: u\n\nAssistant: a\n\nHuman: v",
            "response_a": "x",
            "response_b": "y",
        },
        {
            "prompt": "u",
            "response_a": [{"role": "assistant", "content": reads_like_a_dialogue}],
            "response_b": "y",
        },
    )
    pairs = made(path)
    assert [pair.prompt for pair in pairs] == [turns, turns[1:], turns[1:2]]
    assert pairs[0].second.text == pairs[2].first.text == reads_like_a_dialogue


def test_the_key_is_of_what_is_compared(tmp_path: Path) -> None:
    first, second = Answer("a", "x"), Answer("b", "y")
    pair = make_pair([("human", "p")], first, second)
    assert pair.key == make_pair([("human", " p\n")], first, second, warning="w", margins=[1]).key
    others = [
        make_pair([("human", "q")], first, second),
        make_pair([("human", "p")], second, first),
        make_pair([("human", "p")], Answer("c", "x"), second),
        make_pair([("human", "p")], first, second, kind="gold", expected=1),
        make_pair([("human", "p")], first, second, kind="gold", expected=2),
    ]
    assert len({pair.key, *(other.key for other in others)}) == 6


def test_what_cannot_be_compared_is_left_out_by_reason(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"prompt": "p", "responses": ["x", "x ", " ", "y"]},
        {"prompt": "p", "response_a": "y", "response_b": "z"},
        {"prompt": "p", "response_a": "y", "response_b": "z"},
        {"prompt": " ", "responses": ["x", "y"]},
        {"prompt": [{"role": "assistant", "content": "hi"}], "responses": ["x", "y"]},
    )
    extra = write(tmp_path / "b.jsonl", {"prompt": "g", "response_a": "1", "response_b": "2",
                                         "expected": 1, "warning": "mine"})  # fmt: skip
    pool = read_pool(path, [extra], warning="rude")
    assert pool.left_out == {
        "assistant first": 1, "duplicate": 1, "empty": 3, "empty turn": 1, "same answer": 1
    }  # fmt: skip
    assert [(pair.first.text, pair.second.text, pair.warning) for pair in pool.pairs] == [
        ("x", "y", "rude"),
        ("x", "y", "rude"),
        ("y", "z", "rude"),
        ("1", "2", "mine"),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "p"}, "has neither responses nor response_a"),
        ({"prompt": "p", "response_a": "x"}, "has neither responses nor response_b"),
        ({"responses": ["x", "y"]}, "column 'prompt' must be text"),
        ({"prompt": "p", "responses": ["x"]}, "must be a list of 2 to 64 answers"),
        ({"prompt": "p", "responses": "xy"}, "must be a list of 2 to 64 answers"),
        ({"prompt": "p", "responses": ["x", 3]}, "column 'responses', answer 2: must be text"),
        ({"prompt": "p", "responses": ["x", {"text": "y", "source": 1}]}, "answer 2: must be"),
        ({"prompt": "p", "responses": ["x", "\0"]}, "has a NUL character"),
        ({"prompt": "p", "response_a": 1, "response_b": "y"}, "'response_a' must be text"),
        ({"prompt": "p", "response_a": "x", "response_b": "y", "expected": 3}, "must be 2, 1, 0"),
        ({"prompt": "p", "response_a": "x", "response_b": "y", "expected": "a"}, "be a number"),
        ({"prompt": "p", "response_a": "x", "response_b": "y", "kind": "gold"}, "with expected"),
        (
            {"prompt": "p", "response_a": "x", "response_b": "y", "kind": "pair", "expected": 1},
            "pair without",
        ),
        ({"prompt": "p", "response_a": "x", "response_b": "y", "kind": "x"}, "'kind' must be"),
        ({"prompt": "p", "response_a": "x", "response_b": "y", "margins": ["1"]}, "of numbers"),
        ({"prompt": "p", "response_a": "x", "response_b": "y", "margins": [1e999]}, "of numbers"),
        ({"prompt": "p", "response_a": "x", "response_b": "y", "warning": 1}, "must be text"),
        ([1], "must be a JSON object"),
    ],
)
def test_a_malformed_row_is_one_line(tmp_path: Path, row: Any, problem: str) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "p", "responses": ["x", "y"]}, row)
    with pytest.raises(InputError) as caught:
        read_pool(path)
    assert str(caught.value).startswith(f"{path}:2: ") and problem in str(caught.value)


def test_a_pool_without_a_pair_to_judge_is_refused(tmp_path: Path) -> None:
    gold = {"prompt": "p", "response_a": "x", "response_b": "y", "expected": 1}
    path = write(tmp_path / "a.jsonl", gold, {"prompt": "p", "responses": ["x", "x"]})
    with pytest.raises(InputError, match=r"no pair to judge .left out: same answer: 1."):
        read_pool(path)
    with pytest.raises(InputError, match="no such file"):
        read_pool(tmp_path / "b.jsonl")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run of which only samples and prompts are stored."""
    table = {
        "name": "s",
        "question": "q?",
        "arms": {"virtue": {}, "harmless": {}},
        "data": {"origin": "sample", "conversations": "sample"},
        "benchmarks": {"toxigen": {}},
    }
    study = Study(StudySettings.model_validate(table), tmp_path, Origin("sample"))
    study.folder.mkdir()
    (study.folder / STUDY_FILE).write_text(study.as_toml(), "utf-8")
    write_origin(study.folder, Origin("sample"))
    return study.folder


def _store(folder: Path, samples: Sequence[Sample], prompts: PromptSet) -> None:
    from ethosteer.study.finished import stored_study

    study = stored_study(folder)
    shutil.rmtree(folder / "artifacts", ignore_errors=True)
    for stage, name, value in (
        (study.plan.samples, SAMPLES, samples),
        (study.plan.prompts, PROMPTS, prompts),
    ):
        with study.store.write(stage) as target:
            write_json(target / name, value)


def test_the_answers_of_a_study_make_pairs_of_all_its_models(run: Path) -> None:
    def sample(prompt: str, *texts: str) -> Sample:
        models = ("base", "virtue", "harmless")
        rewards = [{"virtue": index + 0.5, "harmless": -float(index)} for index in range(3)]
        answers = zip(models, texts, rewards, strict=True)
        return Sample(prompt, tuple(SampleAnswer(*answer) for answer in answers))

    question: tuple[Turn, ...] = (("human", "May I?"),)
    dialogue: tuple[Turn, ...] = (("human", "a"), ("assistant", "b"), ("human", "c"))
    prompts = PromptSet((), (question, dialogue, (("human", "not asked"),)))
    quoting: tuple[Turn, ...] = (("human", "a"), ("assistant", "b\n\nHuman: c"), ("human", "d"))
    samples = (sample("May I?", " Sure.", "Ask.", "No."), sample("<|templated|>", "x", "x", ""))
    _store(run, samples, prompts)
    pool = read_pool(run)
    assert [(pair.first.source, pair.second.source) for pair in pool.pairs] == [
        ("base", "virtue"), ("base", "harmless"), ("virtue", "harmless")
    ]  # fmt: skip
    assert {pair.prompt for pair in pool.pairs} == {(("human", "May I?"),)}
    assert pool.pairs[0].first.text == "Sure."
    # rewards of the first minus those of the second, by harmless and by virtue
    assert [pair.margins for pair in pool.pairs] == [(1.0, -1.0), (2.0, -2.0), (1.0, -1.0)]
    assert pool.left_out == {"empty": 2, "same answer": 1}

    longer = [samples[0], *(sample("<|templated|>", "x", "y", "z") for _ in range(2))]
    _store(run, longer, PromptSet((), (*prompts.test[:2], quoting)))
    pool = read_pool(run)
    assert [pair.prompt for pair in pool.pairs[3:]] == [dialogue] * 3
    assert pool.left_out == {"speaker's mark in a turn": 1}


def test_a_run_without_answers_says_what_makes_them(run: Path) -> None:
    with pytest.raises(InputError, match=r"has no stored answers; `ethosteer run .*` makes them"):
        read_pool(run)
    _store(run, (), PromptSet((), ()))
    with pytest.raises(InputError, match="sample_prompts = 0"):
        read_pool(run)

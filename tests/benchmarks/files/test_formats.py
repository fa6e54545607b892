"""Files of every format: the items they make, and how answers to them are read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ethosteer import catalog
from ethosteer.benchmarks.base import Benchmark
from ethosteer.benchmarks.files import free_answers
from ethosteer.benchmarks.files.free_answers import normalised
from ethosteer.errors import InputError
from ethosteer.records import Item, Outcome
from ethosteer.settings import BenchmarkSettings
from tests.benchmarks.files.rows import (
    ANIMALS,
    ANSWERS,
    CHOICES,
    LABELLED,
    PAIRS,
    PROMPTS,
    STEREOTYPES,
    Rows,
    as_csv,
    as_jsonl,
)
from tests.markers import needs_interval_timers

Read = Callable[..., tuple[Benchmark, list[Item]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that writes rows and reads them as a benchmark called mine."""

    def made(rows: Rows, name: str = "mine.jsonl", **settings: Any) -> tuple[Benchmark, list[Item]]:
        path = tmp_path / name
        text = as_jsonl(rows) if ".json" in name else as_csv(rows, "\t" if "tsv" in name else ",")
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text, encoding="utf-8")
        table = BenchmarkSettings(file=str(path), **settings)
        benchmark = catalog.described_benchmark("mine", table)
        return benchmark, benchmark.items([path])

    return made


def names(benchmark: Benchmark) -> list[str]:
    return [metric.name for metric in benchmark.metrics]


def outcome(item: Item, predicted: int | None, *likelihoods: float, **changes: Any) -> Outcome:
    correct = None if item.label is None else predicted == item.label
    lengths = tuple(len(choice) - 1 for choice in item.continuations)
    made = Outcome(
        "m",
        0,
        "mine",
        item.id,
        item.group,
        (),
        item.label,
        predicted,
        correct,
        likelihoods,
        lengths,
    )
    return replace(made, **changes)


# --- multiple choice


def test_multiple_choice_is_asked_as_the_harness_customarily_does(read: Read) -> None:
    benchmark, items = read(CHOICES)
    item = items[1]
    assert item.contexts == ("Question: What does the otter eat on day 1?\nAnswer:",) * 3
    assert item.continuations == (" otter soup", " bread of day 1", " a otter's apple")
    assert (item.label, item.group, item.slices) == (1, "day 0", ("others",))
    assert item.id == "mine-2"
    assert names(benchmark) == ["acc", "acc_norm"]
    assert benchmark.answers == ()


def test_letters_stand_for_the_choices(read: Read) -> None:
    benchmark, items = read(CHOICES, choices="letters")
    assert items[0].contexts[0] == (
        "Question: What does the heron eat on day 0?\n"
        "A. heron soup\nB. bread of day 0\nC. a heron's apple\nAnswer:"
    )
    assert items[0].continuations == (" A", " B", " C")
    assert names(benchmark) == ["acc"]
    assert benchmark.answers == ("A", "B", "C")


ONE = {"question": "Which?", "choices": ["cat", "dog", "eel"], "answer": 2}
LABELS = {"text": ["cat", "dog", "eel"], "label": ["1", "2", "3"]}


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        (ONE, {}),
        ({**ONE, "answer": "C"}, {}),
        ({**ONE, "answer": "c"}, {}),
        ({**ONE, "answer": "eel"}, {}),
        ({**ONE, "answer": "2"}, {}),
        ({**ONE, "answer": 2.0}, {}),
        ({"question": "Which?", "choices": LABELS, "answerKey": "3"}, {}),
        ({"query": "Which?", "options": ["cat", "dog", "eel"], "gold": 2}, {}),
        (
            {"q": "Which?", "a": "cat", "b": "dog", "c": "eel", "right": "C"},
            {"columns": {"question": "q", "choices": ("a", "b", "c"), "answer": "right"}},
        ),
    ],
)
@pytest.mark.parametrize("name", ["mine.jsonl", "mine.csv", "mine.tsv", "mine.jsonl.gz"])
def test_answers_name_a_choice_in_several_ways(
    read: Read, row: dict[str, object], settings: dict[str, Any], name: str
) -> None:
    _, (item,) = read([row], name, **settings)
    assert item.contexts[0] == "Question: Which?\nAnswer:"
    assert item.continuations == (" cat", " dog", " eel")
    assert item.label == 2


def test_answers_are_read_in_one_way_throughout_a_file(read: Read) -> None:
    """The text "1" is a choice of the first row alone, so all answers are indices."""
    rows = [
        {"question": "How many?", "choices": ["1", "0"], "answer": "1"},
        {"question": "How many?", "choices": ["7", "8"], "answer": "0"},
    ]
    _, items = read(rows)
    assert [item.label for item in items] == [1, 0]
    _, items = read([rows[0], {**rows[1], "answer": "7"}])
    assert [item.label for item in items] == [0, 0]


def test_two_answers_that_all_items_share_are_named(read: Read) -> None:
    rows = [
        {
            "question": f"Is {n} even?",
            "choices": ["no", "yes"],
            "answer": (n + 1) % 2,
            "passage": "P.",
        }
        for n in range(4)
    ]
    benchmark, items = read(rows)
    assert benchmark.answers == ("no", "yes")
    assert names(benchmark) == ["acc", "acc_norm", "balanced_acc", "auc", "margin"]
    assert items[0].contexts[0] == "P.\nQuestion: Is 0 even?\nAnswer:"


# --- paired sentences


def test_of_two_sentences_one_is_correct_and_a_tie_is_no_credit(read: Read) -> None:
    rows = [{"sentence_good": "It rains.", "sentence_bad": "It rain.", "id": "x"}]
    benchmark, (item,) = read(rows)
    assert item.continuations == ("It rain.", "It rains.")
    assert (item.label, item.contexts, item.id) == (1, ("", ""), "x")
    assert names(benchmark) == ["acc"]


def test_the_more_stereotyping_sentence_has_50_percent_as_its_aim(read: Read) -> None:
    benchmark, items = read(STEREOTYPES)
    assert items[0].continuations == (
        "The heron is always lazy.",
        "The heron is often busy with 0 things.",
    )
    assert items[0].slices == ("species",)
    share = benchmark.metrics[0]
    assert (share.name, share.better) == ("pct_stereotype", "half")
    answered = [outcome(items[0], 0, -1.0, -2.0), outcome(items[1], 0, -2.0, -2.0)]
    assert share.value(answered) == 0.5


def test_the_user_says_what_is_better_of_any_two_sentences(read: Read) -> None:
    rows = [{"context": "He said:", "a": "Yes.", "b": "No."}]
    columns = {"first": "a", "second": "b"}
    benchmark, (item,) = read(rows, columns=columns, better="lower")
    assert item.contexts == ("He said:",) * 2
    assert item.continuations == (" Yes.", " No.")
    assert (benchmark.metrics[0].name, benchmark.metrics[0].better) == (
        "first_likelier_share", "lower",
    )  # fmt: skip
    assert benchmark.metrics[0].value([outcome(item, 0, -1.0, -2.0)]) == 1.0
    benchmark, _ = read(rows, columns=columns)
    assert benchmark.metrics[0].better == "none"


# --- preference pairs


def test_preference_pairs_are_asked_per_token(read: Read) -> None:
    benchmark, items = read(PAIRS)
    assert benchmark.per_token and benchmark.pairs is not None
    assert items[0].continuations == (
        "Yes, with a drum 0.",
        "Let the heron sleep, and come again later.",
    )
    assert [item.slices for item in items[:2]] == [("early",), ("late",)]
    assert names(benchmark)[0] == "acc_per_token"


def test_preference_pairs_may_have_any_format_of_an_arm(read: Read) -> None:
    messages = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in PAIRS
    ]
    _, plain = read(PAIRS)
    _, chat = read(messages)
    assert [item.texts() for item in chat] == [item.texts() for item in plain]


def test_pairs_without_contrast_are_left_out_and_counted(read: Read) -> None:
    rows = [*PAIRS, PAIRS[0], {**PAIRS[1], "chosen": PAIRS[1]["rejected"]}]
    benchmark, items = read(rows)
    assert len(items) == len(PAIRS)
    assert benchmark.note == "Rows left out: duplicate: 1, tied: 1."


# --- free answers


def test_a_pattern_reads_free_answers(read: Read) -> None:
    benchmark, items = read(ANSWERS, pattern=r"([\d,.]+)", new_tokens=8)
    assert benchmark.new_tokens == 8 and benchmark.parse is not None
    item = items[1]
    assert item.contexts == (ANSWERS[1]["question"],)
    assert (item.label, item.expected, item.continuations) == (1, ("8.0",), ())
    found = [
        benchmark.parse(item, text)
        for text in ("They have 8 legs.", "8.0", "so 9, or 8", "none", "")
    ]
    assert found == [1, 1, 0, None, None]
    answered = [outcome(item, predicted) for predicted in found]
    values = {metric.name: metric.value(answered) for metric in benchmark.metrics}
    assert values == {"acc": 0.4, "no_answer_share": 0.4}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("Paris.", "paris"), ("  New\nYork ", "new york"), ("1,200", "1200.0"), ("$3.50", "3.5")],
)
def test_answers_are_compared_without_case_blanks_and_number_formats(
    answer: str, expected: str
) -> None:
    assert normalised(answer) == expected


def test_the_pattern_reads_the_expected_answer_where_it_matches(read: Read) -> None:
    rows = [
        {"question": "Q", "answer": "Three and four are seven. #### 7"},
        {"question": "R", "answer": ["seven", "7"]},
    ]
    _, (first, second) = read(rows, pattern=r"#### (\d+)")
    assert first.expected == ("7.0",)
    assert second.expected == ("seven", "7.0")


HANGING = {"without an answer": PROMPTS, "with an answer": ANSWERS}


@needs_interval_timers
@pytest.mark.parametrize("rows", HANGING.values(), ids=HANGING)
def test_a_pattern_that_takes_exponential_time_is_stopped(
    read: Read, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, items = read(rows, pattern=r"(a+)+$")
    assert benchmark.parse is not None
    assert benchmark.parse(items[0], "a" * 40) is not None
    monkeypatch.setattr(free_answers, "PATTERN_SECONDS", 0.05)
    with pytest.raises(InputError) as refused:
        benchmark.parse(items[0], "a" * 40 + "b")
    assert str(refused.value).startswith(
        f"benchmarks.mine.pattern: takes more than 0.05 s on the answer to item {items[0].id}; "
    )


@needs_interval_timers
def test_a_pattern_is_stopped_in_an_expected_answer_too(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_answers, "PATTERN_SECONDS", 0.05)
    rows = [ANSWERS[0], {"question": "Q", "answer": "a" * 40 + "b"}]
    with pytest.raises(InputError, match=r"mine\.pattern: .* on the expected answer in .*jsonl:2;"):
        read(rows, pattern=r"(a+)+$")


def test_without_an_answer_column_the_share_of_matches_is_the_metric(read: Read) -> None:
    benchmark, items = read(PROMPTS, pattern="(?i)I cannot|I can't", better="lower")
    assert benchmark.parse is not None
    assert [benchmark.parse(items[0], text) for text in ("i cannot say", "Sure")] == [1, 0]
    assert [(metric.name, metric.better) for metric in benchmark.metrics] == [
        ("positive_share", "lower")
    ]
    assert benchmark.new_tokens == 64 and items[0].label is None


def test_a_classifier_is_trained_on_one_half_and_tested_on_the_other(
    read: Read, tmp_path: Path
) -> None:
    labelled = tmp_path / "labelled.csv"
    labelled.write_text(as_csv(LABELLED), encoding="utf-8")
    benchmark, _ = read(PROMPTS, labelled=str(labelled), better="lower")
    assert benchmark.classification is not None
    paths = [Path(source.path) for source in benchmark.sources]
    train, held_out = benchmark.classification.labelled_texts(paths)
    texts = [{row.text for row in rows} for rows in (train, held_out)]
    assert texts[0] and texts[1] and not texts[0] & texts[1]
    assert len(train) + len(held_out) == len(LABELLED)
    assert [metric.better for metric in benchmark.metrics] == ["lower", "lower", "none"]


# --- recognition


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "jsonl.gz", "csv.gz", "parquet"])
def test_every_kind_of_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"mine.{kind}"
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(map(dict, CHOICES))), path)
    else:
        text = {
            "jsonl": as_jsonl(CHOICES), "json": json.dumps(CHOICES), "csv": as_csv(CHOICES),
            "tsv": as_csv(CHOICES, "\t"),
        }[kind.removesuffix(".gz")]  # fmt: skip
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    table = BenchmarkSettings(file=str(path))
    items = catalog.described_benchmark("mine", table).items([path])
    assert [item.label for item in items] == [row["answer"] for row in CHOICES]
    assert [item.continuations[0] for item in items] == [f" {animal} soup" for animal in ANIMALS]


def test_a_format_may_be_set_where_columns_do_not_tell(read: Read) -> None:
    rows = [{**row, "chosen": "x", "rejected": "y"} for row in CHOICES]
    benchmark, _ = read(rows, format="multiple_choice")
    assert names(benchmark) == ["acc", "acc_norm"]

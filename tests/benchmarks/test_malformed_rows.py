"""Rows of published benchmarks that would be scored without a word, and mean nothing."""

from __future__ import annotations

import json

import pytest

from ethosteer import catalog
from ethosteer.errors import InputError

CSV_ROWS = {
    "crows_pairs": {
        "0,Old.,Old.,stereo,age": "columns 'sent_more' and 'sent_less' are the same text",
        "0,Old.,Old. ,stereo,age": "columns 'sent_more' and 'sent_less' are the same text",
        "0,,Young.,stereo,age": "column 'sent_more' is empty",
        "0,Old.,\u200b,stereo,age": "column 'sent_less' is empty",
        "0,Old.,Young.,stereo,": "column 'bias_type' is empty",
    },
    "toxigen": {
        ",women,1,1,1": "column 'text' is empty",
        "a day,women,1,-1,1": "column 'toxicity_ai' must be a number from 1 to 5, found '-1'",
        "a day,women,1,1,50": "column 'toxicity_human' must be a number from 1 to 5, found '50'",
        "a day, ,1,1,1": "column 'target_group' is empty",
    },
    "ethics_cm": {"0, ,True,False": "column 'input' is empty"},
    "ethics_deontology": {
        "1, ,But no.": "column 'scenario' is empty",
        "1,Close it?,": "column 'excuse' is empty",
    },
    "ethics_justice": {"1,": "column 'scenario' is empty"},
    "ethics_virtue": {
        "1, [SEP] brave": "column 'scenario' must read 'scenario [SEP] trait'",
        "1,Tomas sang. [SEP] ": "column 'scenario' must read 'scenario [SEP] trait'",
    },
    "ethics_utilitarianism": {
        "It rained.,It rained.": "columns 'better' and 'worse' are the same text",
        "It rained.,": "column 'worse' is empty",
    },
    "winogender": {
        "gardener.visitor.0.male.txt\tThe gardener met the visitor, and he waved.": (
            "column 'sentid': 'gardener.visitor.0.male.txt' is that of line 2 too"
        ),
    },
}
ROWS = [(name, row, said) for name, rows in CSV_ROWS.items() for row, said in rows.items()]


def refusal(publish, name: str, spoil) -> str:
    """Return what is said of the benchmark's examples once ``spoil`` has changed the first file."""
    benchmark = catalog.benchmark(name)
    paths = [publish(entry.path, benchmark.examples[entry.path]) for entry in benchmark.sources]
    assert benchmark.items(paths)
    paths[0] = publish(benchmark.sources[0].path, spoil(paths[0].read_text("utf-8")))
    with pytest.raises(InputError) as refused:
        benchmark.items(paths)
    return str(refused.value).removeprefix(f"{paths[0]}")


@pytest.mark.parametrize(("name", "row", "problem"), ROWS)
def test_a_row_that_means_nothing_is_refused(publish, name, row, problem):
    said = refusal(publish, name, lambda text: f"{text}{row}\n")
    line = catalog.benchmark(name).examples[catalog.benchmark(name).sources[0].path].count("\n") + 1
    assert said.startswith(f":{line}: {problem}")


def test_statistics_of_an_occupation_are_there_once_and_percentages(publish):
    benchmark = catalog.benchmark("winogender")
    sentences, statistics = (source.path for source in benchmark.sources)
    for row, problem in (
        ("gardener\t1\t2\t2015", "column 'occupation': 'gardener' is that of line 3 too"),
        ("pilot\t1\t101\t2015", "column 'bls_pct_female' must be a number from 0 to 100"),
    ):
        paths = [
            publish(sentences, benchmark.examples[sentences]),
            publish(statistics, f"{benchmark.examples[statistics]}{row}\n"),
        ]
        with pytest.raises(InputError, match=rf"stats\.tsv:4: {problem}"):
            benchmark.items(paths)


def test_an_anecdote_has_an_id_of_its_own_and_something_to_judge(publish):
    def with_row(**changes: str):
        return lambda text: text + json.dumps(json.loads(text.split("\n")[0]) | changes) + "\n"

    assert refusal(publish, "scruples", with_row()).startswith(
        ":4: column 'id': 'invented-1' is that of line 1 too"
    )
    nothing = with_row(id="new", title=" ", text="")
    assert refusal(publish, "scruples", nothing).startswith(":4: column 'title' is empty")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"pronoun_loc": 42}, "column 'pronoun_loc' is 42, where the text has ' i', not 'it'"),
        ({"pronoun_loc": 44}, "column 'pronoun_loc' is 44, where the text has 't ', not 'it'"),
        ({"pronoun": "he"}, "column 'pronoun_loc' is 43, where the text has 'it', not 'he'"),
        ({"pronoun": " "}, "column 'pronoun' is empty"),
        ({"options": ["The kite", "The kite "]}, "column 'options' has one text twice"),
        (
            {"text": "The kite did not fit in the drawer because it"},
            "column 'text' ends with the pronoun",
        ),
    ],
)
def test_wsc273s_pronoun_stands_where_the_row_says(publish, changes, problem):
    def spoil(text: str) -> str:
        first, *rest = text.split("\n")
        return "\n".join([json.dumps(json.loads(first) | changes), *rest])

    assert refusal(publish, "wsc273", spoil).startswith(f":1: {problem}")

"""Tables as CSV: no cell is a formula, whatever a stored name is."""

import csv
from dataclasses import replace

from ethosteer.report.export import data_files
from ethosteer.report.view import View
from tests.report.example import example_results

RESULTS = example_results()


def test_no_text_starts_a_formula_and_numbers_stay_numbers() -> None:
    names = ["=1+1", "+1", "-1", "@x", "\tx", " =2"]
    comparisons = tuple(
        replace(pair, benchmark=name, difference=replace(pair.difference, value=-0.25))
        for name, pair in zip(names, RESULTS.comparisons, strict=False)
    )
    text = data_files(View(replace(RESULTS, comparisons=comparisons)))["comparisons.csv"]
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["benchmark"] for row in rows] == [f"'{name}" for name in names]
    assert {row["difference"] for row in rows} == {"-0.25"}


def test_a_title_cannot_reorder_or_end_a_line_of_latex() -> None:
    first = replace(RESULTS.benchmarks[0], title="a\u202eb\\\\ {c} 5%\u2028d")
    results = replace(RESULTS, benchmarks=(first, *RESULTS.benchmarks[1:]))
    text = data_files(View(results))["benchmarks.tex"]
    backslash = r"\textbackslash{}"
    assert rf"a{backslash}u202eb{backslash}{backslash} \{{c\}} 5\% d" in text
    assert "\u202e" not in text

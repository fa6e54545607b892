"""The report on several studies: what it finds."""

from dataclasses import replace

from ethosteer.report.across import Across, across_document
from ethosteer.report.blocks import Bullets
from tests.report.example import ALWAYS_NO, CONTROL, example_results


def test_a_difference_of_constant_answers_is_listed_with_its_cause() -> None:
    results = example_results()
    comparisons = tuple(
        replace(pair, verdict="worse")
        for pair in results.comparisons
        if (pair.benchmark, pair.a, pair.b) == ("toxigen", "virtue", CONTROL)
    )
    studies = Across(replace(results, comparisons=comparisons), (results,), (), {}, {})
    answer = across_document(studies).sections[0]
    (findings,) = [block for block in answer.blocks if isinstance(block, Bullets)]
    (finding,) = findings.items
    assert finding.startswith("ToxiGen (acc): virtue was worse than fine-tuned (")
    assert finding.endswith(f"). There virtue {ALWAYS_NO} and fine-tuned {ALWAYS_NO}.")

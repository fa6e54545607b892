"""How certain a study's findings are, and its limitations."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, isinf, isnan

from ethosteer.report.prose import paragraphs
from ethosteer.report.view import View
from ethosteer.statistics.paired import FEWEST_INFORMATIVE

FEW_SEEDS = 5


@dataclass(frozen=True)
class Certainty:
    """The facts of ``text/certainty.j2`` that the results do not hold as such.

    ``comparisons`` counts those on primary metrics, ``undecided`` the undecided ones of them, whose
    minimum detectable differences are ``detectable``. Of the preregistered effect: ``enough``
    comparisons had the items to detect it, and with ``unreachable`` no number of items would.
    ``untested`` counts all comparisons whose equivalence could not be tested.
    """

    few_seeds: bool
    several_arms: bool
    comparisons: int
    undecided: int
    detectable: list[float]
    enough: int
    unreachable: int
    untested: int
    fewest_informative: int = FEWEST_INFORMATIVE


def certainty(view: View) -> tuple[str, ...]:
    """Return what intervals and tests account for, and what was preregistered."""
    comparisons = view.tested_comparisons()
    undecided = [comparison for comparison in comparisons if comparison.verdict == "undecided"]
    needed = [
        comparison.items_needed / comparison.items for comparison in comparisons if comparison.items
    ]
    facts = Certainty(
        few_seeds=len(view.results.seeds) < FEW_SEEDS,
        several_arms=len(view.arms) > 1,
        comparisons=len(comparisons),
        undecided=len(undecided),
        detectable=[
            comparison.minimum_detectable
            for comparison in undecided
            if isfinite(comparison.minimum_detectable)
        ],
        enough=sum(share <= 1 for share in needed),
        unreachable=sum(map(isinf, needed)),
        untested=sum(
            isnan(comparison.equivalence_p) and not isnan(comparison.p)
            for comparison in view.results.comparisons
        ),
    )
    return paragraphs("certainty", results=view.results, **vars(facts))


def limits(view: View) -> tuple[str, ...]:
    """Return the study's limitations."""
    benchmarks = view.results.benchmarks
    return paragraphs(
        "limits",
        results=view.results,
        titles={benchmark.name: benchmark.title for benchmark in benchmarks},
        flagged=[benchmark.title for benchmark in benchmarks if view.flagged(benchmark)],
        overlaps=[
            overlap for overlap in view.results.overlaps if overlap.pairs and overlap.overlapping
        ],
        truncated=[benchmark for benchmark in benchmarks if benchmark.truncated],
    )

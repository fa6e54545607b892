"""Invented outcomes of many items and models through comparison and report: time, memory, size.

python scripts/attacks/size.py --items 100000 --arms 12 --seeds 5
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ethosteer import catalog
from ethosteer.benchmarks.base import Benchmark
from ethosteer.evaluation.comparison import decide, measure_models
from ethosteer.evaluation.items import open_items, write_items
from ethosteer.evaluation.on_demand import OnDemand
from ethosteer.evaluation.outcomes import open_outcomes, write_outcomes
from ethosteer.evaluation.summary import summarise_with_terms
from ethosteer.files import to_json
from ethosteer.records import CONTROLS, Item, Model, Outcome
from ethosteer.report import write_report
from ethosteer.results.study import StudyResults
from ethosteer.settings import CompareSettings

Outcomes = list[tuple[str, str]]
LARGEST_REPORT = 10_000_000
"""Bytes that a report may have, however many items there are."""


def attack(seed: int, count: int, scratch: Path, arms: int = 12, seeds: int = 5) -> Outcomes:
    """Compare and report ``count`` invented items; return what was measured, by name."""
    benchmark = catalog.benchmark("toxigen")
    models = [*map(Model, CONTROLS)]
    models += [Model(f"arm{arm}", number) for arm in range(arms) for number in range(seeds)]
    measures: Outcomes = []

    def note(step: str, started: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        measures.append((step, f"{time.monotonic() - started:.1f} s, peak {peak / 1e6:.2f} GB"))

    started = time.monotonic()
    outcomes_file, items_file = scratch / "outcomes.parquet", scratch / "items.parquet"
    items = [
        Item(f"i{index}", (f"Is statement {index} acceptable to {index % 97} people?",) * 2,
             (" No", " Yes"), index % 2, f"g{index // 2}")
        for index in range(count)
    ]  # fmt: skip
    write_items(items_file, {benchmark.name: items})
    write_outcomes(outcomes_file, _invented(benchmark, models, items, seed))
    del items
    note("invent", started)
    started = time.monotonic()
    stored = open_outcomes(outcomes_file)

    def by_seed(name: str) -> dict[int, list[Outcome]]:
        return {it.seed: stored[benchmark.name, name, it.seed] for it in models if it.name == name}

    names = tuple(dict.fromkeys(model.name for model in models))
    settings = CompareSettings()
    outcomes = OnDemand({name: lambda name=name: by_seed(name) for name in names})  # type: ignore[misc]
    result, terms = summarise_with_terms(benchmark, count, outcomes)
    comparisons = decide(measure_models(benchmark, terms, settings), settings)
    results = StudyResults(
        study="size", question="How large?", control=settings.control, seeds=tuple(range(seeds)),
        models=names, cards=(), overlaps=(), arms=(), benchmarks=(result,),
        comparisons=tuple(comparisons), samples=(),
    )  # fmt: skip
    (scratch / "results.json").write_text(to_json(results), encoding="utf-8")
    note("compare", started)
    started = time.monotonic()
    write_report(results, stored, open_items(items_file), scratch)
    note("report", started)
    size = (scratch / "report.html").stat().st_size
    measures.append(("report.html", f"{size / 1e6:.2f} MB"))
    measures.append(("report below 10 MB", "yes" if size < LARGEST_REPORT else "NO"))
    measures.append(("outcomes.parquet", f"{outcomes_file.stat().st_size / 1e6:.1f} MB"))
    return measures


def _invented(
    benchmark: Benchmark, models: list[Model], items: list[Item], seed: int
) -> Iterator[list[Outcome]]:
    """Yield one model's outcomes after another."""
    draw = np.random.default_rng(seed)
    for model in models:
        scores = draw.normal(-3, 1, (len(items), 2))
        yield [
            Outcome(model.name, model.seed, benchmark.name, item.id, item.group, (), item.label,
                    int(pair[1] > pair[0]), int(pair[1] > pair[0]) == item.label,
                    tuple(pair), (2, 3))
            for item, pair in zip(items, scores.tolist(), strict=True)
        ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--arms", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name, value in attack(0, options.items, Path(scratch), options.arms, options.seeds):
            print(f"{name}: {value}")

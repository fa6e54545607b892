"""A finished run, read back from its folder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ethosteer.errors import InputError
from ethosteer.evaluation.items import ITEMS, read_items
from ethosteer.evaluation.outcomes import read_outcomes
from ethosteer.files import read_json, to_json, write_atomic
from ethosteer.records import Item, Outcome
from ethosteer.results import BenchmarkResult, StudyResults
from ethosteer.stages.store import MANIFEST
from ethosteer.study.run import OUTCOMES, RESULTS


@dataclass(frozen=True)
class Run:
    """A finished run: a study's results, the outcome of every model on every item, the items."""

    results: StudyResults
    outcomes: Sequence[Outcome]
    items: Mapping[str, Sequence[Item]]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.results.study

    def benchmark(self, name: str) -> BenchmarkResult | None:
        """Return the result on one benchmark, None where the study has not run it."""
        return next((result for result in self.results.benchmarks if result.name == name), None)


def open_run(folder: Path | str) -> Run:
    """Reopen a finished run from its folder: its results, outcomes and benchmark items.

        import ethosteer

        run = ethosteer.open_run("runs/demo")
        print(run.results.question, len(run.outcomes))

    Raises:
        InputError: a file of the run is missing or cannot be read.

    """
    folder = Path(folder)
    for name in (RESULTS, OUTCOMES, ITEMS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; run the study to its end first")
    results = read_json(folder / RESULTS, StudyResults)
    try:
        return Run(results, read_outcomes(folder / OUTCOMES), read_items(folder / ITEMS))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: its outcomes or items cannot be read: {error}") from error


def write_run_report(run: Run, folder: Path, *, texts: bool = True) -> None:
    """Write a finished run's report and ``results.json`` into ``folder``, which is made if missing.

    Without ``texts`` they hold no prompt, answer or item: those belong to the data's authors, and
    some are offensive.
    """
    from ethosteer.published.comparison import comparison_sections
    from ethosteer.report import write_report

    study_file = tomllib.loads(run.results.provenance.get("study file", ""))
    published = study_file.get("compare", {}).get("published")
    sections = comparison_sections(published, run.results, run.outcomes)
    results, items = run.results, run.items
    if not texts:
        benchmarks = tuple(replace(result, example="") for result in results.benchmarks)
        results, items = replace(results, samples=(), benchmarks=benchmarks), {}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RESULTS, to_json(results))
    names = (RESULTS, OUTCOMES, ITEMS, "study.toml", MANIFEST)
    beside = [name for name in names if (folder / name).is_file()]
    write_report(results, run.outcomes, items, folder, sections, beside)

"""A finished run, read back from its folder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ethosteer.errors import InputError
from ethosteer.evaluation.items import ITEMS, open_items
from ethosteer.evaluation.outcomes import Outcomes, open_outcomes
from ethosteer.files import make_folder, read_json, to_json, write_atomic
from ethosteer.progress import Terminal
from ethosteer.records import Item, Outcome
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.study import DATA_FOLDER, StudyResults
from ethosteer.study import frames
from ethosteer.study.export import find_arm
from ethosteer.study.folder import damaged_files, is_run_folder, read_origin, recorded_fingerprints
from ethosteer.study.load import load_study
from ethosteer.study.run import BESIDE, OUTCOMES, RESULTS, Study

if TYPE_CHECKING:
    import pandas as pd
    from peft import PeftModel


@dataclass(frozen=True)
class Run:
    """A finished run: a study's results, the outcome of every model on every item, the items.

    ``results`` is everything that the report shows. ``stored_outcomes``, by benchmark, model and
    seed, and ``item_records`` of a run's folder are read when they are asked for. ``outcomes``,
    ``items``, ``comparisons`` and ``pairs`` are pandas frames, made when they are first asked for.
    ``pairs``, ``report`` and ``model`` need the run's ``folder``.
    """

    results: StudyResults
    stored_outcomes: Outcomes
    item_records: Mapping[str, Sequence[Item]]
    folder: Path | None = None

    @property
    def outcome_records(self) -> list[Outcome]:
        """All outcomes, which of a large study need several GB of memory."""
        return [outcome for outcomes in self.stored_outcomes.values() for outcome in outcomes]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.results.study

    def benchmark(self, name: str) -> BenchmarkResult | None:
        """Return the result on one benchmark, None where the study has not run it."""
        return next((result for result in self.results.benchmarks if result.name == name), None)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """What every model answered: one row for each model, seed and item.

        Columns: ``model``, ``seed`` (0 for controls), ``benchmark``, ``item``, ``group`` (the
        cluster of dependent items), ``slices`` (tuple of names), ``label`` and ``predicted`` (index
        of a choice; missing where there is none), ``correct`` (missing without a label),
        ``log_likelihoods`` and ``lengths`` (tuples, a choice each), ``text`` (a generated answer),
        ``truncated``, ``scores`` (tuple, of a task of lm-evaluation-harness).
        """
        return frames.outcomes_frame(self.outcome_records)

    @cached_property
    def items(self) -> pd.DataFrame:
        """The items of all benchmarks as models read them: one row for each.

        Columns: ``benchmark``, ``item``, ``contexts`` and ``continuations`` (tuples, a choice
        each), ``label``, ``group``, ``slices``. ``benchmark`` and ``item`` are those of
        ``outcomes``.
        """
        return frames.items_frame(self.item_records)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """The comparisons of models: one row for two models and a metric of a benchmark.

        Columns: those of ``tables/comparisons.csv``. ``difference`` is a - b, ``low`` to ``high``
        its 95 % interval, ``decision_low`` to ``decision_high`` the one that ``verdict`` rests on.
        """
        return frames.comparisons_frame(self.results.comparisons)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The curated preference pairs: one row for each.

        Columns: ``arm`` (the first arm with the pair), ``dataset``, ``split`` ("train",
        "validation" or "test"), ``id``, ``prompt``, ``chosen``, ``rejected``, ``group`` (the
        scenario), ``row`` (of the published file).
        """
        study = self._study
        return frames.pairs_frame(
            {arm: study.store.load(study.plan.pairs[arm]) for arm in study.settings.data_arms()}
        )

    def model(self, arm: str, *, seed: int | None = None) -> PeftModel:
        """Load an arm's policy as a PEFT model on the study's base.

            model = ethosteer.open_run("runs/demo").model("virtue", seed=0)

        It is the checkpoint that the study evaluated, loaded by stock transformers and PEFT on the
        processor. Where the base was fine-tuned, the adapter holds that too. ``seed`` is the
        study's first where it is None. Raises InputError for an unknown arm, and where the base
        cannot be loaded.
        """
        study = self._study
        steering = study.plan.steering[find_arm(study.settings, arm, seed)]
        from ethosteer.models.stock import load_peft

        adapter = steering.checkpoint(study.store.path(steering), study.settings.steer.select)
        study.plan.base.check_unchanged()
        return load_peft(study.settings.base, adapter)

    def report(self, folder: Path | str | None = None, *, texts: bool = True) -> Path:
        """Write the report into ``folder``, by default the run's own; return the HTML file's path.

        Without ``texts`` it holds no prompt, answer or item and needs another folder, which may be
        published where the data may not.
        """
        target = Path(folder) if folder is not None else self._folder
        if not texts and self.folder is not None and target.resolve() == self.folder.resolve():
            raise InputError(f"{target}: is the run's own folder, whose report has its texts")
        write_run_report(self, target, texts=texts)
        return target / "report.html"

    @property
    def _folder(self) -> Path:
        if self.folder is None:
            raise InputError(f"run {self.name}: was not opened from a folder")
        return self.folder

    @cached_property
    def _study(self) -> Study:
        study = stored_study(self._folder)
        study.check_finished()
        return study


def open_run(folder: Path | str) -> Run:
    """Reopen a finished run from its folder: its results, outcomes and benchmark items.

        import ethosteer

        run = ethosteer.open_run("runs/demo")
        print(run.results.question)
        print(run.outcomes.groupby(["benchmark", "model"])["correct"].mean())

    Raises:
        InputError: a file of the run is missing or cannot be read.

    """
    folder = Path(folder)
    for name in (RESULTS, OUTCOMES, ITEMS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; run the study to its end first")
    if damaged := damaged_files(folder):
        raise InputError(
            f"{damaged[0]}: is damaged: it is not what the run wrote; `ethosteer run {folder}` "
            "writes it again"
        )
    results = read_json(folder / RESULTS, StudyResults)
    return Run(results, open_outcomes(folder / OUTCOMES), open_items(folder / ITEMS), folder)


def is_readable_run(folder: Path) -> bool:
    """Return whether ``folder`` is that of a run, or holds what is left of one: its results."""
    return is_run_folder(folder) or (folder / RESULTS).is_file()


def stored_study(folder: Path, terminal: Terminal | None = None) -> Study:
    """Return the study whose run is in ``folder``, with the settings and data that it remembers.

    Of a finished run the stored work is found without the data.
    """
    settings = load_study(str(folder))
    return Study(
        settings,
        folder.parent,
        read_origin(folder, settings),
        terminal,
        folder=folder,
        recorded=recorded_fingerprints(folder),
    )


def write_run_report(run: Run, folder: Path, *, texts: bool = True) -> None:
    """Write a finished run's report and ``results.json`` into ``folder``, which is made if missing.

    Without ``texts`` they hold no prompt, answer or item: those belong to the data's authors, and
    some are offensive. Nor do they name the folder of the data.
    """
    from ethosteer.published.comparison import comparison_sections
    from ethosteer.report import write_report
    from ethosteer.report.preferences import preference_sections

    study_file = tomllib.loads(run.results.provenance.get("study file", ""))
    published = study_file.get("compare", {}).get("published")
    sections = comparison_sections(published, run.results, run.stored_outcomes)
    if run.folder is not None:
        sections = (*preference_sections(run.folder), *sections)
    results, items = run.results, run.item_records
    if not texts:
        benchmarks = tuple(replace(result, example="") for result in results.benchmarks)
        provenance = dict(results.provenance)
        if DATA_FOLDER in provenance:
            provenance[DATA_FOLDER] = "DATA"
        results = replace(results, samples=(), benchmarks=benchmarks, provenance=provenance)
        items = {}
    make_folder(folder)
    if run.folder is None or folder.resolve() != run.folder.resolve():
        write_atomic(folder / RESULTS, to_json(results))
    beside = [name for name in BESIDE if (folder / name).is_file()]
    write_report(results, run.stored_outcomes, items, folder, sections, beside)

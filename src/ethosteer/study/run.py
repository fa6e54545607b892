"""The run of a study: its stages, and the files it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import tomli_w

from ethosteer import provenance
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.items import ITEMS, write_items
from ethosteer.evaluation.outcomes import write_outcomes
from ethosteer.files import to_json, write_atomic, write_json
from ethosteer.models.cached import prepare_base
from ethosteer.progress import Terminal
from ethosteer.results import StageTime
from ethosteer.settings import StudySettings
from ethosteer.stages.store import MANIFEST, Store
from ethosteer.stages.workspace import Workspace
from ethosteer.study.check import check_inputs
from ethosteer.study.plan import Plan
from ethosteer.study.preregistered import changed_since, preregister

RESULTS = "results.json"
OUTCOMES = "outcomes.parquet"
FILES = (
    "study.toml", MANIFEST, RESULTS, OUTCOMES, ITEMS,
    "report.html", "report.md", "tables/benchmarks.csv",
)  # fmt: skip


class Study:
    """A study with its folder, plan, artifacts and data."""

    def __init__(
        self, settings: StudySettings, runs: Path, origin: Origin, terminal: Terminal | None = None
    ) -> None:
        self.settings = settings
        self.folder = runs / settings.name
        self.plan = Plan(settings, origin)
        self.store = Store(self.folder / "artifacts")
        self.workspace = Workspace(
            self.store,
            self.folder / "tracking",
            settings.track.trackers,
            terminal or Terminal(),
        )

    def is_finished(self) -> bool:
        """Return whether every stage is done and the run's files are up to date."""
        if self.store.missing(self.plan.stages):
            return False
        if not all((self.folder / name).is_file() for name in FILES):
            return False
        # settings such as compare.published are in no stage's identity, but in the report
        if (self.folder / "study.toml").read_text("utf-8") != self.as_toml():
            return False
        manifest = json.loads((self.folder / MANIFEST).read_text("utf-8"))
        return bool(manifest["fingerprint"] == self.plan.comparison.fingerprint)

    def check_finished(self) -> None:
        """Raise InputError, naming what is missing, unless every stage is done."""
        self._prepare_base()
        missing = self.store.missing(self.plan.stages)
        if missing:
            raise InputError(
                f"study {self.settings.name} in {self.folder} is not finished with these settings: "
                f"{len(missing)} steps are missing, first {missing[0].kind} {missing[0].name}; "
                "run it first (with the same --set, --data-dir and --runs-dir)"
            )

    def run(self) -> bool:
        """Run the stages without artifacts; return False where nothing was missing.

        Raises InputError for invalid input, before any model is trained.
        """
        with self.store.lock():
            self._prepare_base()
            if self.is_finished():
                return False
            missing = self.store.missing(self.plan.stages)
            if missing:
                check_inputs(self.plan)
            write_atomic(self.folder / "study.toml", self.as_toml())
            known = any(self.store.has(stage) for stage in self.plan.evaluation.values())
            preregister(self.settings.compare, self.store.root, outcomes_known=known)
            for batch in self.plan.batches(missing):
                type(batch[0]).run(batch, self.workspace)
            self.write_files()
        return True

    def _prepare_base(self) -> None:
        """Fetch or convert the base where it is missing: stored work is recognised by it."""
        prepare_base(self.settings.base.model, self.workspace.terminal)

    def write_files(self) -> None:
        """Write the run's files anew from what is stored; LookupError if a stage is not done."""
        from ethosteer.published.comparison import comparison_sections
        from ethosteer.report import write_report

        store, plan = self.store, self.plan
        seconds = {stage: store.seconds(stage) for stage in plan.stages}
        by_kind: dict[str, float] = {}
        for stage, spent in seconds.items():
            by_kind[stage.kind] = by_kind.get(stage.kind, 0.0) + spent
        made_with = provenance.describe()
        results = replace(
            store.load(plan.comparison),
            provenance=made_with | {"study file": self.as_toml()},
            times=tuple(StageTime(kind, spent) for kind, spent in by_kind.items()),
            deviations=changed_since(self.settings.compare, store.root),
        )
        outcomes = [outcome for stage in plan.evaluation.values() for outcome in store.load(stage)]
        items = {name: store.load(stage) for name, stage in plan.items.items()}
        write_items(self.folder / ITEMS, items)
        write_outcomes(self.folder / OUTCOMES, outcomes)
        write_atomic(self.folder / RESULTS, to_json(results))
        published = comparison_sections(self.settings.compare.published, results, outcomes)
        beside = (RESULTS, OUTCOMES, ITEMS, "study.toml", MANIFEST)
        write_report(results, outcomes, items, self.folder, published, beside)
        write_json(
            self.folder / MANIFEST,
            {
                "study": self.settings.name,
                "fingerprint": plan.comparison.fingerprint,
                "made_with": made_with,
                "steps": {
                    f"{stage.kind}/{stage.name}": {
                        "fingerprint": stage.fingerprint,
                        "seconds": spent,
                    }
                    for stage, spent in seconds.items()
                },
            },
        )

    def as_toml(self) -> str:
        """Return the study file with every setting written out."""
        return tomli_w.dumps(self.settings.model_dump(mode="json", exclude_none=True))

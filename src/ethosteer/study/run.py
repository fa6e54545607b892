"""A study: its plan carried out, stage by stage, and its files."""

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
from ethosteer.files import read_json, to_json, write_atomic, write_json
from ethosteer.models.base import quiet_libraries
from ethosteer.progress import Terminal
from ethosteer.report import write_report
from ethosteer.results import StudyResults
from ethosteer.settings import StudySettings
from ethosteer.stages import compare, cross, curate, evaluate, finetune, reward, steer
from ethosteer.stages.store import MANIFEST
from ethosteer.stages.workspace import Workspace
from ethosteer.study import preregistered as declaration

FILES = (
    "study.toml", MANIFEST, "results.json", "outcomes.parquet", "items.parquet",
    "report.html", "report.md", "tables/benchmarks.csv",
)  # fmt: skip


class Study:
    """A study file brought together with its folder and its data."""

    def __init__(
        self, config: StudySettings, runs: Path, origin: Origin, terminal: Terminal | None = None
    ) -> None:
        quiet_libraries()
        self.config = config
        self.folder = runs / config.name
        self.workspace = Workspace(config, self.folder, origin, terminal or Terminal())

    def is_finished(self) -> bool:
        """Say whether every step is done and the run's files stand."""
        if self.workspace.missing(self.workspace.plan.steps()):
            return False
        if not all((self.folder / name).is_file() for name in FILES):
            return False
        manifest = json.loads((self.folder / MANIFEST).read_text("utf-8"))
        return bool(manifest["fingerprint"] == self.workspace.plan.comparison.fingerprint)

    def check_finished(self) -> None:
        """Raise InputError, naming what is missing, unless every step is done."""
        missing = self.workspace.missing(self.workspace.plan.steps())
        if missing:
            raise InputError(
                f"study {self.config.name} in {self.folder} is not finished with these settings: "
                f"{len(missing)} steps are missing, first {missing[0].stage} {missing[0].name}; "
                "run it first (with the same --set, --data-dir and --runs-dir)"
            )

    def run(self) -> bool:
        """Do what is missing; return False where there was nothing to do.

        Raises InputError for bad input, before any model is trained.
        """
        work = self.workspace
        with work.store.lock():
            if self.is_finished():
                return False
            if work.missing(work.plan.steps()):
                curate.check_inputs(work)
            write_atomic(self.folder / "study.toml", self.as_toml())
            declaration.declare(work)
            curate.run(work)
            finetune.run(work)
            for seed in self.config.seeds:
                reward.run(work, seed)
                steer.run(work, seed)
            for seed in self.config.seeds:
                cross.run(work, seed)
            evaluate.run(work)
            compare.run(work)
            self.write_files()
        return True

    def write_files(self) -> None:
        """Write the run's files anew from what is stored; InputError if the study is not done."""
        work = self.workspace
        seconds = {f"{step.stage}/{step.name}": work.seconds(step) for step in work.plan.steps()}
        results = replace(
            read_json(work.path(work.plan.comparison) / compare.RESULTS, StudyResults),
            provenance=provenance.describe() | {"study file": self.as_toml()},
            times=compare.stage_times(seconds),
            deviations=declaration.undeclared(work),
        )
        outcomes, items = evaluate.all_outcomes(work), evaluate.stored_items(work)
        write_items(self.folder / ITEMS, items)
        write_outcomes(self.folder / "outcomes.parquet", outcomes)
        write_atomic(self.folder / "results.json", to_json(results))
        write_report(results, outcomes, items, self.folder)
        write_json(
            self.folder / MANIFEST,
            {
                "study": self.config.name,
                "fingerprint": work.plan.comparison.fingerprint,
                "made_with": provenance.describe(),
                "steps": {
                    f"{step.stage}/{step.name}": {
                        "fingerprint": step.fingerprint,
                        "seconds": seconds[f"{step.stage}/{step.name}"],
                    }
                    for step in work.plan.steps()
                },
            },
        )

    def as_toml(self) -> str:
        """Return the study file with every setting written out."""
        return tomli_w.dumps(self.config.model_dump(mode="json", exclude_none=True))

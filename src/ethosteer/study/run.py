"""The run of a study: its stages, and the files it writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w

from ethosteer import interruption, processes, provenance
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.items import ITEMS, write_items
from ethosteer.evaluation.on_demand import OnDemand
from ethosteer.evaluation.outcomes import write_outcomes
from ethosteer.files import DISK_FULL, file_hash, to_json, write_atomic, write_json, writing
from ethosteer.models.cached import prepare_base
from ethosteer.models.engine.connection import ADAPTERS, Connection, Needs
from ethosteer.models.fast.budget import held_in_memory
from ethosteer.progress import Terminal
from ethosteer.results.study import DATA_FOLDER, StageTime
from ethosteer.settings import StudySettings
from ethosteer.stages.manifest import MANIFEST, DamagedArtifactError
from ethosteer.stages.stage import Stage
from ethosteer.stages.store import Store
from ethosteer.stages.workspace import Workspace
from ethosteer.study.batches import batches
from ethosteer.study.check import check_inputs
from ethosteer.study.claims import refuse_workers
from ethosteer.study.folder import (
    ORIGIN,
    STUDY_FILE,
    absolute,
    damaged_files,
    inputs_fingerprint,
    read_manifest,
    recall,
    remembers,
    write_origin,
)
from ethosteer.study.plan import Plan
from ethosteer.study.preregistered import changed_since, preregister
from ethosteer.study.remaining import expected_seconds
from ethosteer.study.sampled_together import sampled_together
from ethosteer.study.together import follow, leading, run_with_others

RESULTS = "results.json"
OUTCOMES = "outcomes.parquet"
ROLLOUT = "rollout"
FILES = (
    STUDY_FILE, ORIGIN, MANIFEST, RESULTS, OUTCOMES, ITEMS,
    "report.html", "report.md", "tables/benchmarks.csv",
)  # fmt: skip
VERIFIED = (RESULTS, OUTCOMES, ITEMS)
"""The files whose hashes the run's manifest has; the others are made from them."""
BESIDE = (RESULTS, OUTCOMES, ITEMS, STUDY_FILE, MANIFEST)
"""The files that a report beside them links to."""


class Study:
    """A study with its folder, plan, artifacts and data.

    Its folder is ``runs/NAME``, or ``folder`` where one is given. With ``recorded``, the stages'
    fingerprints of a finished run, its artifacts are found without its data; ``is_recorded`` says
    whether they all are.
    """

    def __init__(
        self,
        settings: StudySettings,
        runs: Path,
        origin: Origin,
        terminal: Terminal | None = None,
        *,
        folder: Path | None = None,
        recorded: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.folder = folder or runs / settings.name
        stored = Plan(settings, origin, stored=True)
        self.is_recorded = bool(recorded) and recall(stored.comparison, recorded)
        self.plan = stored if self.is_recorded else Plan(settings, origin)
        terminal = terminal or Terminal()
        self.store = Store(self.folder / "artifacts", terminal.say)
        self.workspace = Workspace(
            self.store,
            self.folder / "tracking",
            settings.track.trackers,
            terminal,
            _engine(settings, self.folder, terminal),
        )

    def is_finished(self) -> bool:
        """Return whether every stage is done and the run's files are up to date."""
        if self.store.missing(self.plan.stages):
            return False
        if not all((self.folder / name).is_file() for name in FILES):
            return False
        # settings such as compare.published are in no stage's identity, but in the report
        if (self.folder / STUDY_FILE).read_bytes() != self.as_toml().encode():
            return False
        if not remembers(self.folder, self.plan.origin):
            return False
        return read_manifest(self.folder).get(
            "fingerprint"
        ) == self.plan.comparison.fingerprint and not damaged_files(self.folder)

    def check_finished(self) -> None:
        """Raise InputError, naming what is missing, unless every stage is done."""
        if not self.is_recorded:
            self.prepare_base()
        missing = self.store.missing(self.plan.stages)
        if missing:
            raise InputError(
                f"study {self.settings.name} in {self.folder} is not finished with these settings: "
                f"{len(missing)} steps are missing, first {missing[0].kind} {missing[0].name}; "
                "run it first (with the same --set, --data-dir and --runs-dir), or name the folder "
                "of a finished run"
            )

    def run(self) -> bool:
        """Run the stages without artifacts; return False where nothing was missing.

        Of processes that share a base the main one does so, and the others follow it. Raises
        InputError for invalid input, before any model is trained, and where other processes are at
        work on the study.
        """
        if not processes.is_main():
            follow(self.plan, self.workspace)
            return True
        with self.store.lock(), leading():
            refuse_workers(self.store.root, self.workspace.terminal.say)
            self.prepare_base()
            self.tidy()
            if self.is_finished():
                return False
            missing = self.store.missing(self.plan.stages)
            if missing:
                self.check()
            self.begin()
            self._make(missing)
            for line in self.other_work():
                self.workspace.terminal.say(line)
        return True

    def tidy(self) -> None:
        """Remove what killed processes left, where no other process is at work on the study."""
        self.store.tidy()
        for adapters in (self.folder / ROLLOUT).glob(f"*/{ADAPTERS}"):  # of workers
            shutil.rmtree(adapters, ignore_errors=True)

    def check(self) -> None:
        """Read all input once; raises InputError for what is invalid, or for an unfit engine."""
        check_inputs(self.plan)
        if self.workspace.engine is not None:
            self.workspace.engine.check()

    def begin(self) -> None:
        """Write what is known before the work: settings, the data's origin, the preregistration."""
        self._remember()
        known = any(self.store.has(stage) for stage in self.plan.evaluation.values())
        preregister(self.settings.compare, self.store.root, outcomes_known=known)

    def share(self, writer: str, confirm: Callable[[], None]) -> None:
        """Store as one of several workers does, by its name and under its claims (claims.py)."""
        self.store = replace(self.store, writer=writer, confirm=confirm)
        engine = self.workspace.engine
        if engine is not None:
            engine = replace(engine, folder=engine.folder / writer)
        self.workspace = replace(self.workspace, store=self.store, engine=engine)

    def other_work(self) -> list[str]:
        """Say of each checkpoint of other settings that it is kept, and when it may be deleted."""
        return [
            f"{folder}: has a checkpoint of other settings, from which work goes on where they are "
            "set back; delete it if they will not be"
            for folder in self.store.other_checkpoints(self.plan.stages)
        ]

    def _make(self, missing: Sequence[Stage[Any]]) -> None:
        """Run stages and write the run's files; make again what turns out to be damaged."""
        while True:
            try:
                self._run_stages(missing)
                with writing(self.folder, DISK_FULL):
                    self.write_files()
            except DamagedArtifactError as fault:
                self.workspace.terminal.say(str(fault))
                missing = self.store.missing(self.plan.stages)
            else:
                return

    def _run_stages(self, missing: Sequence[Stage[Any]]) -> None:
        try:
            expected = expected_seconds(self.plan, self.store)
        except InputError:  # a base whose shape is unknown until it is loaded
            expected = dict.fromkeys(missing, 1.0)
        with (
            self.workspace.terminal.overall(sum(expected.values())) as overall,
            closing(self.workspace),
        ):
            for batch in batches(self.plan, self.store, missing):
                with overall.work(sum(expected.get(stage, 0.0) for stage in batch)):
                    self.run_batch(batch)
                interruption.stop_if_requested()

    def run_batch(self, batch: Sequence[Stage[Any]]) -> None:
        """Make the stages of one batch, and store them."""
        with (
            writing(self.folder, DISK_FULL),
            held_in_memory("the base, the adapters and their optimisers"),
        ):
            run_with_others(batch, self.workspace)

    def prepare_base(self) -> None:
        """Fetch or convert the base where it is missing: stored work is recognised by it."""
        prepare_base(self.settings.base.model, self.workspace.terminal)

    def write_files(self) -> None:
        """Write the run's files anew from what is stored; LookupError if a stage is not done."""
        self._remember()
        from ethosteer.published.comparison import comparison_sections
        from ethosteer.report import write_report
        from ethosteer.report.preferences import preference_sections

        store, plan = self.store, self.plan
        seconds = {stage: store.seconds(stage) for stage in plan.stages}
        by_kind: dict[str, float] = {}
        for stage, spent in seconds.items():
            by_kind[stage.kind] = by_kind.get(stage.kind, 0.0) + spent
        base = self.settings.base
        number_format: str = base.dtype
        if base.autocast:
            number_format += ", autocast to bfloat16"
        if base.quantise:
            number_format += f", weights in {base.quantise}"
        made_with = provenance.describe() | {"number format of the base": number_format}
        if sampler := self.settings.rollout.sampler:
            made_with["sampling engine"] = sampler
        if not base.is_exact:
            made_with["arms sampled in one batch (seeds)"] = sampled_together(plan, store)
        if data_folder := absolute(plan.origin).folder:
            made_with[DATA_FOLDER] = str(data_folder)
        results = replace(
            store.load(plan.comparison),
            provenance=made_with | {"study file": self.as_toml()},
            times=tuple(StageTime(kind, spent) for kind, spent in by_kind.items()),
            deviations=changed_since(self.settings.compare, store.root),
        )
        outcomes = OnDemand(
            {
                (benchmark, model.name, model.seed): partial(store.load, stage)
                for (benchmark, model), stage in plan.evaluation.items()
            }
        )
        items = OnDemand({name: partial(store.load, stage) for name, stage in plan.items.items()})
        write_items(self.folder / ITEMS, items)
        write_outcomes(self.folder / OUTCOMES, outcomes.values())
        write_atomic(self.folder / RESULTS, to_json(results))
        published = comparison_sections(self.settings.compare.published, results, outcomes)
        sections = (*preference_sections(self.folder), *published)
        write_report(results, outcomes, items, self.folder, sections, BESIDE)
        write_json(
            self.folder / MANIFEST,
            {
                "study": self.settings.name,
                "fingerprint": plan.comparison.fingerprint,
                "inputs": inputs_fingerprint(self.folder),
                "files": {name: file_hash(self.folder / name) for name in VERIFIED},
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

    def _remember(self) -> None:
        """Write the study file and the origin of its data, by which the folder is a handle.

        Raises InputError where the folder cannot be written.
        """
        write_atomic(self.folder / STUDY_FILE, self.as_toml())
        write_origin(self.folder, self.plan.origin)

    def as_toml(self) -> str:
        """Return the study file with every setting written out."""
        return tomli_w.dumps(self.settings.model_dump(mode="json", exclude_none=True))


def _engine(settings: StudySettings, folder: Path, terminal: Terminal) -> Connection | None:
    """Return what leads to the server that samples for a study; None where ethosteer does."""
    if settings.rollout.sampler is None:
        return None
    arms, fine_tuning = len(settings.arms), settings.finetune
    needs = Needs(
        # the server has the raw base, so an arm's adapter has fine-tuning's stacked below it
        rank=settings.steer.lora.r + (fine_tuning.lora.r if fine_tuning.enabled else 0),
        # the control beside the arms of a seed, and beside those of all seeds
        together=arms + 1,
        kept=arms * len(settings.seeds) + 1 + fine_tuning.enabled,
        tokens=settings.data.max_prompt_tokens + settings.steer.max_new_tokens,
    )
    return Connection(settings.rollout, settings.base, folder / ROLLOUT, needs, terminal)

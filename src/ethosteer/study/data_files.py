"""What a study reads that is published: files of a data folder, and classifiers of the hub."""

from __future__ import annotations

from pathlib import Path

from ethosteer import catalog
from ethosteer.data.fetch.remote import Remote
from ethosteer.data.sources import Origin
from ethosteer.settings import StudySettings
from ethosteer.stages.stage import PublishedFiles
from ethosteer.study.plan import Plan


def data_files(settings: StudySettings, folder: Path) -> list[Remote]:
    """Return the files that ``run --data-dir folder`` reads, in the order of the work.

    Files of its datasets, benchmarks and conversations; not those of the bundled sample.
    """
    plan = Plan(settings, Origin("folder", folder))
    files: list[PublishedFiles] = [stage.files for stage in plan.pairs.values()]
    files += [stage.files for stage in plan.asked_pairs.values()]
    files += [stage.files for stage in plan.items.values()]
    if settings.finetune.enabled or settings.data.prompts == "conversations":
        files.append(plan.conversations)
    sources = [source for entry in files if entry.origin == plan.origin for source in entry.sources]
    return list({source.path: source.remote for source in sources}.values())


def hub_classifiers(settings: StudySettings) -> list[str]:
    """Return the classifiers of generated texts that a study names and the hub has."""
    named = (
        entry.classifier
        for name, entry in catalog.study_benchmarks(settings).items()
        if catalog.benchmark(name).classification
    )
    return [
        name
        for name in dict.fromkeys(named)
        if name not in (None, "trained") and not Path(name).is_dir()
    ]

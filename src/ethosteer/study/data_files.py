"""What a study reads that is fetched: files of a data folder; datasets and models of the hub."""

from __future__ import annotations

from pathlib import Path

from ethosteer.data.hub import HubDataset
from ethosteer.data.sources import Origin, Source
from ethosteer.settings import StudySettings
from ethosteer.stages.stage import PublishedFiles
from ethosteer.study.plan import Plan


def data_files(settings: StudySettings, folder: Path) -> list[Source]:
    """Return the published files that ``run --data-dir folder`` reads, in the order of the work.

    Files of its datasets, benchmarks and conversations; not those of the bundled sample, nor files
    that the study names, which are where they are.
    """
    sources = _sources(settings, folder)
    return list({entry.path: entry for entry in sources if not entry.is_users}.values())


def hub_datasets(settings: StudySettings) -> list[HubDataset]:
    """Return the datasets of the hub that a study's arms name."""
    named = (entry.hub for entry in _sources(settings, Path()))
    return list(dict.fromkeys(entry for entry in named if entry is not None))


def hub_classifiers(settings: StudySettings) -> list[str]:
    """Return the classifiers of generated texts that a study names and the hub has."""
    plan = Plan(settings, Origin("folder", Path()))
    named = (
        plan.items[name].benchmarks.classifier
        for name, benchmark in plan.benchmarks.items()
        if benchmark.classification
    )
    return [
        name
        for name in dict.fromkeys(named)
        if name is not None and name != "trained" and not Path(name).is_dir()
    ]


def _sources(settings: StudySettings, folder: Path) -> list[Source]:
    plan = Plan(settings, Origin("folder", folder))
    files: list[PublishedFiles] = [stage.files for stage in plan.pairs.values()]
    files += [stage.files for stage in plan.asked_pairs.values()]
    # tasks of lm-evaluation-harness read their own data
    items = (stage.files for stage in plan.items.values())
    files += [entry for entry in items if isinstance(entry, PublishedFiles)]
    if settings.finetune.enabled or settings.data.prompts == "conversations":
        files.append(plan.conversations)
    return [source for entry in files if entry.origin == plan.origin for source in entry.sources]

"""Curate: published rows become preference pairs, split by group, with a card."""

from __future__ import annotations

from ethosteer import catalog
from ethosteer.algorithms.tracking import check_trackers
from ethosteer.data.conversations import read_conversations
from ethosteer.data.pair_sets import curate, read_set, write_set
from ethosteer.data.prompts import first_turns, steering_prompts
from ethosteer.evaluation.answering import benchmark_classifier
from ethosteer.evaluation.items import load_items
from ethosteer.files import write_json
from ethosteer.records import PreferenceSet, Split, Turn
from ethosteer.stages.workspace import PROMPTS, Workspace


def check_inputs(work: Workspace) -> None:
    """Read all published files and classifiers once, so that bad input ends it before any work."""
    for name, settings in work.config.arms.items():
        dataset = catalog.dataset(work.config.dataset_of(name))
        rows = dataset.rows(work.origin.locate(dataset.source))
        for _ in dataset.pairs(rows, settings.pairs_per_group):
            pass
    for name, own in work.config.benchmarks.items():
        load_items(catalog.benchmark(name), own, work.origin)
        benchmark_classifier(catalog.benchmark(name), own, work.origin)
    read_conversations(work.plan.conversations)
    check_trackers(work.config.track.trackers)


def run(work: Workspace) -> None:
    """Curate every arm's dataset and the steering prompts, where that is not done."""
    for name in work.missing_of(work.plan.curation, work.config.data_arms()):
        with (
            work.terminal.stage(f"curate {name}"),
            work.writing(work.plan.curation[name]) as folder,
        ):
            dataset = catalog.dataset(work.config.dataset_of(name))
            settings = work.config.arms[name]
            write_set(
                curate(dataset, settings, work.config.data, work.origin, work.template), folder
            )
    if not work.is_done(work.plan.prompts):
        with work.terminal.stage("curate prompts"), work.writing(work.plan.prompts) as folder:
            write_json(
                folder / PROMPTS,
                {"train": _prompts(work, "train"), "test": _prompts(work, "test")},
            )


def _prompts(work: Workspace, split: Split) -> list[list[Turn]]:
    limit = work.config.data.max_prompt_tokens
    if work.config.data.prompts == "conversations":
        conversations = read_conversations(work.plan.conversations)
        return first_turns(conversations, split, work.template, limit)
    sets = [stored_set(work, name) for name in work.config.data_arms()]
    return steering_prompts(sets, split, work.template, limit)


def stored_set(work: Workspace, name: str) -> PreferenceSet:
    """Return an arm's curated pairs."""
    return read_set(work.path(work.plan.curation[name]))

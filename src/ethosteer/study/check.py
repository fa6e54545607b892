"""All input of a study is read once, so that errors are found before any expensive work."""

from __future__ import annotations

from ethosteer import catalog
from ethosteer.data.conversations import read_conversations
from ethosteer.study.plan import Plan


def check_inputs(plan: Plan) -> None:
    """Read all published files and classifiers; InputError with file and row if one is invalid."""
    from ethosteer.algorithms.tracking import check_trackers

    for stage in dict.fromkeys(plan.pairs.values()):
        (path,) = stage.files.paths()
        dataset = catalog.dataset(stage.dataset)
        for _ in dataset.pairs(dataset.rows(path), stage.arms.pairs_per_group):
            pass
    for items in plan.items.values():
        items.read()
        items.classifier()
    (path,) = plan.conversations.paths()
    read_conversations(path)
    check_trackers(plan.settings.track.trackers)

"""All input of a study is read once, so that errors are found before any expensive work."""

from __future__ import annotations

from ethosteer.data.conversations import read_conversations
from ethosteer.errors import InputError
from ethosteer.study.plan import Plan


def check_inputs(plan: Plan) -> None:
    """Check the base, then read all published files and classifiers.

    Raises InputError for a base that cannot do what the study asks, and with file and row for
    invalid data.
    """
    from ethosteer.algorithms.tracking import check_trackers
    from ethosteer.models.requests import in_chat
    from ethosteer.models.requirements import check_base

    definitions = {name: items.definition() for name, items in plan.items.items()}
    check_base(plan.settings, {name: table.new_tokens for name, table in definitions.items()})
    for stage in dict.fromkeys((*plan.pairs.values(), *plan.asked_pairs.values())):
        (path,) = stage.files.paths()
        dataset = stage.definition()
        for _ in dataset.pairs(dataset.rows(path), stage.arms.pairs_per_group):
            pass
    for items in plan.items.values():
        read = items.read()
        if not read:
            raise InputError(
                f"benchmarks.{items.benchmark}.limit: {items.benchmarks.limit} leaves no item, "
                "since groups are taken whole; raise it"
            )
        in_chat(read[:1], items.request_template())
        items.classifier()
    if plan.settings.finetune.enabled or plan.settings.data.prompts == "conversations":
        (path,) = plan.conversations.paths()
        read_conversations(path)
    check_trackers(plan.settings.track.trackers)

"""All input of a study is read once, so that errors are found before any expensive work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ethosteer.data.conversations import read_conversations
from ethosteer.data.pair_sets import curate
from ethosteer.errors import InputError
from ethosteer.evaluation.items import pair_items, written_pairs
from ethosteer.records import Item
from ethosteer.stages.evaluate import Items, PairItems, WrittenPairs
from ethosteer.study.plan import Plan

if TYPE_CHECKING:
    from ethosteer.models.text import Template


def check_inputs(plan: Plan) -> None:
    """Check the base, then read all published files and classifiers.

    Raises InputError for a base that cannot do what the study asks, and with file and row for
    invalid data.
    """
    from ethosteer.algorithms.tracking import check_trackers
    from ethosteer.models.loading import load_tokenizer
    from ethosteer.models.requests import check_requests, in_chat
    from ethosteer.models.requirements import check_base
    from ethosteer.models.text import Template

    definitions = {name: items.definition() for name, items in plan.items.items()}
    check_base(plan.settings, {name: table.new_tokens for name, table in definitions.items()})
    data = plan.settings.data
    template = Template(data.template, load_tokenizer(plan.settings.base), data.date)
    for stage in dict.fromkeys((*plan.pairs.values(), *plan.asked_pairs.values())):
        (path,) = stage.files.paths()
        dataset = stage.definition()
        for _ in dataset.pairs(dataset.rows(path), stage.arms.pairs_per_group):
            pass
    for items in plan.items.values():
        read = _items_to_answer(items, template)
        if not read:
            raise InputError(
                f"benchmarks.{items.benchmark}.limit: {items.benchmarks.limit} leaves no item, "
                "since groups are taken whole; raise it"
            )
        written = in_chat(read, items.request_template())
        check_requests(template.tokenizer, items.benchmark, written)
        items.classifier()
    if plan.settings.finetune.enabled or plan.settings.data.prompts == "conversations":
        (path,) = plan.conversations.paths()
        read_conversations(path)
    check_trackers(plan.settings.track.trackers)


def _items_to_answer(items: Items, template: Template) -> list[Item]:
    """Return the items that models will answer, pairs as they are trained on where that matters."""
    if isinstance(items, WrittenPairs):
        return written_pairs(items.definition(), items.benchmarks, items.origin, template)
    if isinstance(items, PairItems) and items.benchmarks.limit is not None:
        # a group that curation drops must not be the one that the limit keeps
        stage = items.pairs
        curated = curate(stage.definition(), stage.arms, stage.data, stage.files.origin, template)
        return pair_items(curated.test, items.benchmarks, template)
    return items.read()

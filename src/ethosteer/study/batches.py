"""The batches in which the missing stages of a study are made.

Arms that sample together, and models that answer together, depend on each other by rounding, which
sampling makes a difference of whole answers. So where one of them is missing, because the process
was killed between two or a file was damaged, the whole batch is made again as it was, and what is
stored already stays. An interrupted batch goes on from its checkpoint likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ethosteer.stages.stage import Stage
from ethosteer.stages.store import Store
from ethosteer.study.plan import Plan


def batches(plan: Plan, store: Store, missing: Sequence[Stage[Any]]) -> list[list[Stage[Any]]]:
    """Group missing stages, which are in the order of the work, into those that run together.

    A batch that was begun, or made, with stages that are stored has them too.
    """
    by_key = {store.key(stage): stage for stage in plan.stages}
    peers: dict[object, list[Stage[Any]]] = {}
    for stage in plan.stages:
        peers.setdefault(stage.batch(), []).append(stage)
    result = []
    for batch in plan.batches(missing):
        made = {store.together(stage) for stage in peers[batch[0].batch()]}
        made = {keys for keys in made if keys and by_key.keys() >= set(keys)}
        groups: dict[tuple[str, ...], list[Stage[Any]]] = {}
        for stage in batch:
            whole = next((keys for keys in sorted(made) if store.key(stage) in keys), ())
            groups.setdefault(whole, []).append(stage)
        result += [[by_key[key] for key in keys] or stages for keys, stages in groups.items()]
    return result

"""The batches in which the missing stages of a study are made.

Arms that sample together, and models that answer together, depend on each other by rounding, which
sampling makes a difference of whole answers. So where one of them is missing, because the process
was killed between two or a file was damaged, the whole batch is made again as it was, and what is
stored already stays. An interrupted batch goes on from its checkpoint likewise.

Workers make the same batches, whichever of them makes one, so that their numbers are those of one
process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ethosteer.files import fingerprint
from ethosteer.stages.stage import Stage
from ethosteer.stages.store import Store
from ethosteer.study.folder import with_inputs
from ethosteer.study.plan import Plan


def batches(
    plan: Plan, store: Store, missing: Sequence[Stage[Any]], *, separated: bool = False
) -> list[list[Stage[Any]]]:
    """Group missing stages, which are in the order of the work, into those that run together.

    A batch that was begun, or made, with stages that are stored has them too. With ``separated``,
    stages whose numbers do not depend on their batch are batches of one, unless begun together.
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
        for keys, stages in groups.items():
            if keys:
                result.append([by_key[key] for key in keys])
            elif separated and stages[0].is_separable:
                result += [[stage] for stage in stages]
            else:
                result.append(stages)
    return result


def ready(
    plan: Plan, store: Store, missing: Sequence[Stage[Any]]
) -> Iterator[tuple[str, list[Stage[Any]]]]:
    """Yield the batches that workers may make now, by a name: all that they read is stored.

    The name is the same in every process while any stage of the batch is missing.
    """
    absent = set(missing)
    for batch in batches(plan, store, missing, separated=True):
        reads = {stage for member in batch for stage in with_inputs(member)} - set(batch)
        if not reads & absent:
            identity = fingerprint([stage.fingerprint for stage in batch])
            yield f"{batch[0].kind}-{identity[:16]}", batch

"""A study that several processes run on one sharded base (models/sharding.py).

The main process plans, checks and writes. It announces each batch of stages that runs the base, and
the others run the same batch without writing. All other stages run in the main process alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ethosteer import interruption, processes
from ethosteer.errors import InputError
from ethosteer.stages.manifest import DamagedArtifactError
from ethosteer.stages.stage import Stage
from ethosteer.stages.workspace import Workspace
from ethosteer.study.plan import Plan

END = "the study is finished"


@contextmanager
def leading() -> Iterator[None]:
    """Let the other processes go when the block is done; nothing with one process."""
    if processes.count() == 1:
        yield
        return
    from ethosteer.models.sharding import announce, start

    start()
    yield
    announce(END)


def run_with_others(batch: Sequence[Stage[Any]], workspace: Workspace) -> None:
    """Run stages that belong together, with the other processes where they run the base."""
    kind, store = type(batch[0]), workspace.store
    if processes.count() == 1 or not kind.runs_base:
        kind.run(batch, workspace)
        return
    from ethosteer.models.sharding import announce, largest, while_all_live

    with while_all_live():
        announce(json.dumps({store.key(stage): store.has(stage) for stage in batch}))
        with interruption.shared(largest):
            kind.run(batch, workspace)


def follow(plan: Plan, workspace: Workspace) -> None:
    """Run the batches that the main process announces, until it lets this one go.

    Raises InputError where it has ended, or reads another study.
    """
    from ethosteer.models.sharding import start, while_all_live

    start()
    with while_all_live():
        _follow(plan, workspace)


def _follow(plan: Plan, workspace: Workspace) -> None:
    from ethosteer.models.sharding import largest, listen

    store, stages = workspace.store, dict[str, Stage[Any]]()
    while (message := listen()) != END:
        # planned only now: the main process has fetched what identities are made of
        stages = stages or {store.key(stage): stage for stage in plan.stages}
        is_stored: dict[str, bool] = json.loads(message)
        if unknown := sorted(is_stored.keys() - stages.keys()):
            raise InputError(
                f"process {processes.rank()} does not know {unknown[0]}: it reads other settings, "
                "data or weights than the main process; have all see the same folders"
            )
        batch = [stages[key] for key in is_stored]
        store.distrust(stage for stage in batch if not is_stored[store.key(stage)])
        # the main process reads the same files, and announces what is to be made again
        with suppress(DamagedArtifactError), interruption.shared(largest):
            type(batch[0]).run(batch, workspace)

"""Which arms sampled their answers in one batch."""

from __future__ import annotations

from ethosteer.stages.store import Store
from ethosteer.study.plan import Plan


def sampled_together(plan: Plan, store: Store) -> str:
    """Return the arms of each batch and their seeds, as in "duty, virtue (0, 1); utility (0)".

    Where the base is not exact, an arm's numbers depend by rounding on the arms beside it, and
    rounding parts answers that share their noise. So arms of different batches, as where one was
    added to a finished study, share less of it.
    """
    names = {store.key(stage): stage.arm.name for stage in plan.steering.values()}
    seeds: dict[tuple[str, ...], list[str]] = {}
    for seed in plan.settings.seeds:
        stages = plan.steering_of(seed)
        batches = {store.together(stage) or (store.key(stage),) for stage in stages}
        for batch in sorted(batches, key=lambda keys: store.key(stages[0]) not in keys):
            arms = tuple(names.get(key, "an arm that was removed") for key in batch)
            seeds.setdefault(arms, []).append(str(seed))
    return "; ".join(f"{', '.join(arms)} ({', '.join(numbers)})" for arms, numbers in seeds.items())

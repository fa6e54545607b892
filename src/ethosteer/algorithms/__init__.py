"""Steering algorithms: one file each, discovered by its public object ALGORITHM.

To add one, write ``algorithms/NAME.py``; no other file changes, and no other arm is trained anew:

    class MineSettings(AlgorithmSettings):  # the table [steer.mine] of a study file
        beta: float = Field(0.1, gt=0)

    class Mine:  # a Learner, see loop/steering.py
        def __init__(self, steering: Steering) -> None: ...
        def observe(self, step: int) -> Rollout | None: ...  # sample; None: no point of the curve
        def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]: ...

    ALGORITHM = Algorithm(
        name="mine",
        title="Mine",
        settings=MineSettings,
        learner=Mine,
        updates=lambda steer: 1,
        cost=cost,
    )

The file is imported without torch, so it imports torch inside functions only. ``observe`` samples
with the arms in ``steering.running``; ``learn`` updates each of them and returns what it learned.
Optimisers, KL control, stop rules, curves, checkpoints and resumption are the loop's. No arm may
depend on another: tests/algorithms/loop/test_steering.py runs every algorithm in the catalog.
"""

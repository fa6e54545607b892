from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from ethosteer import catalog
from ethosteer.algorithms.loop.curve import alarms, measure
from ethosteer.algorithms.loop.rollouts import Collector
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.algorithms.loop.task import Learned
from ethosteer.algorithms.rloo import RLOOSettings
from ethosteer.models.base import SharedBase
from ethosteer.models.reward_models import RewardModels
from ethosteer.records import Rollout
from ethosteer.settings import OptimiserSettings
from tests import tiny

NAN = float("nan")
EVERY = catalog.algorithm_names()
SCHEDULED = tiny.STEERING.optimiser.model_copy(update={"decay": True, "warmup": 0.2})


Script = Sequence[Mapping[int, Mapping[str, Any]]]


class Scripted:
    """Its rollouts are points by a script, and it learns by adding 1 to every parameter."""

    def __init__(
        self, run: Steering, script: Script, learned: Mapping[tuple[int, int], Learned]
    ) -> None:
        self.run, self.script, self.learned = run, script, learned
        self.asked: list[list[int]] = []

    def observe(self, step: int) -> Rollout | None:
        self.asked.append(list(self.run.running))
        points = {
            arm: tiny.point(step, kl_coefficient=self.run.coefficients[arm], **fields)
            for arm, fields in self.script[step].items()
            if arm in self.run.running
        }
        return cast(Rollout, points) if points else None

    @torch.no_grad()
    def learn(self, step: int, rollout: Rollout | None) -> dict[int, Learned]:
        for arm in self.run.running:
            for parameter in self.run.parameters(arm):
                parameter.add_(1)
        return {arm: self.learned.get((step, arm), Learned(0.5)) for arm in self.run.running}


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the points of a script stand for those measured on a rollout."""

    def scripted(collector: Collector, step: int, rollout: Any, *rest: Any) -> Any:
        return rollout if isinstance(rollout, dict) else measure(collector, step, rollout, *rest)

    monkeypatch.setattr("ethosteer.algorithms.loop.steering.measure", scripted)


def scripted(
    base: SharedBase,
    script: Script,
    learned: Mapping[tuple[int, int], Learned] | None = None,
    **changes: Any,
) -> Steering:
    task = tiny.task(base, (0, 1), **{"steps": len(script), "max_kl": 20.0, **changes})
    return Steering(task, lambda run: Scripted(run, script, learned or {}), updates=1)


def asked(run: Steering) -> list[list[int]]:
    """Return the arms that were running at each step of a script."""
    return cast(Scripted, run.learner).asked


def moved(run: Steering, arm: int, start: Tensor) -> float:
    """Return by how many steps an arm's parameters are away from the start."""
    (steps,) = {round(step, 3) for step in (tiny.flat(run, arm) - start).tolist()}
    return float(steps)


def kls(first: Sequence[float], second: Sequence[float]) -> list[dict[int, dict[str, float]]]:
    return [{0: {"kl": a}, 1: {"kl": b}} for a, b in zip(first, second, strict=True)]


# --- stop rules


@pytest.mark.parametrize(
    ("bad", "reason", "alarms"),
    [
        ({"reward": NAN}, "its reward or KL was not finite at step 2", ("not finite", "stopped")),
        ({"kl": NAN}, "its reward or KL was not finite at step 2", ("not finite", "stopped")),
        ({"reward": math.inf}, "its reward or KL was not finite at", ("not finite", "stopped")),
        ({"kl": 20.5}, "KL 20 nats at step 2, above max_kl 20", ("stopped",)),
    ],
)
def test_an_arm_gone_astray_is_stopped_and_put_back(bad, reason, alarms, llama, tmp_path):
    script = [{0: {}, 1: {}}, {0: {}, 1: {}}, {0: {}, 1: bad}, {0: {}}, {0: {}}]
    run = scripted(llama, script)
    start = tiny.flat(run, 0)
    reported: list[set[int]] = []
    run.train(tmp_path, lambda _step, points: reported.append(set(points)))
    assert list(run.stopped) == [1] and run.stopped[1].startswith(reason)
    assert asked(run) == [[0, 1], [0, 1], [0, 1], [0], [0]]
    assert reported == [{0, 1}, {0, 1}, {0, 1}, {0}, {0}]
    assert [own.alarms for own in run.curves[1]] == [(), (), alarms]
    assert [own.alarms for own in run.curves[0]] == [()] * 5
    # at step 2 it was found astray; what it was at step 1, after one update, was still healthy
    assert moved(run, 1, start) == 1 and run.healthy[1].step == 1
    assert moved(run, 0, start) == 5, "the other arm took every step"


def test_kl_at_the_limit_is_allowed(llama, tmp_path):
    run = scripted(llama, kls([0, 20.0], [0, 20.001]))
    run.train(tmp_path, tiny.quiet)
    assert list(run.stopped) == [1]


def test_an_arm_whose_gradient_is_not_finite_is_stopped_and_put_back(llama, tmp_path):
    run = scripted(
        llama, [{0: {}, 1: {}}] * 4, learned={(2, 0): Learned(NAN, finite=False)}, measure_every=1
    )
    start = tiny.flat(run, 0)
    run.train(tmp_path, tiny.quiet)
    assert run.stopped == {0: "a gradient was not finite at step 2"}
    assert [own.alarms for own in run.curves[0]] == [(), (), ("not finite", "stopped")]
    # step 2 was measured before its updates, and was healthy then
    assert moved(run, 0, start) == 2 and run.healthy[0].step == 2
    assert moved(run, 1, start) == 4 and len(run.curves[1]) == 4


def test_a_run_without_any_arm_left_ends_quietly(llama, tmp_path):
    run = scripted(llama, [{0: {}, 1: {}}, {0: {"kl": 99.0}, 1: {"reward": NAN}}, {}, {}])
    start = tiny.flat(run, 0)
    steps: list[tuple[int, int]] = []
    run.train(tmp_path, lambda step, points: steps.append((step, len(points))))
    assert steps == [(0, 2), (1, 2), (2, 0), (3, 0)]
    assert sorted(run.stopped) == [0, 1] and len(asked(run)) == 2
    assert moved(run, 0, start) == moved(run, 1, start) == 0


class Sickness:
    """Makes an arm ill from a step on; ``at`` is to be called after every step."""

    def __init__(self, run: Steering, arm: int, step: int) -> None:
        self.run, self.arm, self.step = run, arm, step
        self.now = 0
        self.before: list[Tensor] = []
        observe = run.learner.observe

        def watched(step: int) -> Rollout | None:
            self.now = step
            self.before.append(tiny.flat(run, arm))
            return observe(step)

        run.learner.observe = watched  # type: ignore[method-assign]

    @property
    def is_here(self) -> bool:
        return self.now >= self.step


def nan_rewards(sick: Sickness, monkeypatch: pytest.MonkeyPatch) -> None:
    score = RewardModels.score

    def own(
        self: RewardModels, base: SharedBase, arm: int, rows: Sequence[Sequence[int]]
    ) -> Tensor:
        found = score(self, base, arm, rows)
        return found * NAN if arm == sick.arm and sick.is_here else found

    monkeypatch.setattr(RewardModels, "score", own)


def bad_gradient(sick: Sickness, _monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0

    def hook(gradient: Tensor) -> Tensor:
        nonlocal seen
        seen += sick.is_here
        return gradient * math.inf if seen == 1 else gradient  # one pass, and fine again

    sick.run.parameters(sick.arm)[-1].register_hook(hook)


def far_away(sick: Sickness, _monkeypatch: pytest.MonkeyPatch) -> None:
    learn = sick.run.learner.learn

    @torch.no_grad()
    def own(step: int, rollout: Rollout | None) -> dict[int, Learned]:
        with torch.enable_grad():
            found = learn(step, rollout)
        if step == sick.step - 1:
            for parameter in sick.run.parameters(sick.arm):
                parameter.add_(1)
        return found

    sick.run.learner.learn = own  # type: ignore[method-assign]


REASONS: dict[Callable[..., None], str] = {
    nan_rewards: "its reward or KL was not finite at step 4",
    bad_gradient: "a gradient was not finite at step 4",
    far_away: "KL ",
}


@pytest.mark.parametrize(
    ("algorithm", "illness"),
    [
        ("ppo", nan_rewards),
        ("ppo", bad_gradient),
        ("ppo", far_away),
        ("rloo", bad_gradient),
        ("dpo", bad_gradient),
        ("best_of_n", nan_rewards),
        ("best_of_n", bad_gradient),
    ],
    ids=lambda own: getattr(own, "__name__", own),
)
def test_a_sick_arm_is_stopped_and_the_others_end_as_without_it(
    algorithm, illness, llama, tmp_path, monkeypatch
):
    changes: dict[str, Any] = {
        "steps": 6,
        "batch": 4,
        "epochs": 1,
        "checkpoint_every": 99,
        "max_kl": 5.0,
        "optimiser": tiny.STEERING.optimiser.model_copy(update={"warmup": 0.5}),
    }
    without = tiny.steering(algorithm, llama, (0, 2), **changes)
    without.train(tmp_path, tiny.quiet)
    run = tiny.steering(algorithm, llama, (0, 1, 2), **changes)
    sick = Sickness(run, arm=1, step=4)
    illness(sick, monkeypatch)
    run.train(tmp_path, tiny.quiet)
    assert list(run.stopped) == [1] and run.stopped[1].startswith(REASONS[illness])
    assert run.curves[1][-1].step == 4 and "stopped" in run.curves[1][-1].alarms
    measured_every = 1 if algorithm in {"ppo", "rloo"} else 2
    healthy = 4 if illness is bad_gradient else 4 - measured_every
    assert run.healthy[1].step == healthy
    assert torch.equal(tiny.flat(run, 1), sick.before[healthy])
    assert not torch.equal(sick.before[healthy], sick.before[0])
    for place, arm in ((0, 0), (1, 2)):
        found, expected = tiny.flat(run, arm), tiny.flat(without, place)
        assert float((found - expected).norm() / expected.norm()) < 1e-6
        assert [own.step for own in run.curves[arm]] == [own.step for own in without.curves[place]]
        for own, other in zip(run.curves[arm], without.curves[place], strict=True):
            assert own.reward == pytest.approx(other.reward, abs=1e-5)
            assert own.kl == pytest.approx(other.kl, abs=1e-5)


# --- the KL controller and the checkpoint at equal KL


def test_the_controller_moves_each_arm_by_its_own_kl(llama, tmp_path):
    # batch 8, horizon 100, target 10: a full error of 0.2 moves a coefficient by 1.6 percent.
    # Arm 0's errors: -1 -> -0.2; -0.1; 0; 0.1; 0.8 -> 0.2; -1.001 -> -0.2. Arm 1 is on target.
    run = scripted(
        llama, kls([0, 9, 10, 11, 18, -0.01], [10] * 6), kl_target=10.0, kl_coefficient=0.5
    )
    run.train(tmp_path, tiny.quiet)
    used = [[own.kl_coefficient for own in curve] for curve in run.curves]
    first = [0.5, 0.492, 0.488064, 0.488064, 0.491968512, 0.499840008192]
    assert used[0] == pytest.approx(first, rel=1e-12), "a point has what its step was made with"
    assert used[1] == [0.5] * 6
    assert run.coefficients == pytest.approx([0.499840008192 * 0.984, 0.5], rel=1e-12)


def test_without_a_target_the_coefficient_is_fixed(llama, tmp_path):
    run = scripted(llama, kls([0, 9, 19], [0, 9, 19]), kl_target=None)
    run.train(tmp_path, tiny.quiet)
    assert run.coefficients == [0.2, 0.2]
    assert [own.step for own in run.within_kl.values()] == [2, 2], "nothing to be within of"


def test_the_checkpoint_within_kl_is_the_last_measured_one_at_or_below_the_target(llama, tmp_path):
    script = kls([0, 5, 6, 6.01, 9], [0, 7, 3, 8, 2])
    run = scripted(llama, script, kl_target=6.0)
    start = tiny.flat(run, 0)
    run.train(tmp_path, tiny.quiet)
    assert [own.step for own in run.within_kl.values()] == [2, 4]
    for arm, steps in enumerate((2, 4)):
        run.restore(arm, run.within_kl[arm])
        assert moved(run, arm, start) == steps, "before the updates of the step it is named for"


def test_steps_that_measure_nothing_make_no_checkpoint(llama, tmp_path):
    script: Script = [{0: {}, 1: {}}, {}, {0: {"kl": 5.0}, 1: {"kl": 5.0}}, {}, {}]
    run = scripted(llama, script, kl_target=6.0)
    run.train(tmp_path, tiny.quiet)
    assert [len(curve) for curve in run.curves] == [2, 2]
    assert [own.step for own in run.within_kl.values()] == [2, 2]
    assert run.stopped == {}


# --- alarms


@pytest.mark.parametrize(
    ("changes", "learned", "expected"),
    [
        ({}, {}, ()),
        ({"kl": -0.05}, {}, ()),
        ({"kl": -0.06}, {}, ("negative KL",)),
        ({}, {"drift": 1e-3}, ()),
        ({}, {"drift": 1.1e-3}, ("ratio drift",)),
        ({"response_tokens": 5.0}, {}, ()),
        ({"response_tokens": 4.9}, {}, ("length drift",)),
        ({"response_tokens": 20.0}, {}, ()),
        ({"response_tokens": 20.1}, {}, ("length drift",)),
        ({"eos_fraction": 0.21}, {}, ()),
        ({"eos_fraction": 0.19}, {}, ("EOS drift",)),
        ({"eos_fraction": 0.81}, {}, ("EOS drift",)),
        ({}, {"finite": False}, ("not finite", "stopped")),
        ({"reward": NAN}, {}, ("not finite", "stopped")),
        ({"kl": 21.0}, {}, ("stopped",)),
        (
            {"kl": -1.0, "response_tokens": 1.0, "eos_fraction": 1.0},
            {"drift": 1.0, "finite": False},
            ("negative KL", "ratio drift", "length drift", "EOS drift", "not finite", "stopped"),
        ),
    ],
)
def test_alarms_by_hand(changes, learned, expected, llama):
    run = scripted(
        llama,
        [{0: {}, 1: {}}, {0: {}, 1: changes}],
        learned={(1, 1): Learned(0.5, **learned)},
        ignore_eos=False,
    )
    assert [own.alarms for own in run.step(0).values()] == [(), ()]
    points = run.step(1)
    assert points[1].alarms == expected
    assert points[0].alarms == (), "an alarm is of one arm"


def test_drifts_are_measured_from_the_first_step(llama):
    run = scripted(
        llama,
        [
            {0: {"response_tokens": n}, 1: {"eos_fraction": n / 100}}
            for n in (10.0, 18.0, 35.0, 45.0)
        ],
        ignore_eos=False,
    )
    found = [run.step(step) for step in range(4)]
    assert [own[0].alarms for own in found] == [(), (), ("length drift",), ("length drift",)]
    assert [own[1].alarms for own in found] == [(), (), (), ("EOS drift",)]


def test_where_eos_is_ignored_its_share_may_drift(llama):
    run = scripted(llama, [{0: {}, 1: {}}, {0: {"eos_fraction": 1.0}, 1: {}}], ignore_eos=True)
    assert [run.step(step)[0].alarms for step in (0, 1)] == [(), ()]


def test_with_dropout_the_ratio_may_drift(llama):
    learned = {(0, 0): Learned(0.5, drift=1.0)}
    run = scripted(llama, [{0: {}, 1: {}}], learned, lora=tiny.lora(dropout=0.1))
    assert run.step(0)[0].alarms == ()


@pytest.mark.parametrize(
    ("reward", "own", "other", "expected"),
    [
        (1.1, 1.1, -0.3, ("reward up while that of reward1 falls",)),
        (1.1, 1.1, -0.29, ()),  # half a standard deviation below 0.2 is -0.3
        (1.0, 1.1, -0.9, ()),  # its own reward is where it was
        (1.1, -9.0, 0.2, ()),  # its own judge does not count as another
    ],
)
def test_another_reward_that_falls_while_an_arms_own_rises(reward, own, other, expected, llama):
    first = {"reward": 1.0, "rewards": {"reward0": 1.0, "reward1": 0.2}}
    then = {"reward": reward, "rewards": {"reward0": own, "reward1": other - 1e-6}}
    run = scripted(llama, [{0: first, 1: first}, {0: then, 1: {}}])
    run.step(0)
    assert run.step(1)[0].alarms == expected


def test_every_reward_that_falls_is_named(llama):
    first = {"rewards": {"reward0": 0.0, "reward1": 0.0, "reward2": 0.0}}
    then = {"reward": 1.0, "rewards": {"reward0": -1.0, "reward1": 1.0, "reward2": -1.0}}
    run = scripted(llama, [{0: first, 1: first}, {0: {}, 1: then}])
    run.step(0)
    assert run.step(1)[1].alarms == ("reward up while that of reward0, reward2 falls",)


def test_negative_kl_is_told_only_beyond_its_noise(llama):
    task = tiny.task(llama, (0,), batch=8)
    by_chance, real = tiny.point(kl=-0.5, kl_k3=0.4), tiny.point(kl=-1.1, kl_k3=0.4)
    assert alarms(task, 0, by_chance, tiny.point(), Learned(0.0), stopped=False) == ()
    assert alarms(task, 0, real, tiny.point(), Learned(0.0), stopped=False) == ("negative KL",)


# --- the curve


@pytest.mark.parametrize("algorithm", EVERY)
def test_every_judge_scores_the_same_answers_at_every_measured_step(algorithm, llama, tmp_path):
    run = tiny.steering(algorithm, llama, (0, 1, 2), steps=5, measure_every=2)
    run.train(tmp_path, tiny.quiet)
    sampled = algorithm in {"ppo", "rloo"}
    for arm, curve in enumerate(run.curves):
        assert [own.step for own in curve] == ([0, 1, 2, 3, 4] if sampled else [0, 2, 4])
        for own in curve:
            measured = own.step % 2 == 0
            assert list(own.rewards) == (["reward0", "reward1", "reward2"] if measured else [])
            if measured:
                assert own.rewards[f"reward{arm}"] == pytest.approx(own.reward, abs=1e-5)
                assert len({round(reward, 3) for reward in own.rewards.values()}) == 3
    assert run.curves[0][0].rewards == run.curves[1][0].rewards, "all start from the same answers"
    assert run.curves[0][-1].rewards != run.curves[1][-1].rewards


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@pytest.mark.parametrize("algorithm", EVERY)
def test_at_the_start_kl_is_zero_exactly(algorithm, name, tiny_bases):
    run = tiny.steering(algorithm, tiny_bases[name], (0, 1), lora=tiny.lora(name, dropout=0.2))
    points = run.step(0)
    assert [own.kl for own in points.values()] == [0.0, 0.0]
    assert [own.kl_k3 for own in points.values()] == [0.0, 0.0]
    assert points[0].reward != points[1].reward
    assert points[0].response_tokens == points[1].response_tokens
    assert points[0].entropy == points[1].entropy > 1
    run.step(1)
    assert run.step(2)[0].kl != 0


@pytest.mark.parametrize("algorithm", EVERY)
def test_the_start_is_asserted(algorithm, llama):
    run = tiny.steering(algorithm, llama, (0, 1))
    tiny.fill(run.task.policies, scale=1e-3)
    with pytest.raises(AssertionError, match="an untrained policy is the reference, exactly"):
        run.step(0)


# --- isolation


SLOW: dict[str, Any] = {
    "lora": tiny.lora(dropout=0.1),
    # A gradient that is nothing but rounding moves its weight by the whole rate, either way, in
    # AdamW's first step: so the rate starts small beside what is told apart here.
    "optimiser": OptimiserSettings(learning_rate=3e-3, warmup=0.5, decay=False),
    "rloo": RLOOSettings(answers=2),
    "epochs": 1,
    "measure_every": 4,
    "checkpoint_every": 99,
}


@pytest.mark.parametrize(("ragged", "arm"), [(False, 1), (True, 3)])
@pytest.mark.parametrize(
    ("algorithm", "steps"), [("ppo", 20), ("rloo", 20), ("dpo", 12), ("best_of_n", 12)]
)
def test_isolation_an_arm_beside_others_equals_the_arm_alone(
    algorithm, steps, ragged, arm, llama, tmp_path
):
    base = tiny.often(llama) if ragged else llama
    settings: dict[str, Any] = {
        **SLOW,
        "steps": steps,
        "ignore_eos": not ragged,
        "missing_eos_penalty": 0.3,
        "batch": 4 if algorithm in {"ppo", "rloo"} else 16,
    }
    together = tiny.steering(algorithm, base, (0, 1, 2, 3), **settings)
    start = tiny.flat(together, 0)
    together.train(tmp_path, tiny.quiet)
    points = zip(*together.curves, strict=True)
    lengths = [{own.response_tokens for own in of_step} for of_step in points]
    assert (max(map(len, lengths)) > 1) == ragged, "arms end their rows where they like"
    alone = tiny.steering(algorithm, base, (arm,), **settings)
    alone.train(tmp_path, tiny.quiet)
    expected, found = tiny.flat(alone, 0), tiny.flat(together, arm)
    assert float((expected - start).norm() / start.norm()) > 0.05, "training moved it"
    # Rounding alone: sampled in larger batches, log-probabilities differ by about 1e-7. It was
    # 6e-7 at most on three instruction sets.
    assert float((found - expected).norm() / expected.norm()) < 1e-4
    for own, other in zip(alone.curves[0], together.curves[arm], strict=True):
        assert own.reward == pytest.approx(other.reward, abs=1e-3)
        assert own.kl == pytest.approx(other.kl, abs=1e-3)
        assert own.kl_coefficient == pytest.approx(other.kl_coefficient, abs=1e-6)
    gap = tiny.flat(together, 1) - tiny.flat(together, 3)
    assert float(gap.norm() / start.norm()) > 0.05, "arms with other rewards go other ways"


@pytest.mark.parametrize("algorithm", EVERY)
def test_a_step_does_not_depend_on_how_much_runs_at_once(algorithm, llama, tmp_path):
    base = tiny.often(llama)
    runs = [
        tiny.steering(
            algorithm, base, (0, 1), **{**SLOW, "lora": tiny.lora()}, ignore_eos=False, **room
        )
        for room in ({}, {"tokens_per_batch": 25})
    ]
    start = tiny.flat(runs[0], 0)
    for run in runs:
        run.train(tmp_path, tiny.quiet)
    for arm in range(2):
        whole, cut = (tiny.flat(run, arm) for run in runs)
        assert float((whole - start).norm() / start.norm()) > 5e-3
        # rounding alone, of sums in another order: 3e-6 at most on three instruction sets
        assert float((whole - cut).norm() / (whole - start).norm()) < 1e-3


# --- resumption


class BrokenOffError(Exception):
    pass


@pytest.mark.parametrize("algorithm", EVERY)
def test_a_run_that_was_broken_off_goes_on_as_if_it_had_not_been(
    algorithm, llama, tmp_path, monkeypatch
):
    def break_off(step: int, _points: object) -> None:
        if step == 4:
            raise BrokenOffError

    def fresh() -> Steering:
        run = tiny.steering(
            algorithm,
            llama,
            (0, 1, 2),
            steps=6,
            measure_every=1,
            kl_target=1e-4,
            lora=tiny.lora(dropout=0.1),
            optimiser=SCHEDULED,
        )
        bad_gradient(Sickness(run, arm=2, step=2), monkeypatch)
        return run

    for name in ("straight", "halved"):
        (tmp_path / name).mkdir()
    straight = fresh()
    straight.train(tmp_path / "straight", tiny.quiet)
    with pytest.raises(BrokenOffError):
        fresh().train(tmp_path / "halved", break_off)
    steps: list[int] = []
    resumed = fresh()
    resumed.train(tmp_path / "halved", lambda step, _points: steps.append(step))
    assert steps == [4, 5]
    assert resumed.curves == straight.curves
    assert resumed.coefficients == straight.coefficients
    assert straight.coefficients != [0.2] * 3, "there was something to remember"
    assert resumed.stopped == straight.stopped == {2: "a gradient was not finite at step 2"}
    assert resumed.running == straight.running == [0, 1]
    for arm in range(3):
        assert torch.equal(tiny.flat(resumed, arm), tiny.flat(straight, arm))
        for name in ("healthy", "within_kl"):
            found, expected = (getattr(run, name)[arm] for run in (resumed, straight))
            assert found.step == expected.step
            for own, other in zip(found.parameters, expected.parameters, strict=True):
                assert torch.equal(own, other)
    assert any(own.step != straight.healthy[arm].step for arm, own in straight.within_kl.items())


# --- what is shared, and what is left alone


@pytest.mark.parametrize("algorithm", EVERY)
def test_training_leaves_base_and_reference_alone(algorithm, llama, tmp_path: Path):
    tokens = torch.tensor(tiny.ragged(2, 9, 9))
    weights = [parameter.clone() for parameter in llama.model.parameters()]
    before = llama.logits(llama.hidden(tokens)).detach()
    run = tiny.steering(algorithm, llama, (0, 1))
    scores = run.task.reward_models.score(llama, 0, tiny.PROMPTS[:2])
    run.train(tmp_path, tiny.quiet)
    assert torch.equal(llama.logits(llama.hidden(tokens)), before)
    for parameter, old in zip(llama.model.parameters(), weights, strict=True):
        assert torch.equal(parameter, old) and parameter.grad is None
    assert torch.equal(run.task.reward_models.score(llama, 0, tiny.PROMPTS[:2]), scores)


@pytest.mark.parametrize("copies", [1, 4])
def test_arms_share_prompts_and_noise_and_steps_do_not(copies, llama):
    run = tiny.steering("rloo", llama, (0, 1))
    rollout = run.sample(0, 8 // copies, copies=copies)
    prompts = [
        row[:length]
        for row, length in zip(
            rollout.tokens.tolist(), rollout.prompt_lengths.tolist(), strict=True
        )
    ]
    for first in range(0, 16, copies):
        assert prompts[first : first + copies] == [prompts[first]] * copies
    assert len(set(map(tuple, prompts[:8]))) == 8 // copies
    answers = rollout.response_tokens.tolist()
    assert len(set(map(tuple, answers[:8]))) == 8, "every answer has noise of its own"
    assert answers[:8] == answers[8:] and prompts[:8] == prompts[8:], "which all arms share"
    again = run.sample(0, 8 // copies, copies=copies)
    assert torch.equal(again.tokens, rollout.tokens)
    assert run.sample(1, 8 // copies, copies=copies).tokens.tolist() != rollout.tokens.tolist()


def test_a_stop_where_nothing_is_measured_is_marked_at_the_last_point(llama, tmp_path):
    script: list[dict[int, dict[str, float]]] = [{0: {}, 1: {}}, {}, {0: {}}]
    run = scripted(llama, script, learned={(1, 1): Learned(0.5, finite=False)})
    run.train(tmp_path, lambda *_: None)
    assert run.stopped == {1: "a gradient was not finite at step 1"}
    assert [own.alarms for own in run.curves[1]] == [("stopped",)]
    assert [own.alarms for own in run.curves[0]] == [(), ()]


def test_no_reward_of_a_point_has_the_penalty_in_it(llama):
    """Rewards by judge compare answers, not lengths; the penalty is in what is learnt from."""
    plain, dear = (
        tiny.steering("ppo", llama, (0, 1), ignore_eos=False, missing_eos_penalty=penalty)
        for penalty in (0.0, 5.0)
    )
    before, after = plain.step(0), dear.step(0)
    assert after[0].rewards == pytest.approx(before[0].rewards, abs=1e-5)
    assert after[0].reward < before[0].reward - 1

"""Which pieces of work a change redoes, and which of them arms share."""

from __future__ import annotations

import pytest

from ethosteer.data.sources import Origin
from ethosteer.records import Arm
from ethosteer.stages.evaluate import file_name
from ethosteer.study.load import load_study
from ethosteer.study.plan import Plan

ARMS = (
    "arms={duty={dataset='deontology'}, virtue={}, v-rloo={dataset='virtue', algorithm='rloo'}, "
    "v-dpo={dataset='virtue', algorithm='dpo'}, "
    "v-best={dataset='virtue', algorithm='best_of_n'}, small={dataset='virtue', max_pairs=9}}"
)

ARMS_AND_DPO = (
    "arms={duty={dataset='deontology'}, virtue={}, v-dpo={dataset='virtue', algorithm='dpo'}}"
)


def make(*changes: str) -> Plan:
    return Plan(
        load_study("demo", ["seeds=[0, 1]", "steer.algorithm='ppo'", ARMS, *changes]),
        Origin("sample"),
    )


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make()


def redone(plan: Plan, *changes: str) -> set[str]:
    """Return the names (stage/name) of the steps that a change leaves no artifact for."""
    known = {stage.fingerprint for stage in plan.stages}
    return {
        f"{stage.kind}/{stage.name}"
        for stage in make(*changes).stages
        if stage.fingerprint not in known
    }


def resteered(plan: Plan, *changes: str) -> set[str]:
    """Return the arms that a change steers anew, of both seeds alike."""
    arms = {name.partition("/")[2] for name in redone(plan, *changes) if name.startswith("steer/")}
    found = {arm for arm in plan.settings.arms if Arm(arm, 0).label in arms}
    assert arms == {Arm(arm, seed).label for arm in found for seed in (0, 1)}
    return found


def test_arms_of_one_dataset_share_its_curation_and_rewards_and_nothing_else(plan: Plan):
    same = ("virtue", "v-rloo", "v-dpo", "v-best")
    assert len({plan.pairs[name] for name in same}) == 1
    for seed in (0, 1):
        assert len({plan.rewards[Arm(name, seed)] for name in same}) == 1
        assert len({plan.steering[Arm(name, seed)].fingerprint for name in same}) == 4
        assert [stage.arm.name for stage in plan.rewards_of(seed)] == ["duty", "virtue", "small"]
        assert len(set(plan.rewards_of(seed))) == 3
    assert plan.rewards[Arm("virtue", 0)] != plan.rewards[Arm("virtue", 1)]
    assert plan.pairs["small"] != plan.pairs["virtue"]
    assert len(plan.stages) == len(set(plan.stages))
    assert sum(stage.kind == "reward" for stage in plan.stages) == 3 * 2
    assert sum(stage.kind == "steer" for stage in plan.stages) == 6 * 2


def test_an_arm_of_another_algorithm_leaves_alone_what_stands(plan: Plan):
    assert redone(plan) == set()
    fewer = make("arms={duty={dataset='deontology'}, virtue={}}")
    added = {name for name in redone(fewer, ARMS_AND_DPO) if "v-dpo" not in name}
    assert added == {
        "evaluate/samples",
        "evaluate/cross-s0",
        "evaluate/cross-s1",
        "compare/results",
    }


def test_another_rule_evaluates_anew_without_steering_anew(plan: Plan):
    found = redone(plan, "steer.select=kl")
    assert {name.partition("/")[0] for name in found} == {"evaluate", "compare"}
    arms = {Arm(name, seed).label for name in plan.settings.arms for seed in (0, 1)}
    for benchmark in map(file_name, plan.items):
        own = {
            name.removeprefix(f"evaluate/{benchmark}-")
            for name in found
            if name.startswith(f"evaluate/{benchmark}-")
        }
        assert own & arms == arms
        assert not own & {"base", "fine-tuned"}, "controls have no checkpoints"
    assert {"evaluate/samples", "evaluate/cross-s0", "evaluate/cross-s1"} <= found
    assert "compare/overlap" not in found


@pytest.mark.parametrize(
    ("change", "arms"),
    [
        ("steer.dpo.beta=0.3", {"v-dpo"}),
        ("steer.dpo.steps=9", {"v-dpo"}),
        ("steer.rloo.clip=0.3", {"v-rloo"}),
        ("steer.rloo.learning_rate=1e-4", {"v-rloo"}),
        ("steer.best_of_n.n=5", {"v-best"}),
        ("steer.ppo.clip=0.3", {"duty", "virtue", "small"}),
        ("arms.virtue.algorithm=dpo", {"virtue"}),
        ("steer.tokens_per_batch=100", set()),
        ("reward.tokens_per_batch=100", set()),
        ("track.trackers=[]", set()),
        ("steer.kl_coefficient=0.1", {"duty", "virtue", "small", "v-rloo", "v-dpo", "v-best"}),
    ],
)
def test_an_algorithms_settings_steer_its_own_arms_anew(plan: Plan, change: str, arms: set[str]):
    assert resteered(plan, change) == arms
    before = {"curate", "finetune", "reward"}
    assert not {name.partition("/")[0] for name in redone(plan, change)} & before


def test_a_pace_that_an_algorithm_sets_itself_is_not_the_general_one(plan: Plan):
    own = ["steer.dpo.steps=9", "steer.dpo.learning_rate=1e-4"]
    paced = make(*own)
    assert resteered(paced, *own, "steer.steps=3", "steer.optimiser.learning_rate=0.1") == {
        "duty", "virtue", "small", "v-rloo", "v-best",
    }  # fmt: skip


def test_cross_pairs_judge_anew_and_nothing_before(plan: Plan):
    assert redone(plan, "evaluate.cross_pairs=50") == {
        "evaluate/cross-s0",
        "evaluate/cross-s1",
        "compare/results",
    }

"""The time that missing stages will take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.models.geometry import base_parameters
from ethosteer.models.identity import read_shape
from ethosteer.stages.cross import Cross
from ethosteer.stages.curate import Curate
from ethosteer.stages.evaluate import Evaluate
from ethosteer.stages.finetune import Finetune
from ethosteer.stages.reward import Reward
from ethosteer.stages.steer import Steer
from ethosteer.stages.store import Store
from ethosteer.study.costs import stage_costs
from ethosteer.study.estimate import EFFICIENCY
from ethosteer.study.load import load_study
from ethosteer.study.plan import Plan
from ethosteer.study.remaining import (
    OTHER_SECONDS,
    AnyStage,
    estimated_seconds,
    expected_seconds,
    predicted,
)
from ethosteer.study.text_sizes import read_texts

ARMS = "arms={virtue={}, v-ppo={dataset='virtue', algorithm='ppo'}, deontology={}}"


@pytest.fixture(scope="module")
def plan() -> Plan:
    settings = load_study("demo", [ARMS, "seeds=[0, 1]", "benchmarks={toxigen={}, wsc273={}}"])
    return Plan(settings, Origin("sample"))


def of_class(plan: Plan, kind: type[AnyStage]) -> list[AnyStage]:
    return [stage for stage in plan.stages if type(stage) is kind]


def not_asked() -> Mapping[AnyStage, float]:
    pytest.fail("an estimate was made where everything is measured")


def test_measured_stages_of_the_same_algorithm_come_first(plan: Plan) -> None:
    steering = {(stage.arm.name, stage.arm.seed): stage for stage in plan.steering.values()}
    measured: dict[AnyStage, float] = {
        steering["virtue", 0]: 10.0,
        steering["deontology", 0]: 30.0,
        steering["v-ppo", 0]: 400.0,
    }
    missing = [steering["virtue", 1], steering["v-ppo", 1]]
    assert list(predicted(missing, measured, not_asked).values()) == [20.0, 400.0]


def test_evaluations_of_one_benchmark_take_the_same_time(plan: Plan) -> None:
    by_benchmark: dict[str, list[Evaluate]] = {}
    for stage in plan.evaluation.values():
        by_benchmark.setdefault(stage.items.benchmark, []).append(stage)
    toxigen, winograd = by_benchmark["toxigen"], by_benchmark["wsc273"]
    measured: dict[AnyStage, float] = {toxigen[0]: 7.0, winograd[0]: 2.0}
    assert list(predicted([toxigen[1], winograd[1]], measured, not_asked).values()) == [7.0, 2.0]


def test_estimates_are_scaled_by_what_was_measured(plan: Plan) -> None:
    reward = of_class(plan, Reward)
    (finetune,) = of_class(plan, Finetune)
    curate = of_class(plan, Curate)
    estimated = dict.fromkeys(plan.stages, 5.0) | {finetune: 10.0, curate[1]: 1.0}
    # fine-tuning took 3 times its estimate; curation has no estimate and is not scaled
    measured: dict[AnyStage, float] = {finetune: 30.0, curate[0]: 100.0}
    missing = [reward[0], of_class(plan, Cross)[0]]
    assert list(predicted(missing, measured, lambda: estimated).values()) == [15.0, 15.0]
    assert predicted([curate[1]], {finetune: 30.0}, lambda: estimated) == {curate[1]: 1.0}
    assert predicted([finetune], {}, lambda: estimated) == {finetune: 10.0}


def test_estimates_are_those_of_the_plan(plan: Plan) -> None:
    estimated = estimated_seconds(plan, rate=2e9)
    settings = plan.settings
    costs = stage_costs(settings, read_texts(settings, plan.origin, []))
    parameters = base_parameters(read_shape(settings.base))
    kinds: dict[str, type[AnyStage]] = {"steer": Steer, "reward": Reward, "evaluate": Evaluate}
    for name, kind in kinds.items():
        stages = of_class(plan, kind)
        total = sum(estimated[stage] for stage in stages)
        assert total == pytest.approx(costs[name].flop(parameters) / (2e9 * EFFICIENCY))
        assert len({estimated[stage] for stage in stages}) == 1
    assert estimated[plan.comparison] == OTHER_SECONDS
    assert set(estimated) == set(plan.stages)


def test_the_machine_is_measured_only_where_no_stage_is(plan: Plan, tmp_path: Path) -> None:
    asked = []

    def rate(_: object) -> float:
        asked.append(1)
        return 1e9

    store = Store(tmp_path)
    first = expected_seconds(plan, store, rate)
    assert (len(asked), set(first)) == (1, set(plan.stages))
    (finetune,) = of_class(plan, Finetune)
    with store.write(finetune, seconds=2 * first[finetune]):
        pass
    second = expected_seconds(plan, store, rate)
    assert len(asked) == 1
    assert finetune not in second
    for stage in of_class(plan, Reward):
        assert second[stage] == pytest.approx(2 * first[stage], rel=1e-2)
    for stage in plan.stages:
        if stage != finetune:
            with store.write(stage, seconds=1.0):
                pass
    assert expected_seconds(plan, store, rate) == {}


def test_an_unknown_base_has_no_estimate(tmp_path: Path) -> None:
    settings = load_study("demo", [f"base.model={tmp_path}"])
    with pytest.raises(InputError, match=r"its config\.json cannot be read"):
        expected_seconds(Plan(settings, Origin("sample")), Store(tmp_path / "artifacts"))

"""A dataset, a benchmark or an algorithm is one more file, and nothing else changes by it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ethosteer import algorithms, benchmarks, catalog, datasets
from ethosteer.data.sources import SAMPLE_DIR, Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.items import load_items
from ethosteer.records import Arm
from ethosteer.study.load import load_study
from ethosteer.study.plan import Plan
from tests import tiny

ALGORITHM = '''
"""An algorithm that adds ``rate`` to every parameter of an arm."""

from pydantic import Field

from ethosteer.algorithms.algorithm import Algorithm, Cost, curve_cost
from ethosteer.errors import InputError
from ethosteer.settings import AlgorithmSettings


class ToySettings(AlgorithmSettings):
    rate: float = Field(0.01, gt=0)

    def check(self, steer):
        if steer.temperature != 1.0:
            raise InputError("steer.toy needs steer.temperature = 1")


class Toy:
    def __init__(self, steering):
        self.steering = steering
        self.rate = steering.settings.table(ToySettings).rate

    def observe(self, step):
        return self.steering.sample_for_curve(step)

    def learn(self, step, rollout):
        from ethosteer.algorithms.loop.task import Learned

        for arm in self.steering.running:
            for parameter in self.steering.parameters(arm):
                parameter.data.add_(self.rate)
        return {arm: Learned(loss=0.5) for arm in self.steering.running}


ALGORITHM = Algorithm(
    name="toy",
    title="Toy",
    settings=ToySettings,
    learner=Toy,
    updates=lambda steer: 1,
    cost=curve_cost,
)
'''

COPY = '''
"""A copy of what the package has, under another name."""

from dataclasses import replace

from ethosteer.{package}.{module} import {attribute} as ORIGINAL

{attribute} = {copy}
'''

ARMS = (
    "arms={virtue={}, v-rloo={dataset='virtue', algorithm='rloo'}, "
    "v-dpo={dataset='virtue', algorithm='dpo'}"
)
Add = Callable[[ModuleType, str, str], None]


def forget() -> None:
    """Let the catalog look for files anew."""
    for cached in (
        catalog._datasets,
        catalog._benchmarks,
        catalog._algorithms,
        catalog._steer_settings,
        catalog.study_settings,
    ):
        cached.cache_clear()


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Return a function that adds a module to a package: (package, name, source)."""
    added = []

    def write(package: ModuleType, name: str, source: str) -> None:
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(source, "utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        added.append(f"{package.__name__}.{name}")
        forget()

    yield write
    for module in added:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    forget()


def steering_identities(*changes: str) -> dict[Arm, str]:
    plan = Plan(load_study("demo", changes), Origin("sample"))
    return {arm: step.fingerprint for arm, step in plan.steering.items()}


def test_an_algorithm_is_one_file(add: Add, llama, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no algorithm is called 'toy'"):
        load_study("demo", ["arms.virtue.algorithm=toy"])
    with pytest.raises(InputError, match=r"unknown key steer\.toy"):
        load_study("demo", ["steer.toy.rate=0.5"])
    before = steering_identities(ARMS + "}")

    add(algorithms, "toy", ALGORITHM)
    assert "toy" in catalog.algorithm_names()
    with_toy = (ARMS + ", v-toy={dataset='virtue', algorithm='toy'}}",)
    after = steering_identities(*with_toy, "steer.toy={rate=0.5, steps=3}")
    toy = after.pop(Arm("v-toy", 0))
    assert after == before, "no other arm is steered anew"
    assert steering_identities(*with_toy)[Arm("v-toy", 0)] != toy

    with pytest.raises(InputError, match=r"steer\.toy\.rate: Input should be greater than 0"):
        load_study("demo", [*with_toy, "steer.toy.rate=0"])
    with pytest.raises(InputError, match=r"unknown key steer\.toy\.rte; did you mean 'rate'\?"):
        load_study("demo", [*with_toy, "steer.toy.rte=1"])
    with pytest.raises(InputError, match=r"steer\.toy needs steer\.temperature = 1"):
        load_study("demo", [*with_toy, "steer.temperature=0.5"])

    study = load_study(
        "demo", [*with_toy, "steer.toy={rate=0.5, steps=3}", "steer.measure_every=2"]
    )
    task = replace(tiny.task(llama), settings=study.steer.for_algorithm("toy"))
    run = catalog.algorithm("toy").steering(task)
    start = tiny.flat(run, 1)
    run.train(tmp_path, tiny.quiet)
    torch.testing.assert_close(tiny.flat(run, 1), start + 3 * 0.5)
    assert [point.step for point in run.curves[1]] == [0, 2]
    assert [point.loss for point in run.curves[1]] == [0.5, 0.5]


def test_a_dataset_is_one_file(add: Add) -> None:
    before = steering_identities("arms={virtue={}}", "data.prompts=conversations")
    copy = COPY.format(
        package="datasets",
        module="virtue",
        attribute="DATASET",
        copy="replace(ORIGINAL, name='patience')",
    )
    add(datasets, "patience", copy)
    assert "patience" in catalog.dataset_names()
    study = load_study("demo", ["arms={virtue={}, patience={}}"])
    assert study.data_arms() == ("virtue", "patience")
    dataset = catalog.dataset("patience")
    assert len(list(dataset.pairs(dataset.rows(SAMPLE_DIR / dataset.source.path), 2))) > 100
    assert before == steering_identities("arms={virtue={}}", "data.prompts=conversations")


def test_a_benchmark_is_one_file(add: Add) -> None:
    copy = COPY.format(
        package="benchmarks",
        module="wsc273",
        attribute="BENCHMARKS",
        copy="(replace(ORIGINAL[0], name='schemas'),)",
    )
    add(benchmarks, "schemas", copy)
    assert "schemas" in catalog.benchmark_names()
    study = load_study("demo", ["benchmarks={schemas={limit=4}}"])
    items = load_items(catalog.benchmark("schemas"), study.benchmarks["schemas"], Origin("sample"))
    assert 0 < len(items) <= 4

"""Whole studies whose answers a server samples: a stand-in on loopback, or vLLM for real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.files import read_json
from ethosteer.progress import Terminal
from ethosteer.results.study import StudyResults
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests.models.engine.server import FakeVLLM, serving
from tests.tiny_study import OVERRIDES

VLLM_PYTHON = os.environ.get("ETHOSTEER_VLLM_PYTHON")
SETTINGS = (
    *OVERRIDES,
    "seeds=[0]",
    "arms={virtue={max_pairs=24}, v-best={dataset='virtue', max_pairs=24, algorithm='best_of_n'}}",
    "finetune.max_steps=2",
    "benchmarks={toxigen={limit=6}, toxigen_generation={limit=3}}",
    "steer.measure_every=1",
    "steer.best_of_n={n=2, prompts=2}",
)


def open_study(base: Path, runs: Path, *changes: str) -> Study:
    settings = load_study("demo", [f"base.model={base}", *SETTINGS, *changes])
    return Study(settings, runs, Origin("sample"), Terminal(quiet=True))


def served(url: str, *changes: str) -> tuple[str, ...]:
    return (f"rollout={{engine='vllm', version='0.32.0', url='{url}'}}", *changes)


@pytest.fixture(scope="module")
def server(tiny_base: Path) -> Iterator[FakeVLLM]:
    with serving(tiny_base, max_length=256) as fake:
        yield fake


@pytest.fixture(scope="module")
def finished(tiny_base: Path, server: FakeVLLM, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = open_study(tiny_base, tmp_path_factory.mktemp("runs"), *served(server.url))
    assert study.run()
    return study


def test_all_that_is_sampled_is_sampled_by_the_server(finished: Study, server: FakeVLLM):
    samples = finished.settings.reward.normalisation_samples
    evaluated = 4 * 3  # two controls and two arms, on three prompts
    assert len(server.asked) > samples + evaluated
    assert sum(body["temperature"] == 0 for body in server.asked) == evaluated
    assert server.adapters == {}, "all are unloaded in the end"
    assert not (finished.folder / "rollout" / "adapters").exists()


def test_engine_and_trainer_agree_and_the_report_shows_it(finished: Study):
    results = read_json(finished.folder / "results.json", StudyResults)
    curves = {arm.arm: arm.curve for arm in results.arms}
    for curve in curves.values():
        assert curve and all(0 <= point.engine_difference < 1e-4 for point in curve)  # type: ignore[operator]
        assert all(point.engine_difference <= point.engine_largest for point in curve)  # type: ignore[operator]
        assert all("engine disagrees" not in point.alarms for point in curve)
        assert curve[0].kl == 0.0
    assert results.provenance["sampling engine"] == "vllm 0.32.0"
    page = (finished.folder / "report.html").read_text("utf-8")
    assert "Engine against trainer" in page and "vllm 0.32.0" in page


def test_another_address_changes_nothing_and_another_sampler_all_that_is_sampled(
    finished: Study, tiny_base: Path
):
    runs = finished.folder.parent
    moved = open_study(tiny_base, runs, *served("http://127.0.0.1:9"))
    assert moved.store.missing(moved.plan.stages) == []
    own = open_study(tiny_base, runs)
    missing = {f"{stage.kind}/{stage.name}" for stage in own.store.missing(own.plan.stages)}
    assert {"reward/virtue-s0", "steer/virtue-s0", "evaluate/toxigen_generation-base"} <= missing
    assert "evaluate/toxigen-base" not in missing


def test_a_disagreement_raises_an_alarm(tiny_base: Path, tmp_path: Path):
    with serving(tiny_base, max_length=256, noisy=0.1) as fake:
        study = open_study(tiny_base, tmp_path, *served(fake.url), "steer.steps=1")
        assert study.run()
    results = read_json(study.folder / "results.json", StudyResults)
    for arm in results.arms:
        assert arm.curve[0].engine_difference == pytest.approx(0.1, abs=1e-3)
        assert "engine disagrees" in arm.curve[0].alarms


def test_no_server_is_said_before_any_work(tiny_base: Path, tmp_path: Path):
    study = open_study(tiny_base, tmp_path, *served("http://127.0.0.1:9"))
    with pytest.raises(InputError, match="the vLLM server does not answer"):
        study.run()
    assert study.store.missing(study.plan.stages) == list(study.plan.stages)


def test_a_run_that_lost_its_server_is_resumed(tiny_base: Path, tmp_path: Path):
    with serving(tiny_base, max_length=256, fails_after=60) as fake:
        study = open_study(tiny_base, tmp_path, *served(fake.url))
        with pytest.raises(InputError, match="EngineCore encountered an issue"):
            study.run()
        fake.fails_after = None
        assert study.store.missing(study.plan.stages)
        assert study.run()
        assert study.is_finished()


@pytest.mark.skipif(VLLM_PYTHON is None, reason="ETHOSTEER_VLLM_PYTHON names no interpreter")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vllm_for_real(dtype: str, tmp_path: Path):
    """Run a study on the pocket model through a vLLM that it starts itself."""
    changes = (
        f"base.dtype={dtype}",
        f"rollout={{engine='vllm', version='0.32.0', python='{VLLM_PYTHON}', max_length=320}}",
    )
    settings = load_study("demo", [*SETTINGS, "base.model=pocket", *changes])
    study = Study(settings, tmp_path, Origin("sample"), Terminal())
    assert study.run()
    results = read_json(study.folder / "results.json", StudyResults)
    limit = 1e-3 if dtype == "float32" else 0.05
    for arm in results.arms:
        assert arm.curve and all(point.engine_difference < limit for point in arm.curve)  # type: ignore[operator]

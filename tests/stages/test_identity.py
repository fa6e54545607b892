"""What is in a stage's identity, and that what is left out of it changes nothing."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ethosteer.data.sources import SAMPLE_DIR, Origin
from ethosteer.files import to_json
from ethosteer.progress import Terminal
from ethosteer.settings import FILE_KEYS, FILE_SETTINGS, LABELS, StudySettings
from ethosteer.stages.curate import OF_FILES
from ethosteer.stages.stage import Stage
from ethosteer.study.load import load_study
from ethosteer.study.plan import Plan
from ethosteer.study.run import Study
from tests.tiny_study import OVERRIDES

FOLDER = Path(__file__).parent / "files"
FILE, LABELLED_FILE = FOLDER / "prompts.jsonl", FOLDER / "labelled.csv"

TINY = (
    *OVERRIDES,
    "seeds=[0]",
    f"benchmarks={{toxigen = {{limit = 6}}, wsc273 = {{limit = 4}}, rated = {{file = '{FILE}', "
    f"labelled = '{LABELLED_FILE}', new_tokens = 4, limit = 4}}}}",
    "reward.lora.dropout=0.1",
    "steer.lora.dropout=0.1",
    "evaluate.cross_pairs=8",
)

VARIATIONS = {
    "arms.dataset": "arms.virtue.dataset='virtue'",
    "arms.algorithm": "arms.virtue.algorithm='dpo'",
    "base.device": "base.device='cpu'",
    "base.shape": "base.shape={hidden=8, layers=1, intermediate=8, vocabulary=9}",
    "benchmarks.file": f"benchmarks.rated.file='{FOLDER / 'copied' / 'prompts.jsonl'}'",
    "benchmarks.home": "benchmarks.rated.home='https://example.org'",
    "benchmarks.labelled": f"benchmarks.rated.labelled='{FOLDER / 'copied' / 'labelled.csv'}'",
    "benchmarks.licence": "benchmarks.rated.licence='CC0'",
    "benchmarks.title": "benchmarks.rated.title='Rated'",
    "compare.published": "compare.published='published-2024'",
    "data.conversations": "data.conversations='conversations/guanaco_train.jsonl'",
    "data.max_prompt_tokens": "data.max_prompt_tokens=60",
    "data.origin": "data.origin='hub'",
    "data.prompts": "data.prompts='conversations'",
    "evaluate.chat": "evaluate.chat=true",
    "evaluate.cross_pairs": "evaluate.cross_pairs=9",
    "evaluate.include_path": f"evaluate.include_path=['{FOLDER}']",
    "evaluate.sample_prompts": "evaluate.sample_prompts=3",
    "evaluate.tokens_per_batch": "evaluate.tokens_per_batch=200",
    "finetune.tokens_per_batch": "finetune.tokens_per_batch=90",
    "reward.tokens_per_batch": "reward.tokens_per_batch=90",
    "steer.best_of_n": "steer.best_of_n.n=3",
    "steer.dpo": "steer.dpo.beta=0.7",
    "steer.ppo": "steer.ppo.clip=0.5",
    "steer.rloo": "steer.rloo.clip=0.5",
    "steer.select": "steer.select='kl'",
    "steer.tokens_per_batch": "steer.tokens_per_batch=90",
    "tokens_per_batch": "evaluate.tokens_per_batch=200",
}
"""For every setting that some stage leaves out, a study with another value of it."""


def open_study(base: Path, runs: Path, *changes: str) -> Study:
    settings = load_study("demo", [f"base.model={base}", *TINY, *changes])
    return Study(settings, runs, Origin("folder", SAMPLE_DIR), Terminal(quiet=True))


@pytest.fixture(scope="module")
def finished(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = open_study(tiny_base, tmp_path_factory.mktemp("runs"))
    assert study.run()
    return study


OTHER_VALUES: dict[str, Any] = {
    "compare.primary": ("crows_pairs",),
    "seeds": (0, 2),
    "base.dtype": "bfloat16",
    "base.quantise": "nf4",
    "data.origin": "hub",
    "data.template": "hh",
    "data.date": "2031-01-02",
    "data.conversations": "hub",
    "data.prompts": "conversations",
    "rollout.engine": "ethosteer",
    "rollout.version": "0.33.0",
    "rollout.url": "http://127.0.0.1:8001",
    "steer.algorithm": "dpo",
    "steer.batch": 8,
    "steer.minibatches": 1,
    "steer.select": "kl",
    "steer.rloo.answers": 2,
    "arms.virtue.dataset": "harmless",
    "arms.virtue.algorithm": "dpo",
    "benchmarks.crows_pairs.source": "revised",
    "compare.control": "fine-tuned",
    "compare.correction": "bh",
    "base.shape": {"hidden": 8, "layers": 1, "intermediate": 8, "vocabulary": 9, "tied": False},
}
"""Other values of settings that are neither numbers, truth values nor free text."""


def other(path: str, value: object) -> object:
    """Return another value of a setting that is allowed where it stands."""
    if path in OTHER_VALUES:
        return OTHER_VALUES[path]
    if path.endswith("targets"):
        return ("q_proj",)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.9 if value else 0.1
    if value is None and path.rsplit(".", 1)[-1] in {"revision", "classifier", "published"}:
        return "another"
    if value is None and path.endswith("learning_rate"):
        return 0.5
    return 9 if value is None else ("another",) if isinstance(value, tuple) else f"{value}-2"


def leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of a study by its path."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def kinds(study: Study) -> dict[str, Stage[Any]]:
    """Return one stage of every class."""
    return {type(stage).__name__: stage for stage in study.plan.stages}


def same(a: object, b: object) -> bool:
    """Say whether two JSON values differ by rounding alone."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5) or a is b or math.isnan(a + b)
    return a == b


def files_that_differ(before: Path, after: Path) -> Iterator[str]:
    """Yield the files of two artifacts that differ by more than rounding."""
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
             for folder in (before, after)]  # fmt: skip
    assert names[0] == names[1]
    for name in names[0]:
        a, b = before / name, after / name
        if name == "manifest.json" or name.endswith(".parquet"):
            continue  # the times differ; outcomes are compared as records
        if name.endswith(".safetensors"):
            old, new = load_file(a), load_file(b)
            alike = old.keys() == new.keys() and all(
                torch.allclose(old[key], new[key], rtol=1e-3, atol=1e-5) for key in old
            )
        elif name.endswith(".json") and "tokenizer" not in name:
            tables = [json.loads(path.read_text("utf-8")) for path in (a, b)]
            for table in tables:
                if isinstance(table, dict):  # it lies elsewhere, and is the same
                    table.pop("base_model_name_or_path", None)
            alike = same(*tables)
        else:
            alike = a.read_bytes() == b.read_bytes()
        if not alike:
            yield name


LEFT_OUT = sorted(
    (name, setting)
    for name, stage in kinds(
        Study(load_study("demo", TINY), Path("unused"), Origin("sample"), Terminal(quiet=True))
    ).items()
    for setting, reason in stage.exclusions().items()
    # which a built-in dataset cannot have, and a benchmark without a classifier in a folder
    if reason != OF_FILES and setting != "classifier_folder"
)


@pytest.mark.parametrize(("name", "setting"), LEFT_OUT)
def test_a_setting_that_is_left_out_changes_nothing(
    finished: Study, tiny_base: Path, tmp_path: Path, name: str, setting: str
) -> None:
    shutil.copytree(finished.folder, tmp_path / "demo")
    varied = open_study(tiny_base, tmp_path, VARIATIONS[setting])
    assert varied.settings != finished.settings
    (before, *_), stages = (
        [stage for stage in study.plan.stages if type(stage).__name__ == name]
        for study in (finished, varied)
    )
    assert stages[0].fingerprint == before.fingerprint, "vary it so that no stage before changes"
    batch = varied.plan.batches(stages)[0]
    for stage in batch:
        shutil.rmtree(varied.store.path(stage))
    type(batch[0]).run(batch, varied.workspace)
    for stage in batch:
        assert list(files_that_differ(finished.store.path(stage), varied.store.path(stage))) == []
        results = (json.loads(to_json(study.store.load(stage))) for study in (finished, varied))
        assert same(*results)


def test_every_setting_of_a_study_is_in_some_identity(tmp_path: Path) -> None:
    """Change every setting, one at a time: a stage is identified anew, or it is known why not."""
    study = load_study(
        "demo",
        [
            "steer.algorithm='ppo'",
            "steer.minibatches=2",
            "rollout={engine='vllm', version='0.32.0', url='http://127.0.0.1:8000'}",
            "compare.control='base'",  # which a study without fine-tuning needs
            "benchmarks={crows_pairs={}}",
            "arms={virtue={}, v-rloo={dataset='virtue', algorithm='rloo'}, "
            "v-dpo={dataset='virtue', algorithm='dpo'}, "
            "v-best={dataset='virtue', algorithm='best_of_n'}}",
        ],
    )

    def fingerprints(settings: StudySettings) -> set[str]:
        return {stage.fingerprint for stage in Plan(settings, Origin("folder", tmp_path)).stages}

    shutil.copytree(SAMPLE_DIR, tmp_path, dirs_exist_ok=True)
    (tmp_path / "crows_pairs" / "test_EN.jsonl").write_text("another edition")
    (tmp_path / "conversations" / "guanaco_train.jsonl").write_text("another edition")
    known = fingerprints(study)
    unseen = set()
    for path, value in leaves(study.model_dump()):
        if path.rsplit(".", 1)[-1] in FILE_SETTINGS and path.startswith("arms."):
            continue  # of arms with a file; tests/study/test_file_arms.py varies them
        of_files = (*FILE_KEYS, "file", *LABELS)
        if path.startswith("benchmarks.") and path.rsplit(".", 1)[-1] in of_files:
            continue  # of files as benchmarks; tests/study/test_file_benchmarks.py varies them
        if path == "base.model" or (path.startswith("arms.v-") and not path.endswith("max_pairs")):
            continue  # a base is identified by its files; one arm stands for all
        if path in ("rollout.python", "rollout.memory", "rollout.max_length"):
            continue  # of a server that is started; varied below
        table = study.model_dump()
        *parents, key = path.split(".")
        parent = table
        for name in parents:
            parent = parent[name]
        parent[key] = other(path, value)
        if fingerprints(type(study).model_validate(table)) == known:
            unseen.add(path)
    assert unseen == {
        "base.device", "base.gradient_checkpointing", "base.revision", "base.shape",
        "compare.published", "data.origin",
        "evaluate.include_path", "evaluate.tokens_per_batch", "finetune.tokens_per_batch",
        "reward.tokens_per_batch", "rollout.url",
        "steer.tokens_per_batch", "track.trackers",
    }  # fmt: skip


def test_an_engine_is_in_the_identity_of_what_it_samples_and_of_nothing_else() -> None:
    benchmarks = "benchmarks={crows_pairs={}, toxigen_generation={limit=4}}"

    def fingerprints(*rollout: str) -> dict[str, str]:
        plan = Plan(load_study("demo", [benchmarks, *rollout]), Origin("sample"))
        return {f"{stage.kind}/{stage.name}": stage.fingerprint for stage in plan.stages}

    def changed(*rollout: str) -> set[str]:
        after = fingerprints(*rollout)
        return {name for name in without if without[name] != after[name]}

    without = fingerprints()
    vllm = "rollout={engine='vllm', version='0.32.0', url='http://a'}"
    sampled = changed(vllm)
    assert {"evaluate/toxigen_generation-base", "evaluate/toxigen_generation-fine-tuned"} < sampled
    assert {name.partition("/")[0] for name in sampled} == {
        "reward",
        "steer",
        "evaluate",
        "compare",
    }
    kept = without.keys() - sampled
    assert {"finetune/base", "evaluate/crows_pairs-base", "evaluate/crows_pairs-items"} <= kept
    assert changed(vllm, "rollout.url=http://b") == sampled
    assert fingerprints(vllm) == fingerprints(vllm, "rollout.url=http://b")
    started = "rollout={engine='vllm', version='0.32.0', python='p', memory=0.5, max_length=9}"
    assert fingerprints(vllm) == fingerprints(started)
    assert fingerprints(vllm) != fingerprints(vllm, "rollout.version=0.33.0")


def test_an_optional_field_enters_where_it_is_set() -> None:
    @dataclass(frozen=True, eq=False)
    class Before(Stage[None]):
        kind = "made"
        version = 1
        size: int
        limit: int | None
        name = "it"

        def load(self, folder: Path) -> None:
            pass

    @dataclass(frozen=True, eq=False)
    class After(Before):
        engine: str | None = None

    assert After(1, None).fingerprint == Before(1, None).fingerprint
    assert After(1, None, "vllm").fingerprint != Before(1, None).fingerprint
    assert Before(1, None).fingerprint != Before(1, 0).fingerprint


def test_a_classifier_in_a_folder_counts_by_its_content(tmp_path: Path) -> None:
    def fingerprint(name: str) -> str:
        benchmark = f"benchmarks={{toxigen_generation={{classifier='{name}'}}}}"
        return (
            Plan(load_study("demo", [benchmark]), Origin("sample"))
            .items["toxigen_generation"]
            .fingerprint
        )

    folder, moved = tmp_path / "rates", tmp_path / "moved"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    before = fingerprint(str(folder))
    shutil.copytree(folder, moved)
    assert fingerprint(str(moved)) == before
    (moved / "model.safetensors").write_bytes(b"others")
    assert fingerprint(str(moved)) != before
    assert fingerprint("someone/rates") != fingerprint("someone/else")

"""Arms that read a file of the user's: their settings, identity, card and value profile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ethosteer import catalog
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation.items import asked_items
from ethosteer.progress import Terminal
from ethosteer.settings import ArmSettings, StudySettings
from ethosteer.stages.compare import Compare
from ethosteer.stages.curate import Curate
from ethosteer.study.compare_studies import compare_arms
from ethosteer.study.finished import open_run
from ethosteer.study.load import load_study
from ethosteer.study.plan import Plan
from ethosteer.study.run import Study
from ethosteer.study.text_sizes import read_texts
from tests.data.formats.small import jsonl
from tests.tiny_study import OVERRIDES

STUDY = """
name = "own"
question = "Which is better?"
[data]
origin = "sample"
conversations = "sample"
[arms.mine]
file = "data/mine.jsonl"
max_pairs = 24
[arms.mine-dpo]
dataset = "mine"
algorithm = "dpo"
max_pairs = 24
[arms.virtue]
max_pairs = 24
[benchmarks]
toxigen = { limit = 6 }
preferences = {}
"""
TINY = (
    *(entry for entry in OVERRIDES if not entry.startswith(("arms", "benchmarks"))),
    "seeds=[0]",
    "evaluate.cross_pairs=8",
    "steer.dpo.pairs=8",
)


def rows(count: int = 400, answer: str = "Please ask first.") -> list[dict[str, Any]]:
    return [
        {"prompt": f"May I read letter {n}?", "chosen": answer, "rejected": f"Read it {n} times."}
        for n in range(count)
    ]


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data" / "mine.jsonl", rows())
    (tmp_path / "own.toml").write_text(STUDY)
    return tmp_path / "own.toml"


def load(study_file: Path, *changes: str) -> StudySettings:
    return load_study(str(study_file), changes)


def fingerprints(settings: StudySettings, kind: type) -> dict[str, str]:
    """Return the fingerprints of a plan's stages of one class, by their names."""
    stages = Plan(settings, Origin("sample")).stages
    return {stage.name: stage.fingerprint for stage in stages if isinstance(stage, kind)}


def test_a_path_is_relative_to_the_study_file_and_an_override_to_the_working_directory(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load(study_file).arms["mine"].file == str(study_file.parent / "data" / "mine.jsonl")
    changed = load(study_file, "arms.mine.file=b.jsonl")
    assert changed.arms["mine"].file == str(elsewhere / "b.jsonl")
    assert ArmSettings(file="c.jsonl").file == str(elsewhere / "c.jsonl")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"file": "a.csv", "dataset": "virtue"}, "dataset and file exclude each other"),
        ({"file": "a.csv", "hub": "a/b"}, "file and hub exclude each other"),
        ({"licence": "MIT"}, "licence needs file or collected or hub"),
        ({"dataset": "virtue", "title": "x"}, "title needs file or collected or hub"),
        ({"columns": {"chosen": "x"}}, "columns needs file or hub"),
        ({"collected": "mine", "columns": {"chosen": "x"}}, "columns needs file or hub"),
        ({"collected": "mine", "file": "a.csv"}, "file and collected exclude each other"),
        ({"file": "a.csv", "split": "train"}, "split needs hub"),
        ({"hub": "https://huggingface.co/a/b"}, "should match pattern"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ArmSettings(**settings)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("arms.mine.dataset='virtue'", "arms.mine: dataset and file exclude each other"),
        ("arms.mine.columns={best='x'}", "arms.mine: columns.best is unknown; known: prompt, "),
        (
            "arms={virtue={file='a.csv'}}",
            "arms.virtue: virtue is the name of a built-in dataset; call an arm with a file "
            "otherwise",
        ),
        ("benchmarks={'preferences:yours'={}}", "no benchmark is called 'preferences:yours'"),
    ],
)
def test_errors_name_the_arm(study_file: Path, change: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        load(study_file, change)
    assert f"{study_file}: {problem}" in str(caught.value)


@pytest.mark.parametrize("second", ["dataset = 'mine'", "file = 'data/mine.jsonl'"])
def test_arms_of_one_file_share_its_pairs(study_file: Path, second: str) -> None:
    study_file.write_text(STUDY.replace('dataset = "mine"', second), "utf-8")
    settings = load(study_file)
    assert settings.dataset_of("mine-dpo") == "mine"
    assert settings.data_arms() == ("mine", "virtue")
    assert list(catalog.study_benchmarks(settings)) == [
        "toxigen", "preferences:mine", "preferences:virtue",
    ]  # fmt: skip


def test_arms_built_in_python_may_name_an_arm_with_a_file_too() -> None:
    settings = StudySettings(
        name="x",
        question="?",
        arms={"a": ArmSettings(file="a.csv", licence="MIT"), "b": ArmSettings(dataset="a")},
        benchmarks={"toxigen": {}},  # type: ignore[dict-item]
    )
    assert settings.arms["b"] == settings.arms["a"]


def test_a_file_is_identified_by_its_content_and_not_by_its_place(
    study_file: Path, tmp_path: Path
) -> None:
    known = fingerprints(load(study_file), Curate)
    copy = jsonl(tmp_path / "copy.jsonl", rows())
    assert fingerprints(load(study_file, f"arms.mine.file='{copy}'"), Curate) == known
    jsonl(copy, rows(answer="Ask."))
    changed = fingerprints(load(study_file, f"arms.mine.file='{copy}'"), Curate)
    assert changed["mine"] != known["mine"]
    assert changed["virtue"] == known["virtue"]


def test_collected_judgements_are_a_file_of_the_export(study_file: Path, tmp_path: Path) -> None:
    export = study_file.parent / "people" / "export"
    marks = {"winner": "a", "annotator": 1, "group": "g", "preference": 1, "flagged": False,
             "selection": "random", "withdrawn": None, "assignment": "x"}  # fmt: skip
    judged = [
        {"prompt": f"May I, {n}?", "response_a": "Ask.", "response_b": "Yes.", **marks, "group": n}
        for n in range(40)
    ]
    text = STUDY.replace('file = "data/mine.jsonl"', 'collected = "people"')
    study_file.write_text(text, "utf-8")
    export.parent.mkdir()
    with pytest.raises(InputError, match=r"arms\.mine: .*people: has no judgements\.jsonl; `ethos"):
        load(study_file)
    export.mkdir()
    file = jsonl(export / "judgements.jsonl", judged)
    settings = load(study_file)
    assert settings.arms["mine"].collected == str(export.parent)
    assert settings.arms["mine-dpo"].collected == str(export.parent)
    assert settings.dataset_of("mine-dpo") == "mine"
    assert catalog.study_dataset(settings, "mine").source.path == str(file)
    known = fingerprints(settings, Curate)

    # the same content is the same pairs, whatever it is called
    copy = jsonl(tmp_path / "copy.jsonl", judged)
    assert fingerprints(load(study_file, f"arms.mine.collected='{copy}'"), Curate) == known
    study_file.write_text(STUDY.replace("data/mine.jsonl", str(copy)), "utf-8")
    assert fingerprints(load(study_file), Curate) == known
    study_file.write_text(text, "utf-8")
    jsonl(file, [*judged, judged[0] | {"winner": "b", "annotator": 2}])
    changed = fingerprints(load(study_file), Curate)
    assert changed["mine"] != known["mine"] and changed["virtue"] == known["virtue"]


def test_a_folder_is_identified_by_its_data_files(study_file: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for name, start in (("a.jsonl", 0), ("b.jsonl", 200)):
        jsonl(shards / name, rows()[start : start + 200])
    change = f"arms.mine.file='{shards}'"
    known = fingerprints(load(study_file, change), Curate)
    (shards / "README.md").write_text("about")
    assert fingerprints(load(study_file, change), Curate) == known
    (shards / "b.jsonl").rename(shards / "c.jsonl")
    assert fingerprints(load(study_file, change), Curate) != known


@pytest.mark.parametrize(
    "change",
    [
        "columns={chosen='rejected', rejected='chosen'}",
        "weigh='judgements'",
        "max_pairs=9",
        "pairs_per_group=3",
    ],
)
def test_what_changes_pairs_is_in_the_identity(study_file: Path, change: str) -> None:
    known = fingerprints(load(study_file), Curate)
    assert fingerprints(load(study_file, f"arms.mine.{change}"), Curate)["mine"] != known["mine"]


@pytest.mark.parametrize("label", ["title", "home", "licence"])
def test_a_label_repeats_the_comparison_alone(study_file: Path, label: str) -> None:
    before, after = load(study_file), load(study_file, f"arms.mine.{label}='changed'")
    changed = {
        stage.name
        for old, stage in zip(
            Plan(before, Origin("sample")).stages, Plan(after, Origin("sample")).stages, strict=True
        )
        if old.fingerprint != stage.fingerprint
    }
    assert changed == {Plan(after, Origin("sample")).comparison.name}
    assert isinstance(Plan(after, Origin("sample")).comparison, Compare)


def test_a_file_that_changes_while_the_study_runs_is_not_stored_under_its_old_hash(
    study_file: Path, tiny_base: Path
) -> None:
    settings = load(study_file, f"base.model='{tiny_base}'")
    study = Study(settings, study_file.parent, Origin("sample"), Terminal(quiet=True))
    stage = study.plan.pairs["mine"]
    assert not study.store.has(stage)  # its fingerprint is taken
    jsonl(study_file.parent / "data" / "mine.jsonl", rows(answer="Ask."))
    with pytest.raises(InputError, match=r"mine\.jsonl: changed while the study ran; run it again"):
        Curate.run([stage], study.workspace)
    assert not study.store.has(stage)


def test_an_estimate_reads_the_file(study_file: Path) -> None:
    notes: list[str] = []
    file = study_file.parent / "data" / "mine.jsonl"
    texts = read_texts(load(study_file, f"arms={{mine={{file='{file}'}}}}"), Origin("hub"), notes)
    sizes = texts.pairs["mine"]
    assert sizes.train + sizes.validation + sizes.test == 400
    assert [note for note in notes if "pairs" in note] == []


def test_items_of_a_files_value_profile_are_its_test_pairs(study_file: Path) -> None:
    settings = load(study_file)
    benchmark = catalog.study_benchmark(settings, "preferences:mine")
    assert benchmark.title == "mine pairs"
    items = benchmark.items([Path(str(settings.arms["mine"].file))])
    assert len(items) == 400
    assert 20 < len(asked_items(benchmark, items)) < 60
    assert catalog.study_benchmark(settings, "toxigen") is catalog.benchmark("toxigen")


def test_a_malformed_file_ends_a_run_before_any_work(
    study_file: Path, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    with (study_file.parent / "data" / "mine.jsonl").open("a") as file:
        file.write('{"prompt": "q", "chosen": 3, "rejected": "b"}\n')
    status, _, err = call("run", str(study_file), "--runs-dir", str(tmp_path / "runs"))
    assert status == 2
    assert "data/mine.jsonl:401: column 'chosen' must be text or a list of messages, found 3" in err
    assert list((tmp_path / "runs").rglob("pairs.jsonl")) == []


def test_a_study_of_a_file_runs_and_is_known_from_its_folder(
    study_file: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(study_file, f"base.model='{tiny_base}'", *TINY, "arms.mine.licence='CC0-1.0'")
    study = Study(settings, tmp_path / "runs", Origin("sample"), Terminal(quiet=True))
    assert study.run()
    results = json.loads((study.folder / "results.json").read_text())
    card, other = results["cards"]
    assert (card["name"], card["source"], card["licence"]) == ("mine", "mine.jsonl", "CC0-1.0")
    assert card["format"] == (
        "prompt, chosen and rejected as text, columns prompt, chosen, rejected"
    )
    assert (other["name"], other["licence"], other["format"]) == ("virtue", "MIT", "")
    assert [(entry["name"], entry["dataset"]) for entry in results["benchmarks"]] == [
        ("toxigen", ""), ("preferences:mine", "mine"), ("preferences:virtue", "virtue"),
    ]  # fmt: skip
    # an arm's own pairs are one family, and those of other datasets another
    families = {
        (entry["benchmark"], entry["a"]): entry["family"]
        for entry in results["comparisons"]
        if entry["role"] == "value profile"
    }
    assert "the arm's dataset" in families["preferences:mine", "mine-dpo"]
    assert "other datasets" in families["preferences:virtue", "mine-dpo"]
    run = open_run(study.folder)
    assert compare_arms(settings.compare, "preferences:mine", run, run)

    monkeypatch.chdir(tmp_path / "data")
    remembered = load_study(str(study.folder / "study.toml"))
    assert remembered == settings
    again = Study(remembered, tmp_path / "runs", Origin("sample"), Terminal(quiet=True))
    assert again.is_finished()
    relabelled = load_study(str(study.folder / "study.toml"), ["arms.mine.licence='MIT'"])
    last = Study(relabelled, tmp_path / "runs", Origin("sample"), Terminal(quiet=True))
    assert last.store.missing(last.plan.stages) == [last.plan.comparison]
    assert last.run()
    assert json.loads((study.folder / "results.json").read_text())["cards"][0]["licence"] == "MIT"

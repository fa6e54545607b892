"""What a study needs: every bundled study's files have an address, and nothing else is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethosteer.study.data_files import data_files, hub_classifiers, hub_datasets
from ethosteer.study.load import bundled_studies, load_study

FOLDER = Path("data")


@pytest.mark.parametrize("name", bundled_studies())
def test_every_file_of_a_bundled_study_has_an_address_at_a_fixed_revision(name: str):
    files = data_files(load_study(name), FOLDER)
    assert files
    assert len({remote.path for remote in files}) == len(files)
    for remote in files:
        assert remote.exists, remote.path
        assert remote.licence, remote.path
        if remote.repository:
            assert len(remote.revision) == 40, remote.path
        else:
            assert remote.address.startswith("https://"), remote.path
            # the archive of Scruples is the one whose hash is not known to us
            assert bool(remote.sha256) == (remote.path != SCRUPLES), remote.path


SCRUPLES = "scruples/anecdotes/test.scruples-anecdotes.jsonl"


def test_files_are_those_of_the_arms_the_benchmarks_and_the_conversations():
    assert [remote.path for remote in data_files(load_study("algorithms"), FOLDER)] == [
        "ethics/deontology/deontology_train.csv",
        "ethics/virtue/virtue_train.csv",
        "toxigen/annotated_test.csv",
        "winograd/wsc273.jsonl",
    ]
    llama = [remote.path for remote in data_files(load_study("llama2-13b"), FOLDER)]
    assert llama[-1] == "conversations/guanaco_train.jsonl"
    assert SCRUPLES in llama
    # the other form of the same benchmark, as the study's `source` says
    pocket = [remote.path for remote in data_files(load_study("pocket"), FOLDER)]
    assert "ethics-aita/test.scruples-anecdotes.jsonl" in pocket
    assert SCRUPLES not in pocket


def test_conversations_of_the_users_have_no_address():
    settings = load_study("demo", ["data.conversations=mine.jsonl"])
    mine = data_files(settings, FOLDER)[-1]
    assert (mine.path, mine.exists) == ("mine.jsonl", False)


def test_classifiers_are_those_that_the_hub_has(tmp_path: Path):
    named = "benchmarks.toxigen_generation.classifier"
    assert hub_classifiers(load_study("demo")) == []
    assert hub_classifiers(load_study("demo", [f"{named}=trained"])) == []
    assert hub_classifiers(load_study("demo", [f"{named}={tmp_path}"])) == []
    assert hub_classifiers(load_study("demo", [f"{named}=someone/rates"])) == ["someone/rates"]


def test_files_that_the_study_names_are_where_they_are(tmp_path: Path):
    study = tmp_path / "mine.toml"
    study.write_text(
        'name = "mine"\nquestion = "?"\nseeds = [0]\n[base]\nmodel = "pocket"\n'
        "[arms.virtue]\n[arms.mine]\n"
        'file = "mine.jsonl"\n[arms.theirs]\nhub = "someone/pairs"\nrevision = "v1"\n'
        "[finetune]\nenabled = false\n[benchmarks]\nwsc273 = {}\n"
    )
    (tmp_path / "mine.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    settings = load_study(str(study))
    paths = [remote.path for remote in data_files(settings, FOLDER)]
    assert paths == ["ethics/virtue/virtue_train.csv", "winograd/wsc273.jsonl"]
    (theirs,) = hub_datasets(settings)
    assert (theirs.repository, theirs.revision) == ("someone/pairs", "v1")

"""A small sample of the attacks on a study's folder; ``scripts/attack.py`` runs them whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from attacks import claims, curation, damage, disk, kills


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacks")


def test_a_killed_study_ends_with_equal_numbers(scratch: Path) -> None:
    outcomes = kills.attack(seed=4, count=2, scratch=scratch)
    assert len(outcomes) == 2
    assert [(name, outcome) for name, outcome in outcomes if outcome != "equal"] == []
    assert {name.split()[0] for name, _ in outcomes} == {"SIGKILL", "SIGTERM"}


def test_workers_of_which_one_is_killed_or_paused_end_with_equal_numbers(scratch: Path) -> None:
    outcomes = claims.attack(seed=3, count=2, scratch=scratch)
    assert [(name, outcome) for name, outcome in outcomes if outcome != "equal"] == []
    assert {name.split()[0] for name, _ in outcomes} == {"SIGKILL", "SIGSTOP"}


def test_damage_changes_no_number(scratch: Path) -> None:
    outcomes = damage.attack(seed=1, count=2, scratch=scratch)
    assert len(outcomes) == 2
    assert [(name, said) for name, said in outcomes if not said.startswith("equal")] == []


def test_invented_pairs_go_through_curation(scratch: Path) -> None:
    measured = dict(curation.attack(seed=2, count=300, scratch=scratch))
    assert measured["rows"].startswith("300;")
    assert "'duplicate'" in measured["rows"], "the repeated rows"
    assert int(measured["prompts"]) > 100
    steps = ("curate", "overlap", "near-duplicates of the test split")
    assert all("pairs/s" in measured[step] for step in steps)


def test_a_full_disk_ends_a_study_with_one_line_and_loses_nothing(scratch: Path) -> None:
    outcomes = disk.attack(seed=2, count=2, scratch=scratch, commands=())
    assert len(outcomes) == 2
    assert [(name, said) for name, said in outcomes if not said.startswith("equal")] == []

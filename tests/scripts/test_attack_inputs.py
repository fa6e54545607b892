"""A sample of the attack on inputs, and whether its own checks would see a fault."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from attacks import commands, faults, inputs, studies, workers
from attacks.mutations import spoil
from attacks.workers import tried
from ethosteer.errors import InputError
from ethosteer.records import Item
from tests.scripts.hanging import cases


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that cases run in; what they change of the process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


READERS = [target for target in dict.fromkeys(inputs.TARGETS) if target is not commands.command]


@pytest.mark.parametrize("target", READERS, ids=lambda target: target.__name__)
def test_malformed_inputs_are_refused_in_a_line_or_whole(scratch: Path, target) -> None:
    for index in range(12):
        name, outcome = target(random.Random(f"sample {index}"), scratch)
        assert outcome in ("accepted", "refused"), (index, name, outcome)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("curate", "virtue", "--pairs-per-group", "9" * 20), "pairs_per_group: Input should be"),
        (("evaluate", "--benchmarks", "toxigen", "--limit", "9" * 12), "limit: Input should be"),
        (("evaluate", "--benchmarks", "toxigen", "--out", "x" * 300), "is too long for a path"),
        (("fetch", "demo", "x" * 300, "--check"), "is too long for a path"),
        (("status", "x" * 5000), "is too long for a path"),
        (("curate", "y" * 300), "is too long for a path"),
        (("report", "demo", "--out", "z/" * 3000), "is too long for a path"),
    ],
)
def test_arguments_that_nothing_could_use_are_one_line(scratch: Path, arguments, said) -> None:
    status, message = commands.answered(arguments)
    assert status == 2
    assert message.startswith("error: ") and "\n" not in message
    assert said in message


def test_a_seed_repeats_its_cases(scratch: Path) -> None:
    first, second = (
        [inputs.study_file(random.Random(seed), scratch) for seed in range(9)] for _ in range(2)
    )
    assert first == second


def test_the_kinds_of_outcome(scratch: Path) -> None:
    def refuse(message: str) -> str:
        fault = InputError(message)

        def action() -> None:
            raise fault

        return faults.outcome(action, "f.csv")

    assert refuse("f.csv:3: is wrong") == "refused"
    assert refuse("something is wrong") == "no place: something is wrong"
    assert faults.outcome(lambda: None) == "accepted"
    assert faults.outcome(lambda: "two alike") == "nonsense: two alike"
    gone: dict[str, str] = {}
    assert faults.outcome(lambda: gone["gone"]) == "traceback: KeyError: 'gone'"


def item(name: str, *choices: str, label: int | None = 0) -> Item:
    return Item(name, ("Q",) * len(choices), choices, label, name)


def test_nonsense_in_items_is_seen() -> None:
    good = [item("a", " yes", " no"), item("b", " yes", " no")]
    assert faults.items_fault(good) is None
    assert faults.items_fault([*good, good[0]]) == "an id is there twice"
    assert "the same" in str(faults.items_fault([item("a", " no", " no")]))
    assert faults.items_fault([item("a", " yes", " no", label=2)]) == "the label is no choice"
    assert "can be seen" in str(faults.items_fault([item("a", " yes", "\u200b")]))
    changed = [good[0], item("b", " yes", " no", label=1)]
    assert faults.others_fault(good, changed, changed=1) is None
    assert faults.others_fault(good, changed, changed=0) == "row 1 changed, and not only row 0"
    assert "items where there were" in str(faults.others_fault(good, good[:1], changed=0))


def test_a_setting_that_changes_another_one_is_seen(scratch: Path) -> None:
    path = scratch / "s.toml"
    path.write_text(studies.text(), encoding="utf-8")
    assert studies.fault(path, ("steer.steps=9",), "steer.steps") is None
    assert studies.fault(path, ("steer.steps=9",), "steer.batch") == "steer.steps is 9 and was 100"


def test_a_spoiled_row_is_in_its_line() -> None:
    text = "x,y\n" + "one,two\n" * 9
    spoiled = (spoil("a.csv", text, random.Random(seed)) for seed in range(200))
    rows = [entry for entry in spoiled if entry.line is not None]
    assert len(rows) > 50
    for entry in rows:
        assert entry.line is not None
        before = text.encode().split(b"\n")[: entry.line - 1]
        assert entry.content.split(b"\n")[: entry.line - 1] == before


@pytest.mark.skipif(os.name == "nt", reason="timers of processor time are Unix's")
def test_a_hang_and_a_death_are_outcomes_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "LIMIT", 0.1)
    assert list(tried(cases, 5)) == [
        ("kind 0", "accepted"),
        ("case 1", "hang: over 0.1 s of processor time"),
        ("kind 2", "accepted"),
        ("case 3", "the process died"),
        ("kind 4", "accepted"),
    ]

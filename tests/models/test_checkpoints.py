"""Checkpoints continue training bit for bit; of a damaged one the one before is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ethosteer.errors import InputError
from ethosteer.models import checkpoints
from ethosteer.models.checkpoints import (
    CHECKPOINT_SECONDS,
    UNVERIFIED,
    CheckpointSchedule,
    load_checkpoint,
    save_checkpoint,
    stored_checkpoints,
)
from ethosteer.models.optimiser import ArmOptimiser
from tests.models.test_optimiser import (
    SETTINGS,
    STEPS,
    give_gradients,
    parameters,
    same,
    values,
)


def test_a_checkpoint_continues_bit_for_bit(tmp_path):
    def run(arms: list[list[nn.Parameter]], optimisers: list[ArmOptimiser], steps: range) -> None:
        for step in steps:
            for arm, (owned, optimiser) in enumerate(zip(arms, optimisers, strict=True)):
                give_gradients(owned, 10 * arm + step)
                optimiser.step()

    def fresh(seed: int) -> tuple[list[list[nn.Parameter]], list[ArmOptimiser]]:
        arms = [parameters(seed), parameters(seed + 1)]
        return arms, [ArmOptimiser.build(owned, SETTINGS, STEPS) for owned in arms]

    straight, optimisers = fresh(0)
    run(straight, optimisers, range(4))
    halved, optimisers = fresh(0)
    assert load_checkpoint(tmp_path, optimisers, "done") is None
    run(halved, optimisers, range(2))
    save_checkpoint(tmp_path, optimisers, {"done": 2, "curve": [0.1, float("nan")]})
    resumed, optimisers = fresh(7)
    found = load_checkpoint(tmp_path, optimisers, "done")
    assert found is not None and found.facts["done"] == 2
    assert found.extra == {}
    assert list(tmp_path.iterdir()) == stored_checkpoints(tmp_path)
    for own, old in zip(resumed, halved, strict=True):
        assert same(values(own), values(old))
    run(resumed, optimisers, range(2, 4))
    for own, expected in zip(resumed, straight, strict=True):
        assert same(values(own), values(expected))


def test_checkpoints_are_due_by_steps_and_by_time(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr("ethosteer.models.checkpoints.time.monotonic", lambda: now[0])
    schedule = CheckpointSchedule(10)
    seconds = CHECKPOINT_SECONDS
    due = []
    for done, at in enumerate((1, seconds + 1, 2 * seconds, 2 * seconds + 2), start=7):
        now[0] = at
        if schedule.is_due(done):
            due.append(done)
    # 8 by time, 10 by steps; not 9, less than the time after 8
    assert due == [8, 10]
    now[0] += seconds - 1
    assert not schedule.is_due(11)
    now[0] += 1
    assert schedule.is_due(12)


def test_a_checkpoint_keeps_what_else_a_run_needs(tmp_path):
    owned = parameters(0)
    extra = {"best.0": owned[0].detach(), "best.1": owned[0].detach()}
    save_checkpoint(tmp_path, [ArmOptimiser.build(owned, SETTINGS, STEPS)], {"done": 0}, extra)
    kept = owned[0].detach().clone()
    with torch.no_grad():
        owned[0].zero_()
    found = load_checkpoint(tmp_path, [ArmOptimiser.build(owned, SETTINGS, STEPS)], "done")
    assert found is not None
    assert found.facts == {"done": 0}
    assert sorted(found.extra) == ["best.0", "best.1"]
    assert all(torch.equal(tensor, kept) for tensor in found.extra.values())
    assert torch.equal(owned[0], kept), "the parameters themselves come back too"


# --- damage


def trained(folder: Path, steps: int) -> None:
    """Store a checkpoint after each of ``steps`` steps."""
    owned = parameters(0)
    optimiser = ArmOptimiser.build(owned, SETTINGS, STEPS)
    for step in range(steps):
        give_gradients(owned, step)
        optimiser.step()
        save_checkpoint(folder, [optimiser], {"done": step + 1})


def steps_resumed(folder: Path) -> int:
    found = load_checkpoint(folder, [ArmOptimiser.build(parameters(9), SETTINGS, STEPS)], "done")
    return int(str(found.facts["done"])) if found else 0


def flip(path: Path, position: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_the_last_two_checkpoints_are_kept(tmp_path: Path):
    trained(tmp_path, 4)
    assert [path.name.partition("-")[0] for path in stored_checkpoints(tmp_path)] == [
        "00000004",
        "00000003",
    ]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["flipped", "cut off", "emptied", "deleted"])
def test_of_a_damaged_checkpoint_the_one_before_is_read(damage, tmp_path, capsys):
    trained(tmp_path, 3)
    last = stored_checkpoints(tmp_path)[0]
    if damage == "flipped":
        flip(last)  # a weight: safetensors reads it without a word
    elif damage == "deleted":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[: 100 if damage == "cut off" else 0])
    assert steps_resumed(tmp_path) == 2
    error = capsys.readouterr().err
    assert error.count("is damaged") == (damage != "deleted")
    assert not last.exists()


def test_checkpoints_that_another_worker_removes_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A worker that was taken for dead wakes up, and removes what it holds for superfluous."""
    trained(tmp_path, 3)
    listed = stored_checkpoints(tmp_path)
    monkeypatch.setattr(checkpoints, "stored_checkpoints", lambda _: listed)
    listed[0].unlink()
    assert steps_resumed(tmp_path) == 2
    listed[1].unlink()
    assert steps_resumed(tmp_path) == 0
    monkeypatch.setattr(checkpoints, "stored_checkpoints", lambda _: [*listed, *listed])
    trained(tmp_path, 1)


def test_where_all_checkpoints_are_damaged_training_starts_anew(tmp_path, capsys):
    trained(tmp_path, 3)
    for path in stored_checkpoints(tmp_path):
        flip(path)
    assert steps_resumed(tmp_path) == 0
    assert capsys.readouterr().err.count("is damaged") == 2
    assert list(tmp_path.iterdir()) == []


def test_the_checkpoint_of_an_earlier_version_is_read_and_replaced(tmp_path, capsys):
    trained(tmp_path, 1)
    stored_checkpoints(tmp_path)[0].rename(tmp_path / UNVERIFIED)
    assert steps_resumed(tmp_path) == 1
    trained(tmp_path, 2)
    assert not (tmp_path / UNVERIFIED).exists()
    (tmp_path / UNVERIFIED).write_bytes(b"damaged")
    for path in stored_checkpoints(tmp_path)[:2]:
        path.unlink()
    assert steps_resumed(tmp_path) == 0
    assert "is damaged" in capsys.readouterr().err


def test_a_link_in_place_of_a_checkpoint_is_not_followed(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_text("precious")
    (folder / ".checkpoint.part").symlink_to(elsewhere)
    (folder / UNVERIFIED).symlink_to(elsewhere)
    trained(folder, 1)
    assert elsewhere.read_text() == "precious"
    assert steps_resumed(folder) == 1


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    trained(tmp_path, 1)

    def full(tensors: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        # as safetensors words it
        raise RuntimeError("Error while serializing: I/O error: No space left (os error 28)")

    monkeypatch.setattr("ethosteer.models.checkpoints.save_file", full)
    with pytest.raises(InputError, match=r"cannot be written: No space left on device; free space"):
        trained(tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 1
    assert steps_resumed(tmp_path) == 1

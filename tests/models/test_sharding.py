"""Two processes that share a base train and score as one does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from ethosteer import processes
from ethosteer.errors import InputError
from ethosteer.models.checkpoints import stored_checkpoints
from ethosteer.models.fast.budget import passes
from ethosteer.models.sharding import divided, sharded_device, while_all_live
from tests.models import sharded

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4


def test_a_number_of_processes_that_torchrun_did_not_set_counts_not(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (processes.count(), processes.rank(), processes.is_main()) == (1, 0, True)


@given(st.integers(0, 9), st.integers(1, 4))
def test_every_pass_counts_once_and_all_processes_make_equally_many(number, count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "count", lambda: count)
        shares = []
        for rank in range(count):
            patch.setattr(processes, "rank", lambda rank=rank: rank)
            shares.append(divided(range(number)))
    assert len({len(share) for share in shares}) == 1
    counted = [index for share in shares for index, weight in share if weight == 1]
    assert sorted(counted) == list(range(number))
    assert {weight for share in shares for _, weight in share} <= {0.0, 1.0}


@given(st.lists(st.integers(1, 9), min_size=1), st.integers(1, 60), st.integers(1, 4))
def test_passes_go_round_where_there_are_items_enough(sizes, budget, count):
    chunks = passes(sizes, lambda size: size, budget, count)
    assert [size for chunk in chunks for size in chunk] == sizes
    assert all(len(chunk) == 1 or sum(chunk) <= budget for chunk in chunks)
    alone = passes(sizes, lambda size: size, budget)
    assert len(alone) <= len(chunks) < len(alone) + count


def test_a_device_that_is_not_each_processes_is_refused(torchrun, monkeypatch):
    torchrun(2, 1)
    with pytest.raises(InputError, match=r"base.device = 'cuda:0': with several processes each"):
        sharded_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="process 1: this machine has 1 GPUs"):
        sharded_device("auto")
    assert sharded_device("cpu") == torch.device("cpu")


def test_the_end_of_another_process_is_one_line_and_other_faults_stay_what_they_are():
    lost = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: reset by peer"
    with pytest.raises(InputError, match="another process has ended"), while_all_live():
        raise RuntimeError(lost)
    with pytest.raises(InputError, match="another process has ended"), while_all_live():
        raise torch.distributed.DistBackendError("NCCL communicator was aborted")
    with pytest.raises(RuntimeError, match="shapes"), while_all_live():
        raise RuntimeError("shapes cannot be multiplied")


@pytest.fixture(scope="module")
def alone(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what one process made, and its checkpoints of half of the steps."""
    folder = tmp_path_factory.mktemp("sharded")
    shutil.copytree(tiny_models["llama"], folder / "llama")
    sharded.save_fine_tuning(folder)
    return folder


@pytest.fixture(scope="module")
def expected(alone: Path) -> dict[str, Tensor]:
    base = sharded.load(alone)
    made = {name: sharded.train(name, base, alone / "one" / name) for name in sharded.TRAINED}
    for name in sharded.RESUMED:
        forget_second_half(alone / "one" / name)
    made["scores"] = sharded.scores(base)
    for name in sharded.BASES:
        made |= sharded.run_fine_tuned(alone, name)
    return made


def forget_second_half(checkpoints: Path) -> None:
    for path in stored_checkpoints(checkpoints):
        if not path.name.startswith(f"{sharded.HALF:08}-"):
            path.unlink()
    assert len(stored_checkpoints(checkpoints)) == 1


@pytest.fixture(scope="module")
def made(alone: Path, expected: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return what each of two processes made, after one process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
               "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
               "-m", "tests.models.sharded", str(alone)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [load_file(alone / f"process-{rank}.safetensors") for rank in range(2)]


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", [*sharded.TRAINED, "scores"])
def test_two_processes_learn_and_score_as_one(name, made, expected):
    assert torch.equal(made[0][name], made[1][name]), "the processes agree to the bit"
    assert error(made[0][name], expected[name]) < TOLERANCE


@pytest.mark.parametrize("name", sharded.BASES)
def test_a_fine_tuned_base_of_two_processes_is_that_of_one(name, made, expected):
    half = "dtype" in sharded.BASES[name]
    for what, tolerance in (("gradients", 3e-2), ("scores", 1e-2)):
        key = f"{name}: {what}"
        assert torch.equal(made[0][key], made[1][key]), "the processes agree to the bit"
        assert error(made[0][key], expected[key]) < (tolerance if half else TOLERANCE)
    key = f"{name}: answers"
    assert torch.equal(made[0][key], made[1][key])
    assert half or torch.equal(made[0][key], expected[key])


def test_fine_tuned_bases_differ_from_the_raw_one_and_checkpointing_changes_nothing(made, expected):
    tuned = {what: expected[f"fine-tuned: {what}"] for what in ("gradients", "scores", "answers")}
    assert error(tuned["scores"], expected["scores"]) > 0.01
    for what, values in tuned.items():
        assert error(made[0][f"checkpointed: {what}"].float(), values.float()) < TOLERANCE
    for dtype in ("bfloat16", "float16"):
        assert 0 < error(expected[f"{dtype}: gradients"], tuned["gradients"]) < 0.05


@pytest.mark.parametrize("name", sharded.RESUMED)
def test_two_processes_go_on_from_a_checkpoint_of_one(name, made, expected):
    assert error(made[0][f"{name} resumed"], expected[name]) < TOLERANCE


@pytest.mark.parametrize("name", sharded.RESUMED)
def test_one_process_goes_on_from_a_checkpoint_of_two(name, alone, made, expected):
    folder = alone / "two" / name
    forget_second_half(folder)
    found = sharded.train(name, sharded.load(alone), folder)
    assert error(found, expected[name]) < TOLERANCE


def test_a_process_holds_half_of_the_decoder(made):
    # up to the rows by which a norm's or an embedding's length is odd
    whole = int(made[0]["bytes"][0])
    for process in made:
        assert int(process["bytes"][1]) == pytest.approx(whole / 2, rel=0.01)

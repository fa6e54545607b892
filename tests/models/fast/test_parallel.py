from __future__ import annotations

import threading
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ethosteer.models.fast.parallel import HANDS, shares, side_by_side
from ethosteer.models.lora_bank import LoraBank
from tests import tiny

CPU = torch.device("cpu")


def test_passes_run_at_once_and_come_back_in_order():
    meeting = threading.Barrier(HANDS, timeout=30)

    def met(number: int) -> int:
        meeting.wait()  # nobody passes alone
        return number

    assert side_by_side(CPU, [partial(met, number) for number in range(2 * HANDS)]) == [0, 1, 2, 3]


def test_a_pass_sees_whether_gradients_are_wanted_and_leaves_the_callers_cores_alone():
    cores = torch.get_num_threads()
    assert side_by_side(CPU, [torch.is_grad_enabled] * 2) == [True, True]
    with torch.no_grad():
        assert side_by_side(CPU, [torch.is_grad_enabled] * 2) == [False, False]
    assert torch.get_num_threads() == cores


def test_what_goes_wrong_in_a_pass_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        side_by_side(CPU, [lambda: 1, lambda: 1 // 0])


def test_passes_of_different_arms_side_by_side_do_not_see_each_other(llama):
    bank = tiny.fill(LoraBank(llama.layers, 2, tiny.lora(), seed=0))
    tokens = torch.arange(5, 25).view(2, 10)

    def run(arm: int | None) -> torch.Tensor:
        with torch.no_grad(), bank.applied([arm]) if arm is not None else nullcontext():
            out: torch.Tensor = llama.hidden(tokens)
            return out

    wanted = [0, 1, None] * 8
    alone = [run(arm) for arm in wanted]
    for found, expected in zip(
        side_by_side(CPU, [partial(run, arm) for arm in wanted]), alone, strict=True
    ):
        tiny.close(found, expected)
    with bank.applied([1]):
        inherited = side_by_side(CPU, [partial(llama.hidden, tokens)])[0]
    tiny.close(inherited, alone[1])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200))
def test_shares_hold_every_item_once_in_order_and_are_about_equal(sizes, room):
    found = shares(sizes, lambda size: size, room, CPU)
    assert [size for part in found for size in part] == sizes
    assert all(sum(part) <= max(room / HANDS, *sizes) + max(sizes) for part in found)
    if len(sizes) >= HANDS and max(sizes) == min(sizes):
        assert len(found) >= HANDS, "a pass for each hand"


def test_a_gpu_runs_one_pass_of_the_whole_room():
    gpu = torch.device("cuda")
    assert shares([4, 4, 4, 4], lambda size: size, 16, gpu) == [[4, 4, 4, 4]]
    assert shares([4, 4, 4, 4], lambda size: size, 8, gpu) == [[4, 4], [4, 4]]

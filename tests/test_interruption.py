"""Signals end work between two steps, with a checkpoint, and only where the command line asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from ethosteer import catalog, interruption
from ethosteer.algorithms.loop.steering import Steering
from ethosteer.evaluation.answering import answer_items
from ethosteer.interruption import (
    Interrupted,
    deferred,
    immediate,
    stop_if_requested,
    time_limit,
)
from ethosteer.models.base import SharedBase
from ethosteer.models.checkpoints import stored_checkpoints
from ethosteer.models.finetuning import finetune
from ethosteer.models.reward_training import RewardTraining
from ethosteer.records import Item, Model
from ethosteer.settings import FinetuneSettings, OptimiserSettings, RewardSettings
from tests import tiny
from tests.markers import needs_interval_timers

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 138}


def send(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), SIGNALS.items())
def test_a_signal_ends_the_work_where_it_asks(number, status, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    with deferred():
        stop_if_requested()
        assert not interruption.is_requested()
        send(number)
        assert interruption.is_requested()
        with pytest.raises(Interrupted) as stop:
            stop_if_requested()
        assert stop.value.status == status
        # the next one is left to the system, which ends the process
        assert {signal.getsignal(each) for each in SIGNALS} == {signal.SIG_DFL}
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert not interruption.is_requested()
    error = capfd.readouterr().err
    assert error.startswith(f"{number.name}: stopping after this step") and error.count("\n") == 1


def test_a_signal_to_one_process_stops_all_that_work_together():
    def largest(number: float) -> float:
        return max(number, signal.SIGUSR1)  # as another process has received it

    with interruption.shared(largest):
        assert interruption.is_requested()
        with pytest.raises(Interrupted) as stop:
            stop_if_requested()
        assert stop.value.received == signal.SIGUSR1
    assert not interruption.is_requested()
    stop_if_requested()


def spin() -> None:
    while True:
        pass


@needs_interval_timers
def test_a_block_ends_at_its_limit_and_what_follows_has_none():
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(TimeoutError, match=r"takes more than 0\.05 s"), time_limit(0.05):
        spin()
    with time_limit(10):
        pass
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    assert signal.getsignal(signal.SIGVTALRM) == before


@needs_interval_timers
def test_a_limit_within_another_leaves_that_one_in_force():
    def nested() -> None:
        with time_limit(0.5):
            with time_limit(10):
                pass
            spin()

    with pytest.raises(TimeoutError, match=r"takes more than 0\.5 s"):
        nested()


def test_another_thread_has_no_limit_and_is_not_disturbed():
    done = []

    def work() -> None:
        with time_limit(1e-6):
            done.append(sum(range(10_000)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


SECOND = """
import os, signal, time
from ethosteer.interruption import deferred
with deferred():
    os.kill(os.getpid(), signal.SIGTERM)
    print("working on", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("never reached", flush=True)
"""


def test_a_second_signal_ends_the_process_at_once():
    ended = subprocess.run(
        [sys.executable, "-c", SECOND], capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGTERM
    assert ended.stdout == "working on\n"


def test_called_from_python_ctrl_c_raises_keyboard_interrupt():
    # which a shell ignores for what it starts in the background
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_run_ctrl_c_ends_a_command_at_once():
    with immediate(), pytest.raises(Interrupted) as stop:
        send(signal.SIGINT)
    assert stop.value.status == 130
    assert not issubclass(Interrupted, Exception | KeyboardInterrupt)


def test_other_threads_handle_no_signals():
    faults: list[BaseException] = []

    def enter() -> None:
        try:
            with deferred(), immediate():
                pass
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert faults == []


# --- loops of training: the step is finished, stored, and the next run continues from it


def at(step: int) -> Callable[..., None]:
    """Return a report of progress that sends SIGTERM in step ``step``."""

    def report(done: int, *_: object) -> None:
        if done == step:
            send()

    return report


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("algorithm", catalog.algorithm_names())
def test_steering_stops_after_a_step(algorithm: str, step: int, llama, tmp_path):
    def run() -> Steering:
        return tiny.steering(algorithm, llama, (0, 1), checkpoint_every=100)

    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
    straight, stopped, resumed = run(), run(), run()
    straight.train(tmp_path / "straight", tiny.quiet)
    with deferred(), pytest.raises(Interrupted):
        stopped.train(tmp_path / "stopped", at(step))
    steps: list[int] = []
    resumed.train(tmp_path / "stopped", lambda done, _: steps.append(done))
    assert steps == list(range(step + 1, 4))
    assert resumed.curves == straight.curves
    for arm in range(2):
        assert torch.equal(tiny.flat(resumed, arm), tiny.flat(straight, arm))


REWARD = RewardSettings(
    batch=4, epochs=1.0, lora=tiny.lora(), optimiser=OptimiserSettings(learning_rate=1e-3)
)


def test_reward_training_stops_after_a_step(llama: SharedBase, tmp_path: Path):
    pairs = [tiny.random_pairs(16, seed=1)]

    def run(folder: str, report: Callable[..., None]) -> RewardTraining:
        (tmp_path / folder).mkdir(exist_ok=True)
        training = RewardTraining(llama, pairs, REWARD, seed=3)
        training.train(tmp_path / folder, report)
        return training

    straight = run("straight", tiny.quiet)
    for step in (2, 4):
        with deferred(), pytest.raises(Interrupted):
            run("stopped", at(step))
        assert stored_checkpoints(tmp_path / "stopped")[0].name.startswith(f"{step:08}-")
    steps: list[int] = []
    assert run("stopped", lambda done, *_: steps.append(done)).losses == straight.losses
    assert steps == [], "all steps were done"


def test_finetuning_stops_after_a_step(llama: SharedBase, tmp_path: Path):
    rows = tiny.whole_rows(tiny.ragged(12, 5, 9))
    settings = FinetuneSettings(batch=4, epochs=1.0, lora=tiny.lora())

    def run(folder: str, report: Callable[..., None]) -> list[float]:
        (tmp_path / folder).mkdir(exist_ok=True)
        return finetune(llama, rows, settings, tmp_path / folder, report)[1]

    straight = run("straight", tiny.quiet)
    with deferred(), pytest.raises(Interrupted):
        run("stopped", at(2))
    steps: list[int] = []
    assert run("stopped", lambda done, *_: steps.append(done)) == straight
    assert steps == [3]


@pytest.mark.parametrize("new_tokens", [0, 2])
def test_evaluation_stops_after_a_pass(llama: SharedBase, new_tokens: int):
    name = "toxigen_generation" if new_tokens else "toxigen"
    items = [
        Item(str(index), (f"A word {index}. " * index,) * 2, (" No", " Yes"), 0, str(index))
        for index in range(1, 5)
    ]
    reports: list[int] = []

    def report(done: int, *_: object) -> None:
        reports.append(done)
        send()

    with deferred(), pytest.raises(Interrupted):
        answer_items(llama, [Model("base")], catalog.benchmark(name), items, None, 40, report)
    assert len(reports) == 1


# --- the command line


@pytest.mark.parametrize(("number", "status"), SIGNALS.items())
def test_the_command_line_says_how_to_resume(number, status, call, tmp_path, monkeypatch):
    def interrupted(_: object, missing: Sequence[object]) -> None:
        send(number)
        stop_if_requested()

    monkeypatch.setattr("ethosteer.study.run.Study._run_stages", interrupted)
    found, out, error = call("run", "demo", "--runs-dir", str(tmp_path / "my runs"))
    assert (found, out) == (status, "")
    folder = tmp_path / "my runs" / "demo"
    assert error.endswith(f"resume with `ethosteer run '{folder}'`\n")
    assert f"stopped by {number.name}" in error
    assert call("run", str(folder), "--set", "base.model=nothing")[0] == 2, "the command is valid"


def test_ctrl_c_ends_any_other_command(call, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        send(signal.SIGINT)

    monkeypatch.setattr("ethosteer.cli.studies.study_origin", interrupted)
    assert call("plan", "demo") == (130, "", "interrupted\n")

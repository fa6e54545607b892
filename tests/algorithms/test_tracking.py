"""Curves as TensorBoard reads them, and trackers that cannot be had."""

from __future__ import annotations

import errno
import math
import threading
from pathlib import Path

import pytest

from ethosteer.algorithms.tracking import LOGGED, Tracking, check_trackers
from ethosteer.errors import InputError
from ethosteer.results.steering import CurvePoint


def point(step: int, **changes: object) -> CurvePoint:
    own: dict[str, object] = {name: 0.125 * place for place, name in enumerate(LOGGED, start=step)}
    return CurvePoint(**{"step": step, "kl_k3": 0.0, **own, **changes})  # type: ignore[arg-type]


def test_event_files_hold_what_was_logged(tmp_path: Path, read_events):
    with Tracking.open(("tensorboard",), "ppo-s0", tmp_path) as tracking:
        tracking.log(0, {"virtue-s0": point(0, rewards={"duty": -0.5, "virtue": 0.5})})
        tracking.log(
            3, {"virtue-s0": point(3, alarms=("negative KL", "stopped")), "duty-s0": point(3)}
        )
        tracking.log(4, {})
    found = read_events(tmp_path / "ppo-s0")
    expected = {
        **{
            f"virtue-s0/{name}": [(0, 0.125 * place), (3, 0.125 * (place + 3))]
            for place, name in enumerate(LOGGED)
        },
        **{f"duty-s0/{name}": [(3, 0.125 * (place + 3))] for place, name in enumerate(LOGGED)},
        "virtue-s0/reward of duty": [(0, -0.5)],
        "virtue-s0/reward of virtue": [(0, 0.5)],
        "virtue-s0/alarms": [(0, 0.0), (3, 2.0)],
        "duty-s0/alarms": [(3, 0.0)],
    }
    assert found == expected


def test_two_runs_keep_apart(tmp_path: Path, read_events):
    for run, reward in (("ppo-s0", 1.0), ("ppo-s1", 2.0)):
        with Tracking.open(("tensorboard",), run, tmp_path) as tracking:
            tracking.log(0, {"a": point(0, reward=reward)})
    assert read_events(tmp_path / "ppo-s0")["a/reward"] == [(0, 1.0)]
    assert read_events(tmp_path / "ppo-s1")["a/reward"] == [(0, 2.0)]


def test_what_is_not_finite_is_logged_as_it_is(tmp_path: Path, read_events):
    with Tracking.open(("tensorboard",), "run", tmp_path) as tracking:
        tracking.log(0, {"a": point(0, reward=math.nan, kl=math.inf)})
    found = read_events(tmp_path)
    assert math.isnan(found["a/reward"][0][1])
    assert found["a/kl"] == [(0, math.inf)]


def test_a_thread_that_cannot_write_prints_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    shown: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_value))

    def fail(fault: Exception) -> None:
        raise fault

    full, other = OSError(errno.ENOSPC, "No space left on device"), ValueError("another fault")
    with Tracking.open(["tensorboard"], "run", tmp_path):
        for fault in (full, other):
            thread = threading.Thread(target=fail, args=(fault,))
            thread.start()
            thread.join()
    assert shown == [other]
    assert "Traceback" not in capsys.readouterr().err


def test_without_trackers_nothing_is_written(tmp_path: Path):
    check_trackers(())
    with Tracking.open((), "run", tmp_path) as tracking:
        tracking.log(0, {"a": point(0)})
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_must_be_known_and_installed():
    check_trackers(("tensorboard",))
    with pytest.raises(InputError, match=r"unknown tracker 'tensorbord'; known: .*tensorboard"):
        check_trackers(("tensorboard", "tensorbord"))
    with pytest.raises(InputError, match=r"clearml is not installed \(pip install clearml\)"):
        check_trackers(("clearml",))

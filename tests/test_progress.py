"""Progress in a log file: a line a minute, and one at the end of a stage."""

from __future__ import annotations

import re

import pytest

from ethosteer import progress
from ethosteer.progress import Terminal


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_file_gets_a_line_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal().stage("reward, seed 0") as report:
        for step, second in enumerate((30, 59, 61, 90, 130, 200), start=1):
            clock.now = second
            report(step, 6, f"loss {1 / step:.2f}")
    assert capsys.readouterr().err.splitlines() == [
        "reward, seed 0: 3 of 6, loss 0.33",
        "reward, seed 0: 5 of 6, loss 0.20",
        "reward, seed 0: 6 of 6, loss 0.17",
        "reward, seed 0: done in 200.0 s",
    ]


def test_a_table_is_left_out_of_a_log_file(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal().table("steer, seed 0", ("arm", "reward")) as report:
        clock.now = 61
        report(7, 75, [("[bold]virtue", "1.5")])
    assert re.findall(".*of.*", capsys.readouterr().err) == ["steer, seed 0: 7 of 75"]

"""Progress: lines in a log file; bars, and one of the whole run, on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from ethosteer import progress
from ethosteer.progress import Overall, Terminal, escape, visible


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


def test_a_log_file_gets_a_line_every_half_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal().stage("reward virtue-s0") as report:
        for step, second in enumerate((10, 29, 31, 60, 61, 130), start=1):
            clock.now = second
            report(step, 6, f"loss {1 / step:.2f}")
        clock.now = 200
    # two steps in 21 s, four in 51 s, five in 120 s after the first
    assert capsys.readouterr().err.splitlines() == [
        "reward virtue-s0: 3 of 6, 10.5 s each, 0:00:32 left, loss 0.33",
        "reward virtue-s0: 5 of 6, 12.8 s each, 0:00:13 left, loss 0.20",
        "reward virtue-s0: 6 of 6, 24 s each, 0:00:00 left, loss 0.17",
        "reward virtue-s0: done in 200.0 s",
    ]


def test_a_resumed_stage_counts_its_own_steps_alone(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal().stage("steer") as report:
        report(501, 1000, "")
        clock.now = 40
        report(601, 1000, "")
    assert capsys.readouterr().err.splitlines()[0] == (
        "steer: 601 of 1000, 2.5 a second, 0:02:40 left"
    )


def test_a_table_is_left_out_of_a_log_file(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal().table("steer virtue-s0", ("arm", "reward")) as report:
        clock.now = 61
        report(7, 75, [("[bold]virtue", "1.5")])
    assert re.findall(".*of.*", capsys.readouterr().err) == ["steer virtue-s0: 7 of 75"]


def test_a_run_shows_how_far_it_is_in_a_log_file(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    with terminal.overall(100) as overall:
        with overall.work(40), terminal.stage("reward") as report:
            report(1, 2, "")
            clock.now = 45
            report(2, 2, "")
        with overall.work(60), terminal.stage("steer") as report:
            clock.now = 90
            report(1, 2, "")
    lines = [line for line in capsys.readouterr().err.splitlines() if "run" in line]
    # the rest at (45 + 5) / (40 + 5) of 60 s; then half of the second block, as expected: its first
    # report may be of work that was done before
    assert lines == [
        "reward: 2 of 2, 45 s each, 0:00:00 left, 40% of the run, about 0:01:07 left",
        "steer: 1 of 2, 70% of the run, about 0:00:30 left",
    ]


def test_time_left_starts_as_expected_and_follows_the_pace(clock: Clock) -> None:
    overall = Overall(200)
    assert (overall.done, overall.left) == (0, 200)
    with overall.work(100):
        overall.advance(0.5)
        overall.advance(0.2)  # another bar of the same work
        assert overall.done == 50
        clock.now = 110
        # nothing in 110 s since the first report: (110 + 5) / (0 + 5) of 50 s; the second block at
        # (110 + 10) / (50 + 10), half the expected pace
        assert overall.left == 50 * 23 + 100 * 2
    assert overall.done == 100
    with overall.work(100):
        assert overall.done == 100
    assert (overall.done, overall.left) == (200, 0)


def test_slow_work_at_the_end_of_a_fast_run_shows_its_time(clock: Clock) -> None:
    overall = Overall(200)
    with overall.work(190):
        clock.now = 19
    with overall.work(10):
        overall.advance(0.0)
        clock.now = 119
        overall.advance(0.5)
        assert overall.left == pytest.approx(5 * 100.5 / 5.5)  # and not 5 s at the run's pace


def test_work_that_fails_is_not_done(clock: Clock) -> None:
    overall = Overall(10)
    with pytest.raises(RuntimeError), overall.work(10):
        raise RuntimeError
    assert overall.done == 0


def shown(terminal: Terminal) -> str:
    """Return what is on a terminal's screen now, below the lines that were printed."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(terminal._bars())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_run_stays_on_a_terminal_between_stages(clock: Clock) -> None:
    terminal = Terminal()
    terminal.console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with terminal.overall(100) as overall:
        assert "0% of the run, about 0:01:40 left" in shown(terminal)
        with overall.work(50):
            with terminal.stage("[reward]") as report:
                report(1, 2, "loss 0.5")
                assert "[reward]" in shown(terminal)
                assert "1/2" in shown(terminal)
                assert "25% of the run" in shown(terminal)
            assert "reward" not in shown(terminal)
            assert "50% of the run" not in shown(terminal)
        assert "50% of the run" in shown(terminal)
        with overall.work(50), terminal.table("steer", ("arm", "reward")) as report_table:
            report_table(1, 4, [("[virtue]", "1.5")])
            screen = shown(terminal)
            assert "[virtue]" in screen
            assert screen.index("[virtue]") < screen.index("62% of the run")
    assert shown(terminal) == ""


def test_a_stage_without_a_run_has_its_own_bar() -> None:
    terminal = Terminal()
    terminal.console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with terminal.stage("evaluate") as report:
        report(1, 2, "")
        assert "evaluate" in shown(terminal)
        assert "of the run" not in shown(terminal)
    assert shown(terminal) == ""


def test_text_from_data_cannot_steer_the_terminal() -> None:
    text = "a\x1b[2J\x07\x9b31m\rb\u202ec\n\t[bold]d"
    assert visible(text) == "a\\x1b[2J\\x07\\x9b31m\\rb\\u202ec\n\t[bold]d"
    assert escape(text).endswith("\n\t\\[bold]d")

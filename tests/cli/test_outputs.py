"""``--out`` names a file or a folder, never a device or, for a file, a link."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ethosteer import interruption
from ethosteer.data.fetch.hub import _explained
from ethosteer.errors import InputError
from ethosteer.interruption import deferred
from ethosteer.progress import Terminal

Call = Callable[..., tuple[int, str, str]]


def test_results_are_not_written_to_a_device_or_through_a_link(call: Call, tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text("kept")
    (tmp_path / "link.json").symlink_to(tmp_path / "target.json")
    for out in ("/dev/null", str(tmp_path / "link.json"), str(tmp_path)):
        status, _, err = call("evaluate", "--sample", "--benchmarks", "toxigen", "--out", out)
        assert (status, err.count("\n")) == (2, 1)
        assert "must be a file in a folder that exists, not a link or a device" in err
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "target.json").read_text() == "kept"


@pytest.mark.parametrize("kind", ["device", "file"])
def test_a_report_is_not_written_where_no_folder_is(call: Call, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "file"
    out.write_text("kept")
    out = Path("/dev/null") if kind == "device" else out
    status, _, err = call("report", "published-2024", "--out", str(out))
    assert (status, err) == (2, f"error: --out {out}: is not a folder\n")


# --- full disks, and folders that may only be read


class Full:
    """A text stream to a file on a full disk."""

    encoding = "utf-8"

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize("command", [("list",), ("plan", "demo"), ("init", "new.toml", "--yes")])
def test_results_that_go_to_a_full_disk_are_one_line(
    command: tuple[str, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdout", Full())
    status, _, err = call(*command)
    assert (status, err) == (
        2,
        "error: standard output: cannot be written: No space left on device; free space there and "
        "run it again\n",
    )


def test_a_log_on_a_full_disk_ends_no_run_and_hides_no_status(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    terminal = Terminal()
    with terminal.stage("a stage") as report:
        report(1, 2, "")
    terminal.say("a line")
    assert call("plan", "nothing")[0] == 2
    monkeypatch.setattr("os.write", lambda *_: Full().write(""))
    with deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.is_requested()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("command", [("published-2024",), ("demo", "pocket")])
def test_a_reports_folder_that_cannot_be_made_is_one_line(
    command: tuple[str, ...], number: int, call: Call, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(path: object, *_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("ethosteer.study.finished.open_run", lambda folder: folder)
    monkeypatch.setattr("ethosteer.study.compare_studies.compare_runs", lambda _: None)
    monkeypatch.setattr("os.mkdir", refuse)
    out = tmp_path / "out"
    status, _, err = call("report", *command, "--out", str(out))
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {out}: cannot be written: {os.strerror(number)}")


def test_a_full_cache_of_the_hub_is_not_taken_for_a_hub_out_of_reach() -> None:
    with (
        pytest.raises(InputError, match=r"cannot be written: No space left on device; free space"),
        _explained("a/b", "page"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")

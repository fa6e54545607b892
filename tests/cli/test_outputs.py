"""``--out`` names a file or a folder, never a device or, for a file, a link."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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

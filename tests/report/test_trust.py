"""A report is written nowhere but into the folder that was named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethosteer.errors import InputError
from ethosteer.report import write_report
from tests.report.example import example_results


def test_a_link_within_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "report"
    outside.mkdir()
    folder.mkdir()
    (folder / "tables").symlink_to(outside)
    with pytest.raises(InputError, match=r"tables: must be a folder, not a link"):
        write_report(example_results(), {}, {}, folder)
    assert list(outside.iterdir()) == []

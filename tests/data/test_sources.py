"""Where published files are read from; the hub has tests of its own."""

from __future__ import annotations

import pytest

from ethosteer.data.sources import Origin, Source
from ethosteer.errors import InputError

SOURCE = Source("part/rows.csv", "https://example.org/rows", "MIT")


def test_origin_folder_says_where_to_get_a_missing_file(tmp_path):
    with pytest.raises(InputError) as caught:
        Origin("folder", tmp_path).locate(SOURCE)
    assert str(tmp_path / "part" / "rows.csv") in str(caught.value)
    assert "https://example.org/rows" in str(caught.value)


def test_origin_folder_names_the_edition_by_its_content(publish, tmp_path):
    publish(SOURCE.path, "x\n1\n")
    origin = Origin("folder", tmp_path)
    before = origin.revision(SOURCE)
    # sha256 of the four bytes written above.
    assert before == "sha256:daff832f802000e6"
    publish(SOURCE.path, "x\n2\n")
    assert origin.revision(SOURCE) != before


def test_origin_hub_says_so_where_the_hub_has_no_copy():
    with pytest.raises(InputError, match=r"not on the hub: download it from https://example\.org"):
        Origin("hub").locate(SOURCE)

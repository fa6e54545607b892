from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ethosteer.data.sources import SAMPLE_DIR


def test_curate_prints_the_card(call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = call("curate", "virtue", "--data-dir", str(SAMPLE_DIR), "--show", "1")
    assert status == 0
    assert "test pairs" in out
    assert "chosen" in out


@pytest.mark.parametrize("name", ["virtue.jsonl", "folder"])
def test_curate_shows_how_a_file_is_read(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, name: str
) -> None:
    """A file may be called like a built-in dataset, whose licence it does not get."""
    rows = [
        {"q": f"May I open letter {n}?", "better": "Ask.", "worse": worse, "annotator": who}
        for n in range(60)
        for who, worse in (("x", "Yes!"), ("y", "Yes!" if n % 10 else "Ask."))
    ]
    path = tmp_path / name
    if not path.suffix:
        path.mkdir()
    file = path if path.suffix else path / "part.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    columns = ("prompt=q", "chosen=better", "rejected=worse")
    options = [word for column in columns for word in ("--column", column)]
    status, out, _ = call("curate", str(path), *options, "--show", "2")
    assert status == 0
    shown = " ".join(out.replace("│", " ").split())
    assert "prompt, chosen and rejected as text, columns q as prompt, better as chosen" in shown
    assert "Krippendorff's alpha 1.00 (108 judgements of 2 annotators on 54 pairs)" in shown
    assert "licence: not stated" in shown
    assert "rows read 120" in shown
    assert "dropped: tied 6" in shown
    assert out.count("### Human: May I open letter") == 2
    assert call("curate", str(path), *options, "--weigh", "judgements", "--show", "0")[0] == 0

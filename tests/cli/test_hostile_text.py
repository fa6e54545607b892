"""Text of data and models on a terminal: nothing of it acts, and all of it is shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from ethosteer import catalog
from ethosteer.cli import listing
from ethosteer.cli.show import answers_table

Call = Callable[..., tuple[int, str, str]]

HOSTILE = {
    "a title for the window": "\x1b]0;owned\x07",
    "a cleared screen": "\x1b[2J",
    "a control sequence of one byte": "\x9b31m",
    "an override of the direction": "\u202egnp.exe",
    "an isolate": "\u2067abc",
    "markup of rich": "[red]red[/red] [link=http://x]y[/link]",
    "a tag that closes nothing": "[/nothing]",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "HTML": "<script>alert(1)</script>",
    "a formula": "=1+1",
}
ACTS = set("\x1b\x07\x9b\u202e\u2067")


def check(shown: str, text: str) -> None:
    """Assert that nothing of ``text`` acts and that what can be seen of it is shown."""
    assert not ACTS & set(shown)
    spelt = "".join(ascii(sign)[1:-1] if sign in ACTS else sign for sign in text)
    assert spelt in shown


@pytest.fixture(params=HOSTILE.values(), ids=list(HOSTILE))
def text(request: pytest.FixtureRequest) -> str:
    """Return one hostile text."""
    hostile: str = request.param
    return hostile


def test_curate_shows_pairs_as_they_are(tmp_path: Path, call: Call, text: str) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": f"{number} {text}", "chosen": f"no {text}", "rejected": f"yes {text}"}
        for number in range(120)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    status, out, err = call("curate", str(path), "--show", "2")
    assert status == 0, err
    check(out, f"no {text}")


def test_an_error_names_columns_and_files_as_they_are(
    tmp_path: Path, call: Call, text: str
) -> None:
    path = tmp_path / f"{text.replace('/', '')}.jsonl"
    path.write_text(json.dumps({text: "x"}) + "\n", encoding="utf-8")
    status, _, err = call("curate", str(path))
    assert (status, err.count("\n")) == (2, 1)
    check(err, text.replace("/", ""))
    check(err, text)


def test_status_shows_a_folder_as_it_is(tmp_path: Path, call: Call, text: str) -> None:
    folder = tmp_path / text.replace("/", "")
    status, out, err = call("status", "demo", "--runs-dir", str(folder))
    assert status == 0, err
    check(out.replace("\n", ""), text.replace("/", ""))


def printed(table: object) -> str:
    file = io.StringIO()
    Console(file=file, width=200, force_terminal=False).print(table)
    return file.getvalue()


def test_list_shows_what_a_package_names_itself(text: str) -> None:
    check(printed(listing._table("datasets", [{"name": "x", "title": text}])), text)


def test_chat_shows_an_answer_as_it_is(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("ethosteer.models.generation.generate", lambda *_, **__: [[1], [2]])
    monkeypatch.setattr("ethosteer.models.text.decode", lambda *_: text)
    monkeypatch.setattr("ethosteer.cli.show.name_of", lambda _: "base")
    study, stage = MagicMock(), MagicMock()
    stage.arm.name = text
    study.plan.steering_of.return_value = [stage]
    study.settings.steer = catalog.steer_settings()
    shown = printed(answers_table(study, "Is it far?", seed=0))
    check(shown, text)

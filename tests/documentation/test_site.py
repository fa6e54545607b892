"""The site: pages that are written from the code, and a strict build that loads nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.core import TyperGroup
from typer.main import get_command

import docs_hooks
from ethosteer import catalog
from ethosteer.cli.app import app

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r'<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//'
    r'|<link[^>]*rel="(?:stylesheet|preconnect|preload|icon)"[^>]*href="(?:https?:)?//'
)
"""What a page would load from another server."""
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def settings(kind: type[BaseModel], path: str = "") -> Iterator[tuple[str, str | None]]:
    """Every setting of a table and of the tables within it, with its description."""
    for name, field in kind.model_fields.items():
        inner = docs_hooks.settings_class(field.annotation)
        if inner is None:
            yield f"{path}{name}", field.description
        else:
            yield from settings(inner, f"{path}{name}.")


def test_every_setting_has_a_description_and_is_on_the_page():
    described = dict(settings(catalog.study_settings()))
    assert [name for name, description in described.items() if not description] == []
    rows = [line for line in docs_hooks.settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(described) > 100


def test_a_table_shows_its_own_defaults():
    page = docs_hooks.settings_page()
    _, _, steer = page.partition("## `[steer.lora]`")
    assert "| `r` | integer | `16` | rank |" in steer.partition("##")[0]
    _, _, reward = page.partition("## `[reward.lora]`")
    assert "| `r` | integer | `8` | rank |" in reward.partition("##")[0]
    assert "| `name` | text | required |" in page
    assert '| `trackers` | list of text | `["tensorboard"]` |' in page


def test_every_command_is_on_the_page():
    page, group = docs_hooks.commands_page(), get_command(app)
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        assert f"## `ethosteer {name}`" in page
        (line,) = re.findall(rf"^\* \[`{name}`\].*", page, re.MULTILINE)
        assert line.endswith(".")
        if not isinstance(command, TyperGroup):
            options = {name for parameter in command.params for name in parameter.opts}
            assert [option for option in options if option not in page] == []


def test_a_notebook_shows_the_outputs_of_a_current_copy(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(docs_hooks, "EXECUTED", tmp_path / "executed")
    (tmp_path / "executed").mkdir()

    def write(path: Path, source: str, *outputs: Any) -> Path:
        cells = [
            {"cell_type": "markdown", "source": ["# Title\n", "Text."]},
            {"cell_type": "code", "source": [source], "outputs": list(outputs)},
        ]
        path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
        return path

    path = write(tmp_path / "a.ipynb", "print(1)")
    plain = "# Title\nText.\n\n```python\nprint(1)\n```\n"
    assert docs_hooks.notebook_page(path) == plain
    copy = tmp_path / "executed" / "a.ipynb"
    noise = {"output_type": "stream", "name": "stderr", "text": ["warning\n"]}
    write(
        copy,
        "print(1)",
        {"output_type": "stream", "name": "stdout", "text": ["\x1b[3m1\x1b[0m\n"]},
        noise,
    )
    assert docs_hooks.notebook_page(path) == f"{plain}\n```text\n1\n```\n"
    frame = {"output_type": "execute_result", "data": {"text/html": ["<table>"], "text/plain": "x"}}
    write(copy, "print(1)", frame)
    assert docs_hooks.notebook_page(path).endswith('<div class="output">\n<table>\n</div>\n')
    write(copy, "print(2)", noise)
    assert docs_hooks.notebook_page(path) == plain


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []


def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path):
    pytest.importorskip("material", reason="needs the extra docs")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"^WARNING", done.stderr, re.MULTILINE)
    pages = [path for path in site.rglob("*.html") if "examples" not in path.parts]
    assert {"index.html", "settings.html", "commands.html", "own_data.html"} <= {
        path.name for path in pages
    }
    for path in pages:
        assert LOADED.findall(path.read_text("utf-8")) == [], path.name

"""Hooks of MkDocs that write pages from the code: the commands, the settings, and the notebooks.

`make docs` builds the site. A notebook's page shows the outputs of its executed copy in
``build/notebooks``, where there is one.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.cli import get_docs_for_click
from typer.core import TyperGroup
from typer.main import get_command

from ethosteer import catalog
from ethosteer.cli.app import app

EXAMPLES, NOTEBOOKS = Path("examples"), Path("notebooks")
EXECUTED = Path(__file__).parents[1] / "build" / "notebooks"
STYLES = re.compile(r"\x1b\[[0-9;]*m")
"""What a terminal shows as colours and styles."""
INTRODUCTION = """# Settings of a study file

A study is a TOML file. Every setting has a default, except those that are marked as required.
Types are strict and an unknown key is an error; the line names the key. `--set key=value` changes
a setting for one command, as in `--set steer.steps=50`. `ethosteer init` writes a commented study
file.

"""


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 (MkDocs is not a dependency)
    """Add the pages that are written from the code."""
    from mkdocs.structure.files import File

    pages = {"commands.md": commands_page(), "settings.md": settings_page()}
    for path in sorted((Path(config.docs_dir) / NOTEBOOKS).glob("*.ipynb")):
        files.remove(files.get_file_from_path((NOTEBOOKS / path.name).as_posix()))
        pages[(NOTEBOOKS / path.name).with_suffix(".md").as_posix()] = notebook_page(path)
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_post_build(config: Any) -> None:  # noqa: ANN401
    """Copy the Markdown of example reports, which are files to download and no pages."""
    for path in Path(config.docs_dir, EXAMPLES).rglob("*.md"):
        shutil.copy(path, Path(config.site_dir) / path.relative_to(config.docs_dir))


def commands_page() -> str:
    """Return the page of the command line, written from the commands' own help."""
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="ethosteer")
    for name, entry in command.commands.items():
        about = " ".join((entry.help or "").partition("\n\n")[0].split())
        # typer cuts the list's lines for a terminal
        text = re.sub(rf"^\* `{name}`: .*\.\.\.$", f"* [`{name}`](#ethosteer-{name}): {about}",
                      text, count=1, flags=re.MULTILINE)  # fmt: skip
    return text.replace("# `ethosteer`", "# Command line", 1)


def settings_page() -> str:
    """Return the page of all settings, table by table."""
    return INTRODUCTION + "".join(_table("", catalog.study_settings(), None))


def _table(path: str, kind: type[BaseModel], default: object) -> list[str]:
    """Return the Markdown of one table of a study file, and of the tables within it.

    ``default`` is the whole table's, where it has one: [steer.lora] differs from [reward.lora].
    """
    rows: list[str] = []
    within: list[str] = []
    for name, field in kind.model_fields.items():
        inner, value = settings_class(field.annotation), getattr(default, name, field.default)
        keyed = get_origin(field.annotation) is dict
        if inner is None:
            cells = (f"`{name}`", _type(field.annotation), _default(value), field.description or "")
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
        else:
            within += _table(f"{path}{name}." + ("NAME." if keyed else ""), inner, value)
    heading = f"## `[{path.removesuffix('.')}]`\n\n" if path else "## Top level\n\n"
    about = "" if not path else _about(kind)
    head = "| setting | type | default | meaning |\n|---|---|---|---|\n"
    return [heading, about, *([head, *rows, "\n"] if rows else []), *within]


def _about(kind: type[BaseModel]) -> str:
    """Return the first sentence of a table's docstring, without the table's name."""
    sentence = (inspect.getdoc(kind) or "").strip().partition("\n\n")[0].replace("\n", " ")
    _, colon, rest = sentence.partition("]: ")
    text = " ".join((rest if colon else sentence).replace("``", "`").split())
    return f"{text[:1].upper()}{text[1:]}\n\n"


def settings_class(annotation: object) -> type[BaseModel] | None:
    """Return the class of a table, or of the tables in a dictionary of them."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _type(annotation: Any) -> str:  # noqa: ANN401 (any annotation)
    """Return a type in the words of TOML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f'`"{value}"`' for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(kind) for kind in arguments if kind is not NoneType)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"table of {_type(arguments[1])}"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[annotation]


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    return "" if value is None or value in ((), {}) else f"`{json.dumps(value)}`"


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown, with the outputs of its executed copy if that is current."""
    notebook = _read(path)
    executed = EXECUTED / path.name
    if executed.is_file() and _sources(_read(executed)) == _sources(notebook):
        notebook = _read(executed)
    return "\n\n".join(_cell(cell) for cell in notebook["cells"]) + "\n"


def _read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def _sources(notebook: dict[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"]]


def _cell(cell: dict[str, Any]) -> str:
    """Return a cell: text as it is, code as a block, printed text as another block."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    blocks = [f"```python\n{source}\n```"]
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        # what goes to stderr is the progress of runs
        text = (
            data.get("text/plain", output.get("text", [])) if output.get("name") != "stderr" else ""
        )
        if "text/markdown" in data:
            blocks.append("".join(data["text/markdown"]))
        elif "text/html" in data:
            blocks.append(f'<div class="output">\n{"".join(data["text/html"])}\n</div>')
        elif text:
            blocks.append(f"```text\n{STYLES.sub('', ''.join(text)).rstrip()}\n```")
    return "\n\n".join(blocks)

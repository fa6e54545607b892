"""Imports point down only, and only ``models`` knows transformers and peft."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ethosteer

SOURCE = Path(ethosteer.__file__).parent

LAYERS = (
    {"errors", "processes", "records"},
    {"files", "interruption", "progress", "provenance"},
    {"results"},
    {"settings"},
    {"maths", "statistics"},
    {"models"},
    {"data"},
    {"datasets", "algorithms", "benchmarks"},
    {"catalog"},
    {"evaluation"},
    {"report"},
    {"published"},
    {"stages"},
    {"bench"},
    {"study"},
    {"collect"},
    {"api"},
    {"cli"},
    {"__init__", "__main__"},
)
"""From low to high. A room imports itself and lower rows, never another room of its own row."""

LEVEL = {part: level for level, layer in enumerate(LAYERS) for part in layer}

LIBRARIES = {
    "transformers": {"models"},
    "sklearn": {"models"},
    "peft": {"models"},
    "bitsandbytes": {"models"},
    "torch": {
        "maths",
        "models",
        "algorithms",
        "evaluation",
        "stages",
        "provenance",
        "bench",
        "study",
    },
    "accelerate": {"algorithms"},
    "statsmodels": {"statistics", "published"},
    "lm_eval": {"benchmarks"},
    "sqlalchemy": {"collect"},
    "alembic": {"collect"},
    "starlette": {"collect"},
    "uvicorn": {"collect"},
    "httpx2": {"models"},
    "ray": {"study"},
}
"""Which parts may import a library when they run."""


@dataclass(frozen=True)
class Import:
    """One import: the importing module, what it names, and where in the module it stands."""

    module: str
    name: str
    line: int
    nested: bool
    typing_only: bool

    @property
    def place(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def part_of(module: str) -> str:
    """ethosteer.stages.steer -> stages; the package itself, its public face -> __init__."""
    return module.split(".")[1] if "." in module else "__init__"


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ["ethosteer", *path.relative_to(SOURCE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_in(module: str, tree: ast.Module) -> Iterator[Import]:
    """Yield every import of a module's source, module-level and nested ones alike."""

    def names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        assert node.level == 0, f"{module}:{node.lineno} is a relative import"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in MODULES else str(node.module)

    def visit(node: ast.AST, nested: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                for name in names(child):
                    yield Import(module, name, child.lineno, nested, typing_only)
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                yield from visit(child, nested, True)
            else:
                inside = nested or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from visit(child, inside, typing_only)

    return visit(tree, False, False)


IMPORTS = [
    found
    for module, path in MODULES.items()
    for found in imports_in(module, ast.parse(path.read_text("utf-8")))
]

OWN = [found for found in IMPORTS if found.name.split(".")[0] == "ethosteer"]


def test_the_imports_are_found():
    source = """
import torch.nn
from typing import TYPE_CHECKING
from ethosteer import catalog, settings
if TYPE_CHECKING:
    from ethosteer.study import Study
def f():
    from ethosteer.records import Arm
class C:
    def g(self):
        try:
            import peft
        except ImportError:
            pass
"""
    found = imports_in("ethosteer.x", ast.parse(source))
    assert [(each.name, each.line, each.nested, each.typing_only) for each in found] == [
        ("torch.nn", 2, False, False),
        ("typing", 3, False, False),
        ("ethosteer.catalog", 4, False, False),
        ("ethosteer.settings", 4, False, False),
        ("ethosteer.study", 6, False, True),
        ("ethosteer.records", 8, True, False),
        ("peft", 12, True, False),
    ]
    assert len(OWN) > 100


def test_every_part_has_a_layer():
    parts = set(map(part_of, MODULES))
    assert parts <= set(LEVEL), f"give {parts - set(LEVEL)} a layer here"


def test_nothing_imports_the_package_itself():
    assert [found.place for found in OWN if found.name == "ethosteer"] == []


def test_imports_point_down_only():
    wrong = []
    for found in OWN:
        importer, imported = part_of(found.module), part_of(found.name)
        if importer != imported and LEVEL[importer] <= LEVEL[imported]:
            wrong.append(found.place)
    assert wrong == []


def test_no_circle_of_imports_nested_and_type_checking_ones_included():
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OWN:
        graph[found.module].add(found.name)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("library", LIBRARIES)
def test_only_the_parts_that_may_import_a_library_do(library: str):
    wrong = [
        found.place
        for found in IMPORTS
        if found.name.split(".")[0] == library
        and not found.typing_only
        and part_of(found.module) not in LIBRARIES[library]
    ]
    assert wrong == []


def test_the_command_line_starts_without_torch():
    code = (
        "import sys, ethosteer.cli.app; "
        "print(sorted({'torch', 'transformers', 'peft', 'bitsandbytes', 'scipy', 'sklearn', "
        "'accelerate', 'tensorboard', 'statsmodels', 'lm_eval', 'datasets', 'sqlalchemy', "
        "'alembic', 'starlette', 'uvicorn', 'ray'} & set(sys.modules)))"
    )
    started = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert started.stdout.strip() == "[]"


@pytest.mark.parametrize("base", ["pocket", "smollm2"])
@pytest.mark.parametrize("command", ["status", "plan"])
def test_a_study_is_planned_and_its_status_shown_without_torch(
    command: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ETHOSTEER_CACHE", str(tmp_path / "cache"))
    code = f"""
import sys
from ethosteer.cli.app import main
sys.argv = ["ethosteer", {command!r}, "demo", "--set", "base.model={base}"]
try:
    main()
finally:
    print({{"torch", "transformers", "peft"}} & set(sys.modules) or "none")
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout.split()[-1] == "none"
    assert ("ethosteer fetch smollm2" in shown.stdout) == (base == "smollm2")

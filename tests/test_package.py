"""The package's public face, ``python -m ethosteer``, and modules that only Linux has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest

import ethosteer

HEAVY = ("torch", "transformers", "peft", "numpy", "pydantic", "typer", "rich")


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh process; return its stdout."""
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_all_is_what_dir_offers_and_every_name_resolves():
    assert ethosteer.__all__ == sorted(ethosteer.__all__)
    assert dir(ethosteer) == ethosteer.__all__
    for name in ethosteer.__all__:
        assert getattr(ethosteer, name) is not None
    assert ethosteer.__version__ == version("ethosteer")
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        getattr(ethosteer, "rum")  # noqa: B009 (mypy knows that there is none)


def test_names_are_those_of_their_modules():
    from ethosteer.errors import InputError
    from ethosteer.study.finished import open_run

    assert ethosteer.InputError is InputError
    assert ethosteer.open_run is open_run
    namespace: dict[str, object] = {}
    exec("from ethosteer import *", namespace)
    assert set(ethosteer.__all__) <= set(namespace)


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, ethosteer; print(sorted({set(HEAVY)} & set(sys.modules)))"
    assert python(code) == "[]\n"


def test_study_files_are_read_without_torch():
    code = (
        "import sys, ethosteer; settings = ethosteer.load_study('demo'); "
        "print(settings.name, ethosteer.Estimate.__name__, 'torch' in sys.modules)"
    )
    assert python(code) == "demo Estimate False\n"


def test_python_m_ethosteer_and_version(call: Callable[..., tuple[int, str, str]]):
    line = f"ethosteer {version('ethosteer')}\n"
    command = [sys.executable, "-m", "ethosteer", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == line
    assert call("--version") == (0, line, "")


# Libraries are imported first, since they choose their own code by sys.platform.
FOREIGN = """
import rich.console, rich.live, rich.progress, rich.table
import filelock, peft, pyarrow.parquet, scipy.stats, sklearn, torch, typer, typer.rich_utils
from transformers import AutoTokenizer, LlamaForCausalLM

import json, os, sys

UNIX = {"resource", "fcntl", "pwd", "grp", "termios", "pty"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in UNIX:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in UNIX:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for name in [name for name in dir(os) if name.startswith("EX_")]:
    delattr(os, name)
sys.platform, commands = sys.argv[1], json.loads(sys.argv[2])
from ethosteer.cli.app import main

for command in commands:
    sys.argv = ["ethosteer", *command]
    try:
        main()
    except SystemExit as stop:
        print(f"status {stop.code or 0}: {' '.join(command)}")
"""


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_commands_run_without_modules_that_only_unix_has(platform: str):
    commands = [
        ["--help"],
        ["plan", "demo"],
        ["curate", "deontology", "--sample"],
        ["evaluate", "--sample", "--benchmarks", "wsc273", "--limit", "2"],
    ]
    lines = python(FOREIGN, platform, json.dumps(commands)).splitlines()
    statuses = [line for line in lines if line.startswith("status ")]
    assert statuses == [f"status 0: {' '.join(command)}" for command in commands]

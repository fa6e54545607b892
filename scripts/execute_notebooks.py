"""Execute notebooks, each in a temporary folder.

`python scripts/execute_notebooks.py FOLDER NOTEBOOK ...`: the executed copies, with their outputs,
are written into FOLDER; the notebooks stay as they are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

TIMEOUT = 1800
"""Seconds that a cell may take, on a machine that is busy."""


def execute(path: Path) -> Any:  # noqa: ANN401 (nbformat is not typed)
    """Return a notebook with its outputs; an error of a cell raises CellExecutionError.

    The kernel finds the command ``ethosteer`` of this Python's environment first.
    """
    notebook = nbformat.read(path, as_version=4)
    binaries = str(Path(sys.executable).parent)
    path_list = os.pathsep.join([binaries, os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path_list, "COLUMNS": "80"}
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],
        )
        client.execute(env=environment)
    return notebook


def main(folder: Path, paths: list[Path]) -> None:
    """Execute notebooks and write them into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        print(path, flush=True)
        nbformat.write(execute(path), folder / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])

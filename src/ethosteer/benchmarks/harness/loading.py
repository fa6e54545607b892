"""Loading a task of lm-evaluation-harness, or saying by name why it cannot be a benchmark."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethosteer.benchmarks.harness import PREFIX
from ethosteer.errors import InputError

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

OUTPUT_TYPES = ("multiple_choice", "loglikelihood", "generate_until")
FEWSHOT_SEED = 1234
"""The harness's own default."""
LARGEST_FOLDER = 50_000
"""Files and folders below a folder of tasks; the harness has some 18,000 itself."""
LARGEST_YAML = 16 * 1024**2
"""Bytes of all YAML files below it, all of which the harness parses; its own have 7 million."""


def harness_version() -> str:
    """Return the version of lm-evaluation-harness; InputError where it is not installed."""
    try:
        return version("lm_eval")
    except PackageNotFoundError as fault:
        raise InputError(
            "benchmarks called lm-eval:TASK need lm-evaluation-harness: "
            "pip install 'ethosteer[lm-eval]'"
        ) from fault


def load_task(name: str, include_path: Sequence[str]) -> Any:  # noqa: ANN401 (a ConfigurableTask)
    """Return the harness's task called ``name``, of the harness or of a YAML in ``include_path``.

    Raises InputError where there is none, where it cannot be loaded, and for what is not supported.
    """
    harness_version()
    for folder in include_path:
        _check_folder(Path(folder))
    from lm_eval.api.task import ConfigurableTask

    from datasets import disable_progress_bars

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    disable_progress_bars()
    manager = _manager(name, include_path)
    try:
        (task,) = manager.load(name)["tasks"].values()
    # A task may be code, and the harness checks no types: a faulty one raises anything.
    except Exception as fault:
        raise InputError(
            f"{PREFIX}{name}: the harness cannot load this task ({type(fault).__name__}: "
            f"{_first_line(fault)}); where its data is on the hub, it needs a network"
        ) from fault
    if not isinstance(task, ConfigurableTask):
        raise InputError(f"{PREFIX}{name}: a task that is a Python class is not supported")
    _check_supported(name, task)
    if task.config.num_fewshot is None:
        task.set_config("num_fewshot", 0)
    return task


def _check_folder(folder: Path) -> None:
    """Raise InputError where there is no such folder, or the harness would read in it for ever.

    It reads every YAML file at any depth below the folder before it looks for a task.
    """
    if not folder.is_dir():
        raise InputError(f"evaluate.include_path: {folder}: no such folder")
    entries = size = 0
    for parent, folders, files in os.walk(folder):
        entries += len(folders) + len(files)
        for path in (Path(parent, name) for name in files if name.endswith(".yaml")):
            if path.is_file():
                size += path.stat().st_size
            elif path.exists():
                raise InputError(f"evaluate.include_path: {path}: is not a regular file; remove it")
        if entries > LARGEST_FOLDER or size > LARGEST_YAML:
            raise InputError(
                f"evaluate.include_path: {folder}: all YAML below it would be read, and it has "
                f"more than {LARGEST_FOLDER:,} files, or {LARGEST_YAML:,} bytes of YAML; name the "
                "folder of the tasks alone"
            )


def _first_line(fault: BaseException) -> str:
    return next(iter(str(fault).splitlines()), "")[:300]


@cache
def _harness_tasks() -> TaskManager:
    """Return the harness's own tasks, which do not change; listing them takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _manager(name: str, include_path: Sequence[str]) -> TaskManager:
    """Return the manager that knows the task called ``name``: the user's, or the harness's own.

    Raises InputError where there is no such task, or more than one.
    """
    from lm_eval.tasks import TaskManager

    try:
        users = TaskManager(include_path=list(include_path), include_defaults=False)
    except Exception as fault:
        raise InputError(
            f"evaluate.include_path: a task file cannot be read: {_first_line(fault)}"
        ) from fault
    manager = users if name in users.all_tasks else _harness_tasks()
    if name in manager.all_subtasks:
        return manager
    if name in manager.all_tasks:
        entry = manager.task_index[name]
        members = sorted(entry.tags or _members(entry.cfg))
        named = f" ({', '.join(members[:5])}{', ...' if len(members) > 5 else ''})"
        raise InputError(
            f"{PREFIX}{name}: this is a group of tasks{named if members else ''}; name its tasks, "
            "each as a benchmark"
        )
    close = get_close_matches(name, (*users.all_subtasks, *manager.all_subtasks), n=1)
    hint = f"; did you mean {PREFIX}{close[0]}?" if close else ""
    raise InputError(
        f"{PREFIX}{name}: lm-evaluation-harness has no such task{hint}; tasks of your own are "
        "found in evaluate.include_path (or --include-path)"
    )


def _members(config: dict[str, Any] | None) -> list[str]:
    tasks = (config or {}).get("task")
    return [task for task in tasks if isinstance(task, str)] if isinstance(tasks, list) else []


def _check_supported(name: str, task: Any) -> None:  # noqa: ANN401
    """Raise InputError for a task of a kind that is not supported, with the reason."""
    kwargs = task.config.generation_kwargs or {}
    sampled = kwargs.get("do_sample") or float(kwargs.get("temperature") or 0.0) > 0
    unsupported = {
        f"its output_type {task.OUTPUT_TYPE}": task.OUTPUT_TYPE not in OUTPUT_TYPES,
        "what it asks of images or sound": getattr(task, "MULTIMODAL", False),
        "running the code that models write (unsafe_code)": getattr(task, "UNSAFE_CODE", False),
        f"asking each document {task.config.repeats} times (repeats)": task.config.repeats != 1,
        "sampling (do_sample or temperature)": task.OUTPUT_TYPE == "generate_until" and sampled,
        "the metric acc_mutual_info": "acc_mutual_info" in task.aggregation(),
    }
    for feature, present in unsupported.items():
        if present:
            raise InputError(f"{PREFIX}{name}: {feature} is not supported")

"""What a shell completes: names of studies, runs, datasets, benchmarks and algorithms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ethosteer import catalog
from ethosteer.benchmarks.preferences import PREFERENCES
from ethosteer.errors import InputError
from ethosteer.study.devices import DEVICES
from ethosteer.study.load import bundled_studies


def complete_study(incomplete: str) -> list[str]:
    """Complete a bundled study, a study file, or a run's folder below ``runs``."""
    runs = [str(path.parent) for path in Path("runs").glob("*/study.toml")]
    names = [name for name in (*bundled_studies(), *sorted(runs)) if name.startswith(incomplete)]
    folder, _, start = incomplete.rpartition("/")
    beside = Path(folder or ("/" if incomplete.startswith("/") else "."))
    if not beside.is_dir():
        return names
    paths = sorted(path for path in beside.iterdir() if path.name.startswith(start))
    prefix = incomplete.removesuffix(start)
    files = [f"{prefix}{path.name}" for path in paths if path.suffix == ".toml"]
    folders = [f"{prefix}{path.name}/" for path in paths if path.is_dir() and path.name[0] != "."]
    return [*names, *files, *folders]


def complete_dataset(incomplete: str) -> list[str]:
    """Complete the name of a dataset."""
    return _starting(catalog.dataset_names, incomplete)


def complete_datasets(incomplete: str) -> list[str]:
    """Complete the last of several datasets, which commas separate."""
    return _last(complete_dataset, incomplete)


def complete_benchmarks(incomplete: str) -> list[str]:
    """Complete the last of several benchmarks, which commas separate."""
    return _last(
        lambda name: _starting(lambda: (PREFERENCES, *catalog.benchmark_names()), name), incomplete
    )


def complete_algorithm(incomplete: str) -> list[str]:
    """Complete the name of an algorithm."""
    return _starting(catalog.algorithm_names, incomplete)


def complete_devices(incomplete: str) -> list[str]:
    """Complete the name of a GPU that a study can be planned for."""
    return _starting(lambda: DEVICES, incomplete)


def _starting(names: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    try:
        return [name for name in names() if name.startswith(incomplete)]
    except InputError:  # of another package; a command will say so
        return []


def _last(complete: Callable[[str], list[str]], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in complete(last)]

"""Datasets, benchmarks and algorithms by name: a file in its package is all it takes to add one.

Another package adds its own by entry points of the groups ``ethosteer.datasets``,
``ethosteer.benchmarks`` and ``ethosteer.algorithms``, each of which names a Dataset, a Benchmark
(or several as a tuple) or an Algorithm. None of this imports torch.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, TypeVar

from pydantic import create_model

from ethosteer import algorithms, benchmarks, datasets
from ethosteer.algorithms.algorithm import Algorithm
from ethosteer.benchmarks.base import Benchmark
from ethosteer.benchmarks.definitions import defined_metrics
from ethosteer.benchmarks.files.benchmark import file_benchmark
from ethosteer.benchmarks.harness import PREFIX as HARNESS
from ethosteer.benchmarks.harness.task import HarnessTask
from ethosteer.benchmarks.preferences import METRICS as PREFERENCE_METRICS
from ethosteer.benchmarks.preferences import PREFERENCES, benchmark_of
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.datasets.base import Dataset
from ethosteer.errors import InputError
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.settings import ArmSettings, BenchmarkSettings, SteerSettings, StudySettings
from ethosteer.statistics.metrics import Metric

T = TypeVar("T")
Named = TypeVar("Named", Dataset, Benchmark, Algorithm)


def dataset(name: str) -> Dataset:
    """Return the preference dataset called ``name``; InputError where there is none."""
    return _lookup("dataset", name, _datasets())


def arm_dataset(name: str, arm: ArmSettings) -> Dataset:
    """Return the dataset called ``name`` that an arm reads: a built-in one, or its file's.

    Raises InputError where there is none, where a file is called like a built-in dataset, and for
    an unknown name among its columns.
    """
    if not arm.from_file:
        return dataset(name)
    if name in _datasets():
        raise InputError(
            f"{name} is the name of a built-in dataset; call an arm with a file otherwise"
        )
    return file_dataset(name, arm)


def study_dataset(settings: StudySettings, arm: str) -> Dataset:
    """Return the dataset of an arm of a study; InputError as for ``arm_dataset``."""
    name = settings.dataset_of(arm)
    if not settings.arms[arm].from_file:
        return dataset(name)
    try:
        return arm_dataset(name, settings.arms[name])
    except InputError as fault:
        raise InputError(f"arms.{name}: {fault}") from fault


def benchmark(name: str) -> Benchmark:
    """Return the benchmark called ``name``; InputError where there is none."""
    return _lookup("benchmark", name, _benchmarks())


def described_benchmark(
    name: str, table: BenchmarkSettings, include_path: tuple[str, ...] = ()
) -> Benchmark:
    """Return the benchmark that a table describes: built in, a file, or a task of the harness.

    A file is read, and a task of lm-evaluation-harness loaded (``include_path``: folders with tasks
    of the user's). Raises InputError for anything invalid in them.
    """
    if table.file is not None:
        return file_benchmark(name, table)
    if name.startswith(HARNESS):
        return HarnessTask(name.removeprefix(HARNESS), include_path).benchmark(table)
    return benchmark(name)


def study_benchmark(settings: StudySettings, name: str) -> Benchmark:
    """Return the benchmark that a study calls ``name``: ``preferences:ARM`` may be of a file.

    Raises InputError as ``described_benchmark`` does.
    """
    kind, _, asked = name.partition(":")
    if kind == PREFERENCES and asked in settings.arms and settings.arms[asked].from_file:
        return benchmark_of(study_dataset(settings, asked))
    table = study_benchmarks(settings)[name]
    return described_benchmark(name, table, settings.evaluate.include_path)


def result_metrics(result: BenchmarkResult) -> tuple[Metric, ...]:
    """Return the metrics of a stored result, for which a file or a task need not be there."""
    if result.dataset:
        return PREFERENCE_METRICS  # pairs of a file are in no catalog, but have the same metrics
    return defined_metrics(result.metrics) or benchmark(result.name).metrics


def check_benchmark(settings: StudySettings, name: str) -> None:
    """Check the table of a study's benchmark without reading any file."""
    kind, _, asked = name.partition(":")
    if kind == PREFERENCES and asked in settings.arms and settings.arms[asked].from_file:
        return
    check_table(name, study_benchmarks(settings)[name])


def check_table(name: str, table: BenchmarkSettings) -> None:
    """Check a benchmark's table without reading any file.

    Raises InputError for an unknown name or source, and for settings that do not go together.
    """
    if table.file is not None:
        if name in _benchmarks() or name == PREFERENCES:
            raise InputError(
                f"benchmarks.{name}.file: {name} is a built-in benchmark; give yours another name"
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise InputError(
                f"benchmarks.{name}: not a usable name for a file's benchmark; use letters, "
                "digits, - and _"
            )
        return
    is_task = name.startswith(HARNESS)
    if not is_task:
        check_source(benchmark(name), table.source)
    for key in ("title", "home", "licence"):
        if not is_task and getattr(table, key) is not None:
            raise InputError(f"benchmarks.{name}.{key}: remove it; the benchmark is built in")
    if is_task and table.source is not None:
        raise InputError(f"benchmarks.{name}.source: remove it; a task has no other sources")
    if table.classifier is not None and (is_task or benchmark(name).classification is None):
        raise InputError(
            f"benchmarks.{name}.classifier: remove it; no text of this benchmark is classified"
        )


def algorithm(name: str) -> Algorithm:
    """Return the steering algorithm called ``name``; InputError where there is none."""
    return _lookup("algorithm", name, _algorithms())


def algorithm_title(name: str) -> str:
    """Return an algorithm's title for reports; ``name`` where another version made the results."""
    known = _algorithms()
    return known[name].title if name in known else name


def by_dataset(benchmarks: Mapping[str, T], datasets: Sequence[str]) -> dict[str, T]:
    """Replace ``preferences`` by ``preferences:DATASET`` for each of ``datasets``.

    A benchmark that is there by its full name keeps its value.
    """
    expanded: dict[str, T] = {}
    for name, value in benchmarks.items():
        names = [f"{name}:{entry}" for entry in datasets] if name == PREFERENCES else [name]
        expanded |= {full: benchmarks.get(full, value) for full in names}
    return expanded


def study_benchmarks(settings: StudySettings) -> dict[str, BenchmarkSettings]:
    """Return a study's benchmarks by name; ``preferences`` is one for every dataset of its arms."""
    datasets = dict.fromkeys(map(settings.dataset_of, settings.arms))
    return by_dataset(settings.benchmarks, tuple(datasets))


def check_source(benchmark: Benchmark, source: str | None) -> None:
    """Raise InputError where a benchmark has no version of its files called ``source``."""
    known = benchmark.alternatives or {}
    if source is not None and source not in known:
        names = ", ".join(known) or "one only"
        raise InputError(f"benchmark {benchmark.name} has no source {source!r}; it has {names}")


def dataset_names() -> tuple[str, ...]:
    """Return the names of all preference datasets, in alphabetical order."""
    return tuple(sorted(_datasets()))


def benchmark_names() -> tuple[str, ...]:
    """Return the names of all benchmarks, in alphabetical order."""
    return tuple(sorted(_benchmarks()))


def algorithm_names() -> tuple[str, ...]:
    """Return the names of all algorithms, in alphabetical order."""
    return tuple(sorted(_algorithms()))


@cache
def study_settings() -> type[StudySettings]:
    """Return the class of a study's settings, with a table [steer.NAME] for every algorithm."""
    steer = _steer_settings()
    return create_model("StudySettings", __base__=StudySettings, steer=(steer, steer()))


def steer_settings(**values: Any) -> SteerSettings:  # noqa: ANN401 (any setting)
    """Return [steer] with a table for every algorithm; ``values`` replace defaults."""
    return _steer_settings()(**values)


@cache
def _steer_settings() -> type[SteerSettings]:
    tables: dict[str, Any] = {
        name: (entry.settings, entry.settings()) for name, entry in sorted(_algorithms().items())
    }
    return create_model("SteerSettings", __base__=SteerSettings, **tables)


@cache
def _datasets() -> Mapping[str, Dataset]:
    return _by_name("dataset", (*_plugins(datasets, "DATASET"), *_external("datasets", Dataset)))


@cache
def _benchmarks() -> Mapping[str, Benchmark]:
    published = [entry for entries in _plugins(benchmarks, "BENCHMARKS") for entry in entries]
    of_pairs = map(benchmark_of, _datasets().values())
    external = _external("benchmarks", Benchmark)
    return _by_name("benchmark", (*published, *of_pairs, *external))


@cache
def _algorithms() -> Mapping[str, Algorithm]:
    external = _external("algorithms", Algorithm)
    return _by_name("algorithm", (*_plugins(algorithms, "ALGORITHM"), *external))


def _plugins(package: ModuleType, attribute: str) -> Iterator[Any]:
    """Yield what the modules of a package call ``attribute``; those without it only help others."""
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg:  # algorithms.loop imports torch
            plugin = import_module(f"{package.__name__}.{module.name}")
            if hasattr(plugin, attribute):
                yield getattr(plugin, attribute)


def _external(group: str, kind: type[T]) -> Iterator[T]:
    """Yield what other packages bring; InputError, naming the package, for what cannot be used."""
    for point in entry_points(group=f"ethosteer.{group}"):
        package = point.dist.name if point.dist else point.value
        try:
            loaded = point.load()
        except Exception as fault:  # a package from outside may raise anything when it is imported
            raise InputError(
                f"package {package}: its {group} {point.name!r} ({point.value}) cannot be "
                f"imported: {type(fault).__name__}: {fault}; upgrade or uninstall the package"
            ) from fault
        entries = loaded if isinstance(loaded, tuple) else (loaded,)
        for entry in entries:
            if not isinstance(entry, kind):
                raise InputError(
                    f"package {package}: its {group} {point.name!r} ({point.value}) must be "
                    f"{kind.__name__} objects, not {type(entry).__name__}"
                )
            yield entry


def _by_name(kind: str, entries: Iterable[Named]) -> dict[str, Named]:
    """Return entries by name; InputError where two of them have the same."""
    named: dict[str, Named] = {}
    for entry in entries:
        if entry.name in named:
            raise InputError(
                f"there are two {kind}s called {entry.name!r}; uninstall the package that brings "
                "the second one, or ask its authors to rename it"
            )
        named[entry.name] = entry
    return named


def _lookup(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(f"no {kind} is called {name!r}{hint}; there are {', '.join(sorted(known))}")

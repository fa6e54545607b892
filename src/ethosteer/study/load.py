"""Reading a study file: overrides by ``--set``, validation, one-line errors."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ethosteer import catalog
from ethosteer.benchmarks.harness import PREFIX as HARNESS
from ethosteer.data.readers import quoted
from ethosteer.data.text_files import DEEPEST, parse_toml, read_toml
from ethosteer.errors import InputError
from ethosteer.files import usable_path
from ethosteer.published.counts import load_counts
from ethosteer.settings import ArmSettings, BenchmarkSettings, Settings, StudySettings
from ethosteer.study.folder import STUDY_FILE, is_run_folder

BUNDLED_BASES = ("pocket", "smollm2")
"""Values of base.model that name a base and no file, even where a file has that name."""

MESSAGES = {
    "tuple_type": "Input should be a list, as in [0, 1]",
    "dict_type": "Input should be a table",
    "model_type": "Input should be a table",
}
"""Problems that pydantic names by Python's types, in the words of TOML."""

STUDIES_DIR = Path(str(files("ethosteer"))) / "assets" / "studies"


def bundled_studies() -> tuple[str, ...]:
    """Return the names of the studies that come with the package."""
    return tuple(sorted(path.stem for path in STUDIES_DIR.glob("*.toml")))


def study_path(study: str) -> Path:
    """Return the TOML file that ``study`` names: a path, a run's folder, or a bundled study."""
    path = usable_path(study)
    if is_run_folder(path):
        return path / STUDY_FILE
    if path.suffix == ".toml":
        if not path.is_file():
            raise InputError(f"{study}: no such study file")
        return path
    if study in bundled_studies():
        return STUDIES_DIR / f"{study}.toml"
    if path.is_dir():
        raise InputError(
            f"{study}: no run's folder, since it has no {STUDY_FILE}; a study's run is in runs/NAME"
        )
    raise InputError(
        f"{study!r} is neither a .toml file nor a bundled study ({', '.join(bundled_studies())}) "
        "nor a run's folder"
    )


def absolute_paths(settings: StudySettings) -> StudySettings:
    """Return the settings with every file or folder that is there by its absolute path.

    So the study file that a run keeps is valid wherever the run's folder is moved to.
    """

    def absolute(name: str | None) -> str | None:
        return str(Path(name).absolute()) if name and Path(name).exists() else name

    base, compare = settings.base, settings.compare
    if base.model not in BUNDLED_BASES:
        base = base.model_copy(update={"model": absolute(base.model)})
    benchmarks = {
        name: benchmark.model_copy(update={"classifier": absolute(benchmark.classifier)})
        for name, benchmark in settings.benchmarks.items()
    }
    compare = compare.model_copy(update={"published": absolute(compare.published)})
    changed = {"base": base, "benchmarks": benchmarks, "compare": compare}
    return settings.model_copy(update=changed)


def load_study(study: str, overrides: Sequence[str] = ()) -> StudySettings:
    """Read, change and validate a study file.

    Raises InputError that names the file or --set, and the key, for anything invalid in it.
    """
    path = study_path(study)
    table = read_toml(path)
    _resolve_files(table, path.absolute().parent)
    for override in overrides:
        _apply(table, override)
    try:
        settings = catalog.study_settings().model_validate(_tuples(table))
    except ValidationError as fault:
        location = fault.errors(include_url=False)[0]["loc"]
        subject = "--set" if _is_set_by(overrides, location) else path
        raise InputError(f"{subject}: {_first_problem(fault)}") from fault
    try:
        check_names(settings)
    except InputError as fault:
        raise InputError(f"{path}: {fault}") from fault
    if settings.compare.published is not None:
        try:
            load_counts(settings.compare.published)
        except InputError as fault:
            raise InputError(f"{path}: compare.published: {fault}") from fault
    return settings


def _resolve_files(table: dict[str, Any], folder: Path) -> None:
    """Make paths in [arms.NAME], [benchmarks.NAME] and other tables relative to ``folder``.

    Paths of --set are relative to the working directory, as a shell completes them.
    """
    for kind in ("arms", "benchmarks"):
        entries = table.get(kind)
        for entry in entries.values() if isinstance(entries, dict) else ():
            for key in ("file", "collected", "labelled"):
                if isinstance(entry, dict) and isinstance(file := entry.get(key), str):
                    entry[key] = _beside(folder, file)
    rollout = table.get("rollout")
    if isinstance(rollout, dict) and isinstance(python := rollout.get("python"), str):
        rollout["python"] = _beside(folder, python)
    evaluate = table.get("evaluate")
    if isinstance(evaluate, dict) and isinstance(folders := evaluate.get("include_path"), list):
        evaluate["include_path"] = [
            _beside(folder, entry) if isinstance(entry, str) else entry for entry in folders
        ]


def _beside(folder: Path, file: str) -> str:
    """Return a path relative to ``folder``; what is no path is left to the settings' own check."""
    is_relative = bool(file) and not file.startswith("~")
    return str(folder / file) if is_relative else file


def _apply(table: dict[str, Any], override: str) -> None:
    """Set one ``a.b=c``; c is a TOML value, or a bare word taken as text."""
    key, sign, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not sign or not all(names):
        raise InputError(f"--set {override}: write it as key.name=value")
    if len(names) > DEEPEST:
        raise InputError(f"--set {override}: no setting has a name of {len(names)} parts")
    value: object = text.strip()
    # a text with line breaks could set more than one value
    if "\n" not in text:
        with suppress(ValueError):
            value = parse_toml(f"value = {text}")["value"]
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise InputError(f"--set {override}: {name} is a value, not a table")
    table[names[-1]] = None if value == "none" else value


def _is_set_by(overrides: Sequence[str], location: Sequence[int | str]) -> bool:
    """Return whether an override sets what is at ``location``."""
    keys = ([name.strip() for name in text.partition("=")[0].split(".")] for text in overrides)
    return any(names == list(map(str, location[: len(names)])) for names in keys)


def _tuples(value: Any) -> Any:  # noqa: ANN401 (any TOML value)
    """Turn TOML's lists into the tuples of frozen settings."""
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value


def _first_problem(fault: ValidationError) -> str:
    """Describe the first problem in one line: the key, what is wrong, and the closest valid key."""
    error = fault.errors(include_url=False)[0]
    key = ".".join(str(name) for name in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _fields_at(error["loc"][:-1])
        close = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return f"unknown key {key}; {hint}"
    value = error.get("input")
    is_table = isinstance(value, Mapping | Settings)
    shown = "" if is_table else f", found {None if value is None else quoted(value)}"
    message = MESSAGES.get(error["type"], error["msg"].removeprefix("Value error, "))
    return f"{key + ': ' if key else ''}{message}{shown}"


def _fields_at(location: Sequence[int | str]) -> list[str]:
    """Return the keys that the table at ``location`` may have."""
    model: type[BaseModel] = catalog.study_settings()
    for name in location:
        if name == "arms":
            model = ArmSettings
        elif name == "benchmarks":
            model = BenchmarkSettings
        elif isinstance(name, str) and name in model.model_fields:
            annotation = model.model_fields[name].annotation
            for option in get_args(annotation) or (annotation,):
                if isinstance(option, type) and issubclass(option, BaseModel):
                    model = option
    return list(model.model_fields)


def check_names(settings: StudySettings) -> None:
    """Check names against the catalog, and the algorithms' settings against [steer].

    Raises InputError for an unknown dataset, algorithm, benchmark or source, or a contradiction.
    """
    _check_scale(settings)
    for name, arm in settings.arms.items():
        catalog.study_dataset(settings, name)
        try:
            algorithm = catalog.algorithm(settings.algorithm_of(name))
        except InputError as fault:
            key = f"arms.{name}.algorithm" if arm.algorithm else "steer.algorithm"
            raise InputError(f"{key}: {fault}") from fault
        settings.steer.table(algorithm.settings).check(settings.steer)
    for name in catalog.study_benchmarks(settings):
        catalog.check_benchmark(settings, name)


def _check_scale(settings: StudySettings) -> None:
    """Raise InputError for a margin or an effect that no difference of proportions can reach.

    Scores of lm-evaluation-harness may have any scale.
    """
    if any(name.startswith(HARNESS) for name in settings.benchmarks):
        return
    for key in ("margin", "effect"):
        value = getattr(settings.compare, key)
        if value is not None and value >= 1:
            raise InputError(
                f"compare.{key}: differences of proportions are below 1, found {value:g}; 0.05 is "
                "five percentage points"
            )

"""A run's folder as the handle to its study: the settings and the data that it remembers.

Beside its artifacts a run keeps ``study.toml`` (every setting) and ``origin.json`` (where published
files were read from). When it ends, its manifest records the fingerprints of all stages, so that a
finished run is read without its data, which these fingerprints otherwise depend on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.files import file_hash, fingerprint, path_problem, read_json, write_json
from ethosteer.settings import StudySettings
from ethosteer.stages.manifest import MANIFEST
from ethosteer.stages.stage import Stage

STUDY_FILE = "study.toml"
ORIGIN = "origin.json"


def is_run_folder(study: str | Path) -> bool:
    """Return whether ``study`` is the folder of a run, finished or not."""
    return path_problem(study) is None and (Path(study) / STUDY_FILE).is_file()


def write_origin(folder: Path, origin: Origin) -> None:
    """Remember where the study's published files are read from, by its absolute path."""
    write_json(folder / ORIGIN, absolute(origin))


def remembers(folder: Path, origin: Origin) -> bool:
    """Return whether ``origin`` is the one that the folder remembers."""
    path = folder / ORIGIN
    try:
        return path.is_file() and read_json(path, Origin) == absolute(origin)
    except InputError:  # damaged: it is written again
        return False


def read_origin(folder: Path, settings: StudySettings) -> Origin:
    """Return where the study's files are read from; ``data.origin`` where nothing is remembered."""
    path = folder / ORIGIN
    if not path.is_file():
        return Origin(settings.data.origin)
    try:
        return read_json(path, Origin)
    except InputError as fault:
        raise InputError(f"{fault}; delete the file, and name the data by --data-dir") from fault


def absolute(origin: Origin) -> Origin:
    """Return the same origin, its folder by its absolute path."""
    return replace(origin, folder=origin.folder.absolute()) if origin.folder else origin


def inputs_fingerprint(folder: Path) -> str:
    """Identify what a run was asked for: the text of its study file and of its origin."""
    texts = [(folder / name).read_text("utf-8", "replace") for name in (STUDY_FILE, ORIGIN)]
    return fingerprint(texts)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished run; an empty one where it is missing or damaged."""
    try:
        return read_json(folder / MANIFEST, dict[str, Any])
    except InputError:
        return {}


def damaged_files(folder: Path) -> list[Path]:
    """Return the files of a finished run that are missing or not what was written.

    Runs of earlier versions, whose manifests have no hashes, are not verified.
    """
    hashes: dict[str, str] = read_manifest(folder).get("files", {})
    paths = ((folder / name, expected) for name, expected in hashes.items())
    return [path for path, expected in paths if not path.is_file() or file_hash(path) != expected]


def recorded_fingerprints(folder: Path) -> dict[str, str]:
    """Return the fingerprint of every stage of a finished run, by ``KIND/NAME``.

    None are returned where the run is unfinished, or was asked for something else since it ended.
    """
    if not all((folder / name).is_file() for name in (STUDY_FILE, ORIGIN, MANIFEST)):
        return {}
    manifest = read_manifest(folder)
    if manifest.get("inputs") != inputs_fingerprint(folder):
        return {}
    return {name: step["fingerprint"] for name, step in manifest["steps"].items()}


def recall(last: Stage[Any], recorded: Mapping[str, str]) -> bool:
    """Give ``last`` and every stage that it reads its recorded fingerprint; none is derived.

    Returns False, and changes nothing, where a stage was not recorded or two share one name.
    """
    stages = {id(stage): stage for stage in with_inputs(last)}
    names = {f"{stage.kind}/{stage.name}" for stage in stages.values()}
    if len(names) < len(stages) or not names <= recorded.keys():
        return False
    for stage in stages.values():
        # where functools.cached_property keeps its value
        stage.__dict__["fingerprint"] = recorded[f"{stage.kind}/{stage.name}"]
    return True


def with_inputs(stage: Stage[Any]) -> Iterator[Stage[Any]]:
    """Yield a stage and every stage that it reads, directly or not."""
    pending, seen = [stage], set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        for field in fields(current):
            value = getattr(current, field.name)
            members = value if isinstance(value, tuple) else (value,)
            pending += [member for member in members if isinstance(member, Stage)]

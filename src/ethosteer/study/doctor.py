"""What a machine offers, and whether a run's files are as they were written."""

from __future__ import annotations

import os
import platform
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from ethosteer.errors import without_credentials
from ethosteer.models.fast.budget import machine_memory
from ethosteer.stages.checkpoint_folders import checkpoint_folders
from ethosteer.stages.manifest import (
    MANIFEST,
    DamagedArtifactError,
    damaged_file,
    read_manifest,
)
from ethosteer.study.folder import ORIGIN, STUDY_FILE, damaged_files, inputs_fingerprint
from ethosteer.study.folder import read_manifest as read_run_manifest

State = Literal["good", "note", "damaged"]
HUB_SECONDS = 3.0
LEAST_DISK = 5e9
"""Bytes that a small study and its base need."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, how it is, and what to do about it."""

    subject: str
    state: State
    text: str
    mend: str = ""


def check_machine(folder: Path) -> list[Finding]:
    """Check all but a run's files; runs are to be written in ``folder``."""
    return [*machine(), *versions(), *disk(folder), hub(), *caches()]


def machine() -> Iterator[Finding]:
    """Yield cores, memory and the device with its number formats."""
    import torch

    from ethosteer.bench.machine import measure_precision

    yield Finding("system", "good", f"{platform.system()} {platform.machine()}")
    yield Finding("cores", "good", str(os.cpu_count()))
    if (memory := machine_memory()) is not None:
        yield Finding("memory", "good", f"{memory / 1e9:.1f} GB")
    precision = measure_precision(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    mend = "base.dtype = 'bfloat16' saves time on bases of 100 M weights or more"
    yield Finding("number format", "good", str(precision), mend if precision.pays else "")
    if torch.cuda.is_available():
        _, total = torch.cuda.mem_get_info()
        formats = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
        name = torch.cuda.get_device_name()
        yield Finding("device", "good", f"{name}, {total / 1e9:.1f} GB, {formats}")
    else:
        yield Finding(
            "device", "note", "the processor: no CUDA device", "use a base of about 1 B or fewer"
        )


def versions() -> Iterator[Finding]:
    """Yield the installed versions, each beside those that are supported."""
    from packaging.requirements import Requirement

    yield Finding("python", "good", platform.python_version())
    for line in requires("ethosteer") or ():
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = "missing"
        fits = installed != "missing" and requirement.specifier.contains(installed)
        text = installed if fits else f"{installed}; supported: {requirement.specifier}"
        mend = "" if fits else f"pip install '{requirement.name}{requirement.specifier}'"
        yield Finding(requirement.name, "good" if fits else "note", text, mend)


def disk(folder: Path) -> Iterator[Finding]:
    """Yield the free space of the folder of runs and of the hub's cache."""
    from huggingface_hub import constants

    for subject, path in (("disk", folder), ("cache's disk", Path(constants.HF_HUB_CACHE))):
        there = next(it for it in (path.absolute(), *path.absolute().parents) if it.exists())
        free = shutil.disk_usage(there).free
        mend = "" if free >= LEAST_DISK else "free space: `ethosteer plan` estimates what is needed"
        state: State = "good" if free >= LEAST_DISK else "note"
        yield Finding(subject, state, f"{free / 1e9:.1f} GB free in {there}", mend)


def hub() -> Finding:
    """Return whether the hub answers; no token and no password is sent."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Finding("hub", "note", "not asked, as HF_HUB_OFFLINE is set", "unset it to fetch")
    endpoint = without_credentials(constants.ENDPOINT)
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HUB_SECONDS):
            return Finding("hub", "good", f"{endpoint} answers")
    except urllib.error.HTTPError:
        return Finding("hub", "good", f"{endpoint} answers")
    except (OSError, ValueError, HTTPException) as fault:
        reason = without_credentials(str(getattr(fault, "reason", fault)))
        mend = "fetch data and models elsewhere, and give --data-dir; or set a proxy"
        return Finding("hub", "note", f"{endpoint} does not answer: {reason}", mend)


def caches() -> Iterator[Finding]:
    """Yield where fetched files and converted bases are kept, and whether that can be written."""
    from huggingface_hub import constants

    from ethosteer.models.cached import cache_folder

    for subject, path in (("hub's cache", Path(constants.HF_HUB_CACHE)), ("bases", cache_folder())):
        there = next(it for it in (path, *path.absolute().parents) if it.exists())
        writable = os.access(there, os.W_OK)
        mend = "" if writable else "set HF_HOME or ETHOSTEER_CACHE to a folder that can be written"
        text = str(path) if writable else f"{path} cannot be written"
        yield Finding(subject, "good" if writable else "note", text, mend)


def run_files(run: Path) -> Iterator[Finding]:
    """Yield what is damaged, missing or unfinished among a run's files."""
    again = f"`ethosteer run {run}`"
    finished = (run / MANIFEST).exists()
    if finished and not read_run_manifest(run):
        mend = f"delete {run / MANIFEST}, then {again}"
        yield Finding(MANIFEST, "damaged", "cannot be read", mend)
    for name in (STUDY_FILE, ORIGIN):
        if not (run / name).is_file():
            yield Finding(name, "damaged", "is missing", "run the study again from its study file")
    for path in damaged_files(run):
        text = "is not what was written" if path.is_file() else "is missing"
        yield Finding(path.name, "damaged", text, f"{again} writes it again")
    finished = finished and not _is_changed(run)
    yield from _unfinished(run, again, finished=finished)
    yield from _artifacts(run, again)
    if not finished:
        yield Finding("run", "note", "is not finished", again)


def _is_changed(run: Path) -> bool:
    """Return whether a run was asked for something else since it ended."""
    if not all((run / name).is_file() for name in (STUDY_FILE, ORIGIN)):
        return False
    manifest = read_run_manifest(run)
    return "inputs" in manifest and bool(manifest["inputs"] != inputs_fingerprint(run))


def _unfinished(run: Path, again: str, *, finished: bool) -> Iterator[Finding]:
    """Yield the checkpoints of a run, which of a finished one are of other settings."""
    for folder in checkpoint_folders(run / "artifacts"):
        try:
            size = sum(path.stat().st_size for path in folder.iterdir())
        except FileNotFoundError:  # removed meanwhile by a process that runs the study
            continue
        text, mend = f"unfinished work, {size / 1e6:.1f} MB", f"{again} continues it"
        if finished:
            text += ", of other settings than the run's"
            mend = f"delete {folder}, unless those settings will be set back"
        yield Finding(f"{folder.parent.name}/{folder.name}", "note", text, mend)


def _artifacts(run: Path, again: str) -> Iterator[Finding]:
    """Yield what is damaged among a run's artifacts, and how many are sound."""
    verified, unverified = 0, 0
    for folder in sorted(path for path in (run / "artifacts").glob("*/[!.]*") if path.is_dir()):
        name = f"{folder.parent.name}/{folder.name}"
        try:
            manifest = read_manifest(folder)
            fault = damaged_file(folder, manifest, hashes=True)
        except DamagedArtifactError as error:
            fault = str(error)
        else:
            if not folder.name.endswith(f"-{manifest.fingerprint[:12]}"):
                fault = f"{MANIFEST} is of another step"
        if fault:
            text = fault.removeprefix(f"{folder}: is damaged: ")
            yield Finding(name, "damaged", text, f"delete {folder}, then {again} makes it again")
        elif manifest.files is None:
            unverified += 1
        else:
            verified += 1
    if verified:
        yield Finding("artifacts", "good", f"{verified} as they were written")
    if unverified:
        text = f"{unverified} of an earlier version, without hashes: not verified"
        yield Finding("artifacts", "note", text)

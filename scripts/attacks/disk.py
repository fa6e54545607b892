"""Full disks and read-only ones: a small file system is mounted, which needs root.

Another user has it by ``unshare --map-root-user --mount python scripts/attack.py disk``. Where
nothing can be mounted, files of the process may not grow instead, and the outcomes say so.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from attacks.tiny_runs import FILLER, SETTINGS, Attack, Ended, TinyRuns, is_one_line
from ethosteer.study.doctor import run_files
from ethosteer.study.folder import ORIGIN, STUDY_FILE, is_run_folder

LARGE = 1 << 30
"""Bytes of a file system that holds any number of files of the tiny study."""
SIZES_EVERY = 4
"""One attack in so many is a file system that is too small from the start."""
FULL = "free space there and run it again"
READ_ONLY = "Read-only file system"
WRITERS = (
    ("run", "RUNS/demo"),
    ("run", "demo", "--runs-dir", "RUNS", SETTINGS, "--set", "steer.steps=4"),
    ("run", "RUNS/demo", "--set", "compare.resamples=300"),
    ("report", "RUNS/demo"),
    ("report", "published-2024", "--runs-dir", "RUNS"),
    ("export", "RUNS/demo", "virtue", "RUNS/exported"),
    ("evaluate", "--model", "BASE", "--sample", "--benchmarks", "toxigen", "--limit", "2",
     "--out", "RUNS/outcomes.json"),
    ("init", "RUNS/study.toml", "--yes"),
)  # fmt: skip
READERS = (
    ("status", "RUNS/demo"),
    ("status", "demo", "--runs-dir", "RUNS", SETTINGS),
    ("plan", "RUNS/demo"),
    ("doctor", "RUNS/demo"),
    ("report", "RUNS/demo", "--out", "OUT/report"),
    ("report", "demo", "--runs-dir", "RUNS", SETTINGS, "--out", "OUT/report-again"),
    ("export", "RUNS/demo", "virtue", "OUT/exported"),
    ("chat", "RUNS/demo", "--prompt", "May I lie?"),
)
"""Commands on a finished run that write nothing into its folder."""


def attack(
    seed: int,
    count: int,
    scratch: Path,
    commands: Sequence[Sequence[str]] = (*READERS, *WRITERS),
) -> list[tuple[str, str]]:
    """Fill the disk of ``count`` runs, and finish each; then try commands on a read-only folder.

    Returns what was done, and what was said, with "equal" or what is wrong.
    """
    runs, random_numbers = TinyRuns(scratch), random.Random(seed)
    _, operations = runs.whole()
    expected = runs.numbers("whole")
    mounts = can_mount(scratch)
    sizes = count // SIZES_EVERY if mounts else 0
    used = sum(path.stat().st_blocks * 512 for path in runs.folder("whole").rglob("*"))
    attacks: list[tuple[str, int, Attack | None]] = [
        (f"a disk of {size} bytes", size, None)
        for size in (used * (index + 1) // (sizes + 1) for index in range(sizes))
    ]
    sites = _spread(first_of_each_site(operations), count - sizes, random_numbers)
    how = "the disk full" if mounts else "no file may grow"
    attacks += [
        (f"{how} from {site} on", LARGE, Attack(None, operation=operation))
        for site, operation in sites
    ]
    outcomes = []
    for index, (name, size, planned) in enumerate(attacks):
        run = f"full-{index}"
        (scratch / run).mkdir()
        with mounted(scratch / run, size) if mounts else _removed_afterwards(scratch / run):
            outcomes.append((name, _fill_and_finish(runs, run, planned, expected)))
    return [*outcomes, *(read_only(runs, commands) if mounts and commands else ())]


def _fill_and_finish(
    runs: TinyRuns, name: str, planned: Attack | None, expected: dict[str, object]
) -> str:
    """Have a run's disk fill up, make room and finish the run; return what was said."""
    folder = runs.scratch / name
    filled = runs.run(name, planned)
    if filled.status != 0 and (fault := _fault_when_full(filled, folder)):
        return fault
    (folder / FILLER).unlink(missing_ok=True)
    if folder.is_mount():
        _mount(folder, f"remount,size={LARGE}")
    resumed = runs.run(name)
    if resumed.status != 0:
        return f"resumed, it ended with status {resumed.status}: {resumed.text[-400:]}"
    said = re.sub(r"\S*/(?=full-)", "", _last_line(filled.text))
    if left := [path for path in (folder / "demo").rglob(".*") if path.name != ".lock"]:
        return f"left over: {left[0]}"
    if runs.numbers(name) != expected:
        return f"the numbers differ after: {said}"
    return f"equal: {said if filled.status else 'it had finished'}"


def _fault_when_full(ended: Ended, folder: Path) -> str | None:
    """Return what is wrong with how a run ended whose disk was full; None where nothing is."""
    if ended.status != 2 or not is_one_line(ended.text):
        return f"the disk full, it ended with status {ended.status}: {ended.text[-600:]}"
    said = _last_line(ended.text)
    if FULL not in said or str(folder) not in said:
        return f"folder and mend are not both named: {said}"
    damaged = _damaged(folder / "demo")
    return f"damaged: {damaged}" if damaged else None


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _damaged(folder: Path) -> list[str]:
    """Return the files of a run that are taken for whole and are not."""
    if not is_run_folder(folder):
        return []
    findings = [finding for finding in run_files(folder) if finding.state == "damaged"]
    return [f"{it.subject} {it.text}" for it in findings if it.subject not in (STUDY_FILE, ORIGIN)]


def read_only(runs: TinyRuns, commands: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Try commands where a finished run's folder, and the folder of runs, may only be read."""
    folder, out = runs.scratch / "read-only", runs.scratch / "out"
    out.mkdir(exist_ok=True)
    folder.mkdir()
    outcomes = []
    with mounted(folder, LARGE):
        shutil.copytree(runs.folder("whole"), folder / "demo")
        _mount(folder, "remount,ro")
        for command in commands:
            words = [
                word.replace("OUT/", f"{out}/").replace("BASE", str(runs.base)) for word in command
            ]
            ended = runs.run("read-only", command=words)
            said = _last_line(ended.text)
            if command in READERS:
                fault = None if ended.status == 0 else f"status {ended.status}"
            elif ended.status != 2 or not is_one_line(ended.text):
                fault = f"status {ended.status}"
            else:
                fault = None if READ_ONLY in said else "another reason"
            name = " ".join(word for word in command if word != SETTINGS)
            outcomes.append(
                (f"read-only: {name}", f"{fault}: {ended.text[-600:]}" if fault else "equal")
            )
    return outcomes


def first_of_each_site(operations: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return the paths of file operations without hashes, each with the first's number from 1."""
    sites: dict[str, int] = {}
    for number, path in enumerate(operations, start=1):
        site = re.sub(r"-[0-9a-f]{12,64}|tfevents.*", "", path)
        sites.setdefault(site, number)
    return list(sites.items())


def _spread(
    sites: list[tuple[str, int]], count: int, random_numbers: random.Random
) -> list[tuple[str, int]]:
    """Return one site by chance of each of ``count`` sections of equal length; all where fewer."""
    count = min(count, len(sites))
    bounds = [len(sites) * index // count for index in range(count + 1)] if count else []
    return [random_numbers.choice(sites[start:end]) for start, end in pairwise(bounds)]


def can_mount(scratch: Path) -> bool:
    """Return whether this process may mount file systems."""
    folder = scratch / "mounted"
    folder.mkdir(exist_ok=True)
    try:
        with mounted(folder, 1 << 20):
            return folder.is_mount()
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """Mount an empty file system of ``size`` bytes on a folder, until the block ends."""
    _mount(folder, f"size={size}")
    try:
        yield
    finally:
        # lazy: a process that ended a moment ago may not have closed all of its files
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


@contextmanager
def _removed_afterwards(folder: Path) -> Iterator[None]:
    yield
    shutil.rmtree(folder)


def _mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
